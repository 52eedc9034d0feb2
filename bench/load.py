"""One run of dnsperf: how many questions a server answered, how it answered them, and what that cost it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.processes import HOST, BenchError, on_core

if TYPE_CHECKING:
    from bench.processes import Server
    from bench.questions import Files, Kind

CLIENTS = 20  # sockets
OUTSTANDING = 200  # questions under way at once: what keeps the server busy without losing any
OPEN_LOOP = 20_000  # at a fixed rate nobody waits for a slow server


@dataclass(frozen=True, slots=True)
class Run:
    """`cpu` is seconds; `wrong` counts replies of an RCODE that no right answer has."""

    completed: int
    lost: int
    wrong: int
    per_second: float
    cpu: float

    @property
    def microseconds(self) -> float:
        """CPU for each query that was answered."""
        return self.cpu / self.completed * 1e6


@dataclass(frozen=True, slots=True)
class Paced:
    """A run at a fixed rate; `latencies` are seconds, sorted."""

    run: Run
    latencies: tuple[float, ...]

    def percentile(self, share: float) -> float:
        """Return the latency that so much of the replies (0 to 1) came within, in milliseconds."""
        return self.latencies[int((len(self.latencies) - 1) * share)] * 1000


@dataclass(frozen=True, slots=True)
class Asker:
    """One dnsperf at a time, with a thread that sends and one that receives, both on one core."""

    core: int
    files: Files

    def full_load(self, server: Server, kind: Kind, seconds: float) -> Run:
        """Ask as fast as the server answers."""
        return self._run(server, kind, seconds, ["-q", str(OUTSTANDING)])[0]

    def paced_load(self, server: Server, kind: Kind, seconds: float, rate: int) -> Paced:
        """Ask so many questions a second, however slowly they are answered."""
        run, printed = self._run(server, kind, seconds, ["-q", str(OPEN_LOOP), "-Q", str(rate), "-v"])
        latencies = sorted(float(text) for text in re.findall(r"^> \S+ \S+ \S+ ([\d.]+)$", printed, re.MULTILINE))
        if not latencies:
            raise BenchError(f"dnsperf told no latencies:\n{printed[-500:]}")
        return Paced(run, tuple(latencies))

    def _run(self, server: Server, kind: Kind, seconds: float, words: list[str]) -> tuple[Run, str]:
        questions = str(self.files.file(kind, seconds))
        command = ["dnsperf", "-s", HOST, "-p", str(server.port), "-d", questions, "-l", f"{seconds:g}"]
        command += ["-c", str(CLIENTS), "-T", "1", *words, *(["-e"] if kind.edns else [])]
        before = server.cpu()
        with on_core(self.core):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        cpu = server.cpu() - before
        printed = done.stdout
        completed = int(_number(r"Queries completed:\s+(\d+)", printed))
        if done.returncode or not completed:
            told = f"{printed[-500:]}{done.stderr[-500:]}{server.log()}"
            raise BenchError(f"dnsperf got no answers from {server.name} ({kind.name}):\n{told}")
        codes = re.search(r"Response codes:\s+(.*)", printed)
        counts = re.findall(r"(\w+) (\d+)", codes[1] if codes else "")
        wrong = sum(int(number) for rcode, number in counts if rcode not in kind.rcodes)
        lost = int(_number(r"Queries lost:\s+(\d+)", printed))
        return Run(completed, lost, wrong, _number(r"Queries per second:\s+([\d.]+)", printed), cpu), printed


def _number(pattern: str, printed: str) -> float:
    found = re.search(pattern, printed)
    return float(found[1]) if found else 0.0
