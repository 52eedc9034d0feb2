"""python -m bench.probe PORT RATE: ask at a fixed rate, come what may, and tell how long each reply took.

Questions, `NAME TYPE` a line, come on standard input up to an empty line; then asking begins, and ends with the input.
What was measured is printed as JSON: for each query, monotonic seconds when it went, and seconds until its reply, -1
for none within PATIENCE, -2 for a reply of another RCODE than NOERROR.

A reply's arrival is stamped by the kernel (SO_TIMESTAMPNS, socket(7)), so that it does not matter when the machine
gives this process its turn to read it. A query that the machine held up between the look at the clock and the system
call's end is left out: nobody can tell when it went.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Self

from bench.processes import HOST, ROOT, BenchError, encode_query, on_core

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

PATIENCE = 2.0  # seconds
LOST, WRONG = -1.0, -2.0
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; the value's type is timespec
HELD_UP = 0.0005  # seconds that send(2) takes at most on a machine that has a core for it
TIMESPEC = struct.Struct("qq")
ANCILLARY = socket.CMSG_SPACE(TIMESPEC.size)
TYPES = {"A": 1, "PTR": 12, "AAAA": 28, "SRV": 33}


class Sample(NamedTuple):
    """`sent` in monotonic seconds, `took` in seconds, LOST or WRONG."""

    sent: float
    took: float


class Probe:
    """The asking process, on a core of its own choice; `stop` ends it and returns what it saw."""

    def __init__(self, port: int, core: int, questions: Iterable[str], rate: float) -> None:
        """`questions` are lines of `NAME TYPE`, asked in turn; `rate` is queries a second."""
        with on_core(core):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.probe", str(port), str(rate)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._process.stdin is not None  # noqa: S101 - asked for
        self._process.stdin.write("".join(f"{line}\n" for line in questions) + "\n")
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def stop(self) -> list[Sample]:
        """Return all queries in order."""
        printed, _ = self._process.communicate(timeout=PATIENCE * 5)
        if self._process.returncode:
            raise BenchError(f"the probe ended with status {self._process.returncode}")
        return [Sample(*each) for each in json.loads(printed)]


def within(samples: Iterable[Sample], begin: float, end: float) -> list[Sample]:
    """Return the queries that went between two moments, in monotonic seconds."""
    return [sample for sample in samples if begin <= sample.sent < end]


def slowest(samples: Iterable[Sample]) -> float:
    """Return seconds."""
    return max((sample.took for sample in samples), default=0.0)


def percentile(seconds: Sequence[float], share: float) -> float:
    """Return the value that so much of them (0 to 1) is not above; they need not be sorted."""
    return sorted(seconds)[int((len(seconds) - 1) * share)] if seconds else 0.0


class _Asking:
    """One socket, and what is in flight on it by ID."""

    def __init__(self, port: int, questions: Sequence[bytes]) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.connect((HOST, port))
        self.samples: list[Sample | None] = []
        self._questions = questions
        self._flying: dict[int, tuple[int, float, float]] = {}  # by ID: place, and when on both clocks
        self._sent: deque[tuple[int, float]] = deque()  # IDs and when, in order

    def send(self) -> None:
        place = len(self.samples)
        ident = place & 0xFFFF
        message = ident.to_bytes(2, "big") + self._questions[place % len(self._questions)][2:]
        monotonic, stamp = time.monotonic(), time.time()
        with suppress(OSError):  # nobody listens: that is a query lost
            self.socket.send(message)
        if time.monotonic() - monotonic > HELD_UP:
            self.samples.append(None)
            return
        self._flying[ident] = (place, monotonic, stamp)
        self._sent.append((ident, monotonic))
        self.samples.append(Sample(monotonic, LOST))

    def receive(self) -> None:
        while True:
            try:
                octets, ancillary, _, _ = self.socket.recvmsg(4096, ANCILLARY)
            except BlockingIOError:
                return
            except OSError:
                continue
            flying = self._flying.pop(int.from_bytes(octets[:2], "big"), None)
            if flying is None or not ancillary:
                continue
            place, monotonic, stamp = flying
            seconds, nanoseconds = TIMESPEC.unpack(ancillary[0][2])
            right = len(octets) > 3 and not octets[3] & 15
            self.samples[place] = Sample(monotonic, seconds + nanoseconds / 1e9 - stamp if right else WRONG)

    def give_up(self, now: float) -> None:
        """Forget what has waited too long, so that a late reply is none."""
        while self._sent and self._sent[0][1] < now - PATIENCE:
            ident, sent = self._sent.popleft()
            if ident in self._flying and self._flying[ident][1] == sent:
                del self._flying[ident]


def main() -> int:
    """Ask until standard input ends."""
    port, rate = int(sys.argv[1]), float(sys.argv[2])
    questions = []
    while line := sys.stdin.readline().strip():
        domain_name, rrtype = line.split()
        questions.append(encode_query(domain_name, TYPES[rrtype]))
    with suppress(PermissionError):  # where that is allowed, whoever else has this core waits
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    asking = _Asking(port, questions)
    poll = select.poll()
    poll.register(asking.socket, select.POLLIN)
    poll.register(sys.stdin, select.POLLIN | select.POLLHUP)
    due = time.monotonic()
    ending = 0.0
    while not ending or time.monotonic() < ending:
        now = time.monotonic()
        if now >= due and not ending:
            asking.send()
            due = max(due + 1 / rate, now - 1)  # a machine that slept need not be made up for
        asking.give_up(now)
        events = dict(poll.poll(max(0.0, due - time.monotonic()) * 1000 if not ending else 50))
        if asking.socket.fileno() in events:
            asking.receive()
        if sys.stdin.fileno() in events and not ending:
            poll.unregister(sys.stdin)
            ending = time.monotonic() + PATIENCE
    print(json.dumps([sample for sample in asking.samples if sample is not None]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
