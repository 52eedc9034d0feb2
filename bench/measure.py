"""Which runs are made, and what is kept of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.load import Asker, Paced, Run
    from bench.processes import Memory, Server
    from bench.questions import Kind

WARM_UP = 1.0  # seconds: answers are compiled, the processor is at its pace
BUSY = 3.5  # microseconds: what the echo never needs on a machine that is left alone


@dataclass(slots=True)
class Row:
    """A class of questions: each server's runs, by the server's name."""

    kind: Kind
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def best(self, server: str) -> Run | None:
        """Return the run that cost the least: what a busy neighbour adds is not the server's."""
        return min(self.runs.get(server, ()), key=lambda run: run.microseconds, default=None)

    def ratio(self, server: str) -> float:
        """Return a server's cost over the echo's."""
        own, floor = self.best(server), self.best("echo")
        return own.microseconds / floor.microseconds if own and floor else float("nan")


@dataclass(slots=True)
class Results:
    """All that is reported; `started` is seconds from start to first answer."""

    rows: list[Row] = field(default_factory=list)
    paces: list[tuple[int, dict[str, Paced]]] = field(default_factory=list)
    started: dict[str, float] = field(default_factory=dict)
    memory: dict[str, tuple[Memory, Memory]] = field(default_factory=dict)

    @property
    def doubtful(self) -> list[str]:
        """Name the classes during which the machine had other work, or all of them if it is a slow machine."""
        floors = ((row.kind.name, row.best("echo")) for row in self.rows)
        return [name for name, floor in floors if floor and floor.microseconds > BUSY]


def measure_class(kind: Kind, servers: Sequence[Server], asker: Asker, seconds: float, rounds: int) -> Row:
    """Warm each server up, then let them take turns."""
    able = [server for server in servers if not (kind.synthetic and server.name == "nsd")]
    row = Row(kind)
    for server in able:
        if server.name != "echo":
            asker.full_load(server, kind, WARM_UP)
    for _ in range(rounds):
        for server in able:
            row.runs.setdefault(server.name, []).append(asker.full_load(server, kind, seconds))
    return row


def measure_pace(kind: Kind, servers: Sequence[Server], asker: Asker, seconds: float, rate: int) -> dict[str, Paced]:
    """Ask each server at the same rate, one after the other."""
    return {server.name: asker.paced_load(server, kind, seconds, rate) for server in servers}
