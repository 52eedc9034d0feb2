"""Clients that ask all the time while something is done to the server, and remember what came of each query."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.end_to_end.client import LOOPBACK, compose, framed

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE = 8.0  # seconds until a query without a reply is lost: more than an upstream has
RCODE = 0x0F


class Question(NamedTuple):
    """What is asked, and the RCODE that must come back; `answers` records in the answer section, if that is said."""

    name: str
    rrtype: str = "A"
    rcode: int = 0
    answers: int | None = None


@dataclass(slots=True)
class Lane:
    """A socket with one query in flight at a time, so that it is clear which query a closed socket cost."""

    sock: socket.socket
    stream: bool
    ident: int = 0
    question: Question | None = None
    sent: float = 0.0
    received: bytes = b""


@dataclass(slots=True)
class Record:
    """What came of all queries. `wrong` are replies of another RCODE or size than they should have had."""

    seconds: list[float] = field(default_factory=list)
    lost: list[Question] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)
    refused: int = 0  # datagrams to a closed socket
    cut: int = 0  # connections closed by the server

    @property
    def slowest(self) -> float:
        return max(self.seconds, default=0.0)


class Load:
    """Asks the questions in turn, `rate` of them a second, over UDP sockets and TCP connections that it keeps."""

    def __init__(
        self,
        port: int,
        questions: Sequence[Question],
        *,
        host: str = LOOPBACK,
        rate: float = 400,
        datagrams: int = 16,
        streams: int = 4,
    ) -> None:
        """Its sockets are made here, and stay in the network namespace that the caller's thread is in."""
        self.record = Record()
        self._address = (host, port)
        self._messages = {one: compose(one.name, one.rrtype) for one in questions}
        self._next = cycle(questions)
        self._rate = rate
        self._lanes = [self._lane(stream=number >= datagrams) for number in range(datagrams + streams)]
        self._selector = selectors.DefaultSelector()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the replies that are due."""
        self._ending.set()
        self._thread.join()
        for lane in self._lanes:
            lane.sock.close()

    def wait_for(self, replies: int, timeout: float = 10.0) -> None:
        """Return once so many more replies have come; fail if they do not."""
        wanted, end = len(self.record.seconds) + replies, time.monotonic() + timeout
        while len(self.record.seconds) < wanted:
            assert time.monotonic() < end, f"{wanted - len(self.record.seconds)} of {replies} replies are missing"
            time.sleep(0.002)

    def wait_until_told(self, timeout: float = PATIENCE) -> None:
        """Return once every lane has found that the server is gone; fail if they do not."""
        end = time.monotonic() + timeout
        while self.record.refused + self.record.cut < len(self._lanes):
            assert time.monotonic() < end, f"{self.record} of {len(self._lanes)} lanes"
            time.sleep(0.002)

    def _lane(self, *, stream: bool) -> Lane:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
        sock.connect(self._address)
        sock.setblocking(False)
        return Lane(sock, stream)

    def _run(self) -> None:
        for lane in self._lanes:
            self._selector.register(lane.sock, selectors.EVENT_READ, lane)
        free = list(reversed(self._lanes))
        due = time.monotonic()
        while self._selector.get_map() and not (self._ending.is_set() and len(free) >= len(self._selector.get_map())):
            for key, _ in self._selector.select(max(0.0, min(0.05, due - time.monotonic()))):
                if self._receive(key.data):
                    free.insert(0, key.data)
            now = time.monotonic()
            self._give_up(now - PATIENCE, free)
            while free and now >= due and not self._ending.is_set():
                lane = free.pop()
                if lane.sock in self._selector.get_map():
                    self._send(lane, now)
                    due = max(due + 1 / self._rate, now - 0.1)  # after a stall of ours, no flood
        self._selector.close()

    def _send(self, lane: Lane, now: float) -> None:
        lane.question = next(self._next)
        lane.ident = (lane.ident + 1) % 65536
        lane.sent = now
        message = lane.ident.to_bytes(2, "big") + self._messages[lane.question][2:]
        try:
            lane.sock.send(framed(message) if lane.stream else message)
        except OSError:
            self._close(lane)

    def _receive(self, lane: Lane) -> bool:
        """Tell whether the lane is free again."""
        try:
            octets = lane.sock.recv(65535)
        except OSError:
            octets = b""
        if not octets:
            self._close(lane)
            return False
        lane.received = lane.received + octets if lane.stream else octets
        if lane.stream:
            if len(lane.received) < 2 or len(lane.received) < 2 + int.from_bytes(lane.received[:2], "big"):
                return False
            octets, lane.received = lane.received[2:], b""
        if lane.question is None or int.from_bytes(octets[:2], "big") != lane.ident:
            return False  # of a query that was given up
        self._judge(lane.question, octets)
        self.record.seconds.append(time.monotonic() - lane.sent)
        lane.question = None
        return True

    def _judge(self, question: Question, octets: bytes) -> None:
        rcode, answers = octets[3] & RCODE, int.from_bytes(octets[6:8], "big")
        if rcode != question.rcode or answers != (answers if question.answers is None else question.answers):
            self.record.wrong[f"{question.name} {question.rrtype}: RCODE {rcode}, {answers} answers"] += 1

    def _give_up(self, before: float, free: list[Lane]) -> None:
        for lane in self._lanes:
            if lane.question is not None and lane.sent < before and lane.sock in self._selector.get_map():
                self.record.lost.append(lane.question)
                lane.question = None
                free.insert(0, lane)

    def _close(self, lane: Lane) -> None:
        """The server is gone, or has let this connection go."""
        self._selector.unregister(lane.sock)
        if lane.stream:
            self.record.cut += 1
        else:
            self.record.refused += 1
        lane.question = None
