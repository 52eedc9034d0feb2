"""Which runs are made, and what is kept of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.processes import BenchError
from bench.targets import BUSY, FULL_LOAD, TCP_OVER_UDP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.load import Asker, Run
    from bench.pace import Paced, Pacer
    from bench.processes import Memory, Server
    from bench.questions import Kind
    from bench.targets import Bounds

WARM_UP = 1.0  # seconds: answers are compiled, the processor is at its pace
PEER_ROUNDS = 2
RATE_ROUNDS = (
    10  # what a wake-up costs varies by half from one moment to the next: by what else the caches were needed for
)
FAR_OFF = 150.0  # microseconds: a peer that costs more is not asked again for a closer look
PEER_SHARE = 0.5  # of the seconds: there are many of them, and nobody judges them
ECHO = "echo"
KUBEADM = "kubedns"  # with kubeadm's Corefile
CACHED = "kubedns, cache 30"  # with a plain `cache 30`
LIVE = "kubedns, API server"  # which follows an API server; the others read manifests
OURS = (KUBEADM, CACHED)


@dataclass(slots=True)
class Row:
    """A class of questions: each server's runs, by the server's name."""

    kind: Kind
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def best(self, server: str) -> Run | None:
        """Return the run that cost the least: what a busy neighbour adds is not the server's."""
        return min(self.runs.get(server, ()), key=lambda run: run.microseconds, default=None)

    def cost(self, server: str) -> float | None:
        """Return the microseconds of a server's best run."""
        run = self.best(server)
        return None if run is None else run.microseconds


@dataclass(frozen=True, slots=True)
class Scenario:
    """Latency of the servers named in `paced` while something happens; the echo, if it is there, sets the measure."""

    about: str
    rate: int
    bounds: Bounds
    paced: dict[str, Paced]
    note: str = ""

    @property
    def most(self) -> float:
        """Return what p99 may be, in milliseconds."""
        return self.bounds.p99 + (self.paced[ECHO].p99 if self.bounds.over_echo else 0.0)

    def met(self, server: str) -> bool:
        paced = self.paced[server]
        return paced.p99 <= self.most and not paced.lost and not (self.bounds.none_slow and paced.slow)


@dataclass(frozen=True, slots=True)
class Flood:
    """Hot questions and random names by turns: microseconds a query, and what it should be; octets before and after."""

    cost: float
    expected: float
    before: Memory
    after: Memory


@dataclass(frozen=True, slots=True)
class Section:
    """Another benchmark's part of the report: a heading, and Markdown below it."""

    title: str
    text: str


@dataclass(slots=True)
class Results:
    """All that is reported; `started` is seconds from start to first answer, `memory` then and after all load."""

    rows: list[Row] = field(default_factory=list)
    rates: list[tuple[int, dict[str, Paced]]] = field(default_factory=list)
    scenarios: list[Scenario] = field(default_factory=list)
    flood: Flood | None = None
    started: dict[str, float] = field(default_factory=dict)
    memory: dict[str, tuple[Memory, Memory]] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)

    @property
    def peers(self) -> list[str]:
        return [name for name in self.started if name not in {ECHO, LIVE, *OURS}]

    @property
    def doubtful(self) -> list[str]:
        """Name the classes during which the machine had other work, or all of them if it is a slow machine."""
        return [row.kind.name for row in self.rows if (row.cost(ECHO) or 0.0) > BUSY]

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.kind.name == name), None)

    def floor(self, row: Row, server: str) -> float | None:
        """Return what a server's cost is compared with: the echo's, over TCP that of its own UDP."""
        if not row.kind.tcp:
            return row.cost(ECHO)
        hot = self.row("hot")
        return None if hot is None else hot.cost(server)

    def ratio(self, row: Row, server: str) -> float | None:
        cost, floor = row.cost(server), self.floor(row, server)
        return cost / floor if cost and floor else None

    def right_ratio(self, row: Row, server: str) -> float | None:
        """Return the ratio of a server whose answers were right: what wrong ones cost compares with nothing."""
        return None if any(run.wrong for run in row.runs.get(server, ())) else self.ratio(row, server)


def target(row: Row) -> float | None:
    """Return the most that a ratio may be; None: it is not judged."""
    return TCP_OVER_UDP if row.kind.tcp else FULL_LOAD.get(row.kind.name)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often: seconds of each run at full load and rounds, and seconds of each run at a fixed rate."""

    seconds: float
    rounds: int
    paced_seconds: float


def measure_class(kind: Kind, servers: Sequence[Server], asker: Asker, plan: Plan, say: Callable[[str], None]) -> Row:
    """Warm each server up, then let them take turns; a peer that fails is left out from then on."""
    able = [server for server in servers if kind.needs in server.gives and not (kind.tcp and server.name == ECHO)]
    row = Row(kind)
    asker.files.renew(kind, WARM_UP)
    able = [server for server in able if server.name == ECHO or _try(row, server, asker, WARM_UP, say)]
    far_off = {name: runs for name, runs in row.runs.items() if name not in OURS and runs[0].microseconds > FAR_OFF}
    row.runs = far_off.copy()
    able = [server for server in able if server.name not in far_off]
    for number in range(plan.rounds):
        asker.files.renew(kind, plan.seconds)
        for server in tuple(able):
            peer = server.name != ECHO and server.name not in OURS
            if peer and number >= PEER_ROUNDS:
                continue
            if not _try(row, server, asker, plan.seconds * (PEER_SHARE if peer else 1), say):
                able.remove(server)
    return row


def _try(row: Row, server: Server, asker: Asker, seconds: float, say: Callable[[str], None]) -> bool:
    try:
        row.runs.setdefault(server.name, []).append(asker.full_load(server, row.kind, seconds))
    except BenchError as error:
        if server.name == ECHO or server.name in OURS:
            raise
        say(f"{row.kind.name}: without {server.name}: {str(error).splitlines()[0]}")
        row.runs.pop(server.name, None)
        return False
    return True


def measure_rate(kind: Kind, servers: Sequence[Server], pacer: Pacer, plan: Plan, rate: int) -> dict[str, Paced]:
    """Ask each server at the same rate by turns; return each one's cheapest run."""
    best: dict[str, Paced] = {}
    for _ in range(RATE_ROUNDS):
        for server in servers:
            paced = pacer.run(server, kind, rate, plan.paced_seconds)
            if server.name not in best or paced.microseconds < best[server.name].microseconds:
                best[server.name] = paced
    return best


def measure_flood(mixed: Kind, alone: Sequence[Kind], server: Server, asker: Asker, plan: Plan) -> Flood:
    """Ask the questions mixed and each half of them alone, by turns, so that all see the machine at the same pace."""
    before = server.memory()
    costs: dict[str, list[float]] = {}
    for _ in range(plan.rounds):
        for kind in (*alone, mixed):
            asker.files.renew(kind, plan.seconds)
            costs.setdefault(kind.name, []).append(asker.full_load(server, kind, plan.seconds).microseconds)
    expected = sum(min(costs[kind.name]) for kind in alone) / len(alone)
    return Flood(min(costs[mixed.name]), expected, before, server.memory())
