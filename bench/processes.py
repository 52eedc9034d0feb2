"""Servers as processes: start one on a core, know its CPU time and memory, stop it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bench.questions import Needs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

ROOT = Path(__file__).parent.parent
HOST = "127.0.0.1"
ALL = frozenset(Needs)
TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds; what /proc counts CPU time in
CPUCLOCK_SCHED = 2  # the clock of a process, made of its number as clock_getcpuclockid(3) makes it: all its threads
PATIENCE = 120.0  # seconds until a server must answer
RETRY = 0.02
STOPPING = 10.0


class BenchError(Exception):
    """The benchmark can't go on; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident octets: now, and at most so far."""

    now: int
    peak: int


class Server:
    """A process and its children, pinned to a core, whose output goes into a log file."""

    def __init__(self, name: str, port: int, core: int, command: Sequence[str], log: Path) -> None:
        """Start it at the root of the checkout, so that its code is what runs; `gives`: what it can be asked for."""
        self.name = name
        self.port = port
        self.gives = ALL
        self._log = log
        self.started = time.monotonic()
        with log.open("wb") as output, on_core(core):
            self._process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def await_answer(self, domain_name: str, holding: bytes) -> float:
        """Return the seconds from the start to the first reply without error that holds these octets."""
        query = encode_query(domain_name, 1)
        while time.monotonic() < self.started + PATIENCE:
            if self._process.poll() is not None:
                raise BenchError(f"{self.name} ended with status {self._process.returncode}:\n{self.log()}")
            reply = _ask(self.port, query)
            if reply[2:3] >= b"\x80" and not reply[3] & 15 and holding in reply:
                return time.monotonic() - self.started
            time.sleep(RETRY)
        raise BenchError(f"{self.name} gave no right answer for {PATIENCE:.0f} seconds:\n{self.log()}")

    def log(self) -> str:
        """Return the end of what it has printed."""
        return "".join(self._log.read_text(errors="replace").splitlines(keepends=True)[-20:])

    def cpu(self) -> float:
        """Return the seconds of CPU, user and system, that it and its children have used."""
        return sum(map(_cpu, self.pids()))

    def waited(self) -> float:
        """Return the seconds that it was ready to run and had no core: what others on the machine cost it."""
        return sum(_waited(pid) for pid in self.pids())

    def memory(self) -> Memory:
        now = peak = 0
        for pid in self.pids():
            status = _read(Path(f"/proc/{pid}/status"))
            now += _kibibytes("VmRSS", status)
            peak += _kibibytes("VmHWM", status)
        return Memory(now * 1024, peak * 1024)

    def pids(self) -> list[int]:
        """Return the process and all below it, as they are now."""
        children: dict[int, list[int]] = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and (fields := _stat(int(folder.name))):
                children.setdefault(int(fields[1]), []).append(int(folder.name))
        found = [self._process.pid]
        for pid in found:
            found += children.get(pid, ())
        return found


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started meanwhile stays on that core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody has on this host, for UDP and TCP both."""
    held: list[socket.socket] = []
    try:
        while len(held) < 2 * count:
            tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
            held += [tcp, udp]
            tcp.bind((HOST, 0))
            udp.bind(tcp.getsockname())
        return [tcp.getsockname()[1] for tcp in held[::2]]
    finally:
        for one in held:
            one.close()


def encode_query(domain_name: str, rrtype: int, edns_size: int = 0) -> bytes:
    """Return a query as dnsperf sends it: RD set, one question, an OPT record if `edns_size` is given."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in domain_name.split("."))
    opt = b"\0\0\x29" + edns_size.to_bytes(2, "big") + bytes(6) if edns_size else b""
    head = b"\x12\x34\1\0\0\1\0\0\0\0\0" + bytes((bool(opt),))
    return head + labels + b"\0" + rrtype.to_bytes(2, "big") + b"\0\1" + opt


def _ask(port: int, query: bytes) -> bytes:
    """Return the reply, empty where none comes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        client.connect((HOST, port))
        try:
            client.send(query)
            return client.recv(4096)
        except OSError:  # nobody listens yet
            return b""


def _read(path: Path) -> str:
    """Return a file of /proc, empty once its process is gone."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the program's name (proc(5)): state, ppid, ..."""
    return _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()


def _cpu(pid: int) -> float:
    """Return a process's own time by its clock, exact where /proc counts in hundredths, and that of ended children."""
    ended = sum(map(int, _stat(pid)[13:15])) * TICK  # cutime, cstime
    try:
        return time.clock_gettime(~pid << 3 | CPUCLOCK_SCHED) + ended
    except OSError:  # it has just ended
        return ended


def _waited(pid: int) -> float:
    """Return the time on a run queue, of the process's first thread (/proc/PID/schedstat, sched-stats.rst)."""
    fields = _read(Path(f"/proc/{pid}/schedstat")).split()
    return int(fields[1]) / 1e9 if len(fields) > 1 else 0.0


def _kibibytes(key: str, status: str) -> int:
    found = re.search(rf"^{key}:\s*(\d+) kB", status, re.MULTILINE)
    return int(found[1]) if found else 0
