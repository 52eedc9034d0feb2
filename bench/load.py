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

CLIENTS = 20  # sockets, or connections
OUTSTANDING = 200  # questions under way at once: what keeps the server busy without losing any
OUTSTANDING_TCP = 20
PATIENCE = 2.0  # seconds for a reply: what comes later is lost


@dataclass(frozen=True, slots=True)
class Run:
    """`cpu` is seconds, `size` a reply's octets; `wrong` counts replies of an RCODE that no right answer has."""

    completed: int
    lost: int
    wrong: int
    per_second: float
    cpu: float
    size: int

    @property
    def microseconds(self) -> float:
        """CPU for each query that was answered."""
        return self.cpu / self.completed * 1e6


@dataclass(frozen=True, slots=True)
class Asker:
    """One dnsperf at a time, with a thread that sends and one that receives, both on one core."""

    core: int
    files: Files
    clients: int = CLIENTS
    from_port: int = 0  # and those behind it; 0: any

    def full_load(self, server: Server, kind: Kind, seconds: float) -> Run:
        """Ask as fast as the server answers. Raises BenchError if it does not."""
        command = ["dnsperf", "-s", HOST, "-p", str(server.port), "-d", str(self.files.file(kind))]
        command += ["-l", f"{seconds:g}", "-t", f"{PATIENCE:g}", "-c", str(self.clients), "-T", "1"]
        command += ["-q", str(OUTSTANDING_TCP), "-m", "tcp"] if kind.tcp else ["-q", str(OUTSTANDING)]
        command += ["-e"] if kind.edns else []
        command += ["-x", str(self.from_port)] if self.from_port else []
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
        size = int(_number(r"Average packet size:.*response (\d+)", printed))
        return Run(completed, lost, wrong, _number(r"Queries per second:\s+([\d.]+)", printed), cpu, size)


def _number(pattern: str, printed: str) -> float:
    found = re.search(pattern, printed)
    return float(found[1]) if found else 0.0
