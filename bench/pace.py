"""One run of latency.c: questions at a fixed rate, however slowly they are answered."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.processes import BenchError, on_core

if TYPE_CHECKING:
    from pathlib import Path

    from bench.processes import Server
    from bench.questions import Files, Kind


@dataclass(frozen=True, slots=True)
class Paced:
    """A run at a fixed rate. Times are milliseconds, `cpu` seconds; `slow` counts replies that took over 20 ms.

    `late` is how far behind its time the asker was at worst; `windows` are moments (seconds) and the slowest of each.
    """

    sent: int
    lost: int
    servfail: int
    slow: int
    late: float
    p50: float
    p99: float
    p999: float
    longest: float
    cpu: float
    windows: tuple[tuple[float, float], ...] = ()

    @property
    def microseconds(self) -> float:
        """CPU for each query that was answered."""
        return self.cpu / max(1, self.sent - self.lost) * 1e6


@dataclass(frozen=True, slots=True)
class Pacer:
    """Asks from one core by the compiled latency.c."""

    program: Path
    core: int
    files: Files

    def run(self, server: Server, kind: Kind, rate: int, seconds: float) -> Paced:
        """Ask so many questions a second. Raises BenchError if none is answered."""
        command = [str(self.program), str(server.port), str(self.files.file(kind)), str(rate), f"{seconds:g}"]
        before = server.cpu()
        with on_core(self.core):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        cpu = server.cpu() - before
        if done.returncode:
            raise BenchError(f"{self.program.name}: {done.stderr}")
        paced = read(done.stdout, cpu)
        if paced.sent == paced.lost:
            raise BenchError(f"{server.name} answered nothing at {rate} queries a second:\n{server.log()}")
        return paced


def read(printed: str, cpu: float) -> Paced:
    """Return what latency.c printed."""
    lines = [line.split() for line in printed.splitlines()]
    values = {line[0]: line[1] for line in lines if len(line) == 2}
    windows = tuple((float(line[1]), float(line[2])) for line in lines if line[0] == "window")
    sent, lost, servfail, slow = (int(values[key]) for key in ("sent", "lost", "servfail", "slow"))
    late, p50, p99, p999, longest = (float(values[key]) for key in ("late", "p50", "p99", "p99.9", "max"))
    return Paced(sent, lost, servfail, slow, late, p50, p99, p999, longest, cpu, windows)
