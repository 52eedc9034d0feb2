"""Queries over UDP: a few connected sockets, their ports the kernel's choice, replies matched by socket, ID, question.

A socket is left after a time or a number of queries, so that its port can't be found out at leisure (RFC 5452 §9.2).
What is asked in one turn of the loop leaves in one system call; what has come is read in one.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import time
from typing import TYPE_CHECKING

from kubedns.libc import BATCH
from kubedns.upstream.address import connected, reason
from kubedns.upstream.batches import batches
from kubedns.upstream.exchange import MOST_PENDING, ONE, QR_SET, BusyError, Match, UpstreamError, match
from kubedns.wire.numbers import HEADER_SIZE

if TYPE_CHECKING:
    import socket

    from kubedns.upstream.address import Address
    from kubedns.upstream.exchange import Exchange
    from kubedns.upstream.settings import Settings
    from kubedns.upstream.statistics import Statistics

SOCKETS = 4  # of one name server at a time; which one a turn's queries leave by is drawn
MOST_QUERIES = 2000  # of one socket
TICK = 0.05  # seconds: how late a query may be found to have waited too long
SWEEP = 1.0  # seconds between two looks for sockets that nobody used for a while
ID_SIZE = 2
RANDOM = 512  # octets drawn at a time
BATCHES_A_WAKE_UP = 4  # then everything else has its turn


class Datagrams:
    """Asks one name server over UDP, in the running loop."""

    def __init__(self, address: Address, settings: Settings, statistics: Statistics) -> None:
        self.address = address
        self.statistics = statistics
        self._settings = settings
        self._most = min(settings.most_idle or SOCKETS, SOCKETS)
        self._sockets: list[_Socket] = []  # those that queries leave by
        self._leaving: dict[_Socket, None] = {}  # those that replies may still come to
        self._closed = False
        self._turn: _Socket | None = None  # the one that this turn's queries leave by
        self._opened = 0  # in this turn
        self._ticking: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    def ask(self, exchange: Exchange) -> None:
        """Send a query at the end of this turn of the loop."""
        sock = self._turn
        if sock is None:
            try:
                sock = self._begin_turn()
            except OSError as error:
                text = f"dial udp {self.address.text}: connect: {reason(error)}"
                asyncio.get_running_loop().call_soon(exchange.failed, UpstreamError(text))
                return
            except BusyError as error:
                asyncio.get_running_loop().call_soon(exchange.failed, error)
                return
        sock.put(exchange)

    def close(self) -> None:
        """Close every socket; what waits for a reply will have none, nor what is asked from now on."""
        self._closed = True
        for timer in (self._ticking, self._sweeping):
            if timer is not None:
                timer.cancel()
        self._ticking = self._sweeping = self._turn = None
        sockets, self._sockets, self._leaving = [*self._sockets, *self._leaving], [], {}
        for sock in sockets:
            sock.fail_all("proxy: transport stopped")
            sock.close()

    def _begin_turn(self) -> _Socket:
        """Draw the socket of this turn, and open it if it is not there yet or has served its time."""
        if self._closed:
            raise BusyError("proxy: transport stopped")
        waiting = sum(len(sock.pending) for sock in self._sockets) + sum(len(sock.pending) for sock in self._leaving)
        if waiting >= MOST_PENDING:
            raise BusyError(f"{MOST_PENDING} queries wait for {self.address.text} already")
        at = random.randrange(self._most)  # noqa: S311 - which socket is no secret; its port and the ID are
        now = time.monotonic()
        if at < len(self._sockets):
            sock = self._sockets[at]
            if sock.sent >= MOST_QUERIES or self._settings.over(sock.opened, sock.used, now):
                self._leave(self._sockets.pop(at))
                sock = self._open(now)
        else:
            sock = self._open(now)
        sock.used = now
        self._turn = sock
        loop = asyncio.get_running_loop()
        loop.call_soon(self._end_turn)
        if self._ticking is None:
            self._ticking = loop.call_later(TICK, self._tick)
        return sock

    def _open(self, now: float) -> _Socket:
        sock = _Socket(self, connected(self.address, self._settings.source), now)
        self._sockets.append(sock)
        self.statistics.misses["udp"] += 1
        self._opened += 1
        sock.watch()
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(SWEEP, self._sweep)
        return sock

    def _end_turn(self) -> None:
        sock, self._turn = self._turn, None
        if sock is not None:
            self.statistics.hits["udp"] += sock.flush() - self._opened
        self._opened = 0

    def _leave(self, sock: _Socket) -> None:
        if sock.pending:
            self._leaving[sock] = None
        else:
            sock.close()

    def _tick(self) -> None:
        """Give up on queries whose time is over; those of a socket are in the order of their deadlines."""
        now = time.monotonic()
        for sock in [*self._sockets, *self._leaving]:
            sock.give_up(now)
        for sock in [one for one in self._leaving if not one.pending]:
            del self._leaving[sock]
            sock.close()
        waiting = any(sock.pending for sock in (*self._sockets, *self._leaving))
        self._ticking = asyncio.get_running_loop().call_later(TICK, self._tick) if waiting else None

    def _sweep(self) -> None:
        now = time.monotonic()
        for sock in [one for one in self._sockets if self._settings.over(one.opened, one.used, now)]:
            if sock is not self._turn:
                self._sockets.remove(sock)
                self._leave(sock)
        waits = bool(self._sockets)
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP, self._sweep) if waits else None


def idents() -> list[bytes]:
    """Return some IDs that nobody can foresee."""
    drawn = os.urandom(RANDOM)
    return [drawn[at : at + ID_SIZE] for at in range(0, RANDOM, ID_SIZE)]


class _Socket:
    """A connected socket, and by ID what was asked over it."""

    __slots__ = ("_datagrams", "_idents", "_io", "_queue", "opened", "pending", "sent", "sock", "used")

    def __init__(self, datagrams: Datagrams, sock: socket.socket, now: float) -> None:
        """`opened` and `used` are monotonic seconds, `sent` counts queries."""
        self.sock = sock
        self.opened = self.used = now
        self.sent = 0
        self.pending: dict[bytes, Exchange] = {}
        self._datagrams = datagrams
        self._io = batches()
        self._queue: list[bytes] = []
        self._idents: list[bytes] = []

    def watch(self) -> None:
        """Have `readable` called from now on: anew after each error, as libuv stops watching at one (uv_poll_t)."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self.sock.fileno())
        loop.add_reader(self.sock.fileno(), self.readable)

    def put(self, exchange: Exchange) -> None:
        """Take a query, to be sent by the next flush, under an ID that nobody can foresee."""
        while True:
            if not self._idents:
                self._idents = idents()
            ident = self._idents.pop()
            if ident not in self.pending:
                break
        self.pending[ident] = exchange
        self._queue.append(ident + exchange.message)

    def flush(self) -> int:
        """Send what is queued; return how many queries that was.

        An error that comes first belongs to what was sent before, which is known to be lost.
        """
        queue, self._queue = self._queue, []
        self.sent += len(queue)
        self._send(queue)
        return len(queue)

    def _send(self, queue: list[bytes]) -> None:
        at, errors = 0, 0
        while at < len(queue):
            try:
                at += self._io.send(self.sock, queue[at : at + BATCH] if len(queue) > BATCH else queue[at:])
                errors = 0
            except BlockingIOError:
                return  # the kernel's buffer is full: lost, as on the way
            except OSError as error:
                self.watch()
                if error.errno == errno.EMSGSIZE:
                    self._fail([queue[at][:ID_SIZE]], "write", error)
                    at += 1
                    continue
                self._fail_sent(queue[at:], "write", error)
                errors += 1
                if errors > 1:
                    self._fail([message[:ID_SIZE] for message in queue[at:]], "write", error)
                    return

    def readable(self) -> None:
        pending, statistics = self.pending, self._datagrams.statistics
        for _ in range(BATCHES_A_WAKE_UP):
            try:
                messages = self._io.receive(self.sock)
            except OSError as error:
                self.watch()
                self._fail_sent(self._queue, "read", error)
                return
            for octets in messages:
                ident = octets[:ID_SIZE]
                exchange = pending.get(ident)
                if exchange is None or len(octets) < HEADER_SIZE:
                    statistics.strays += 1
                    continue
                question = exchange.question
                if octets[2] >= QR_SET and octets[4:6] == ONE and octets.startswith(question, HEADER_SIZE):
                    del pending[ident]  # as match() says, sooner
                    exchange.answered(octets)
                    continue
                found = match(octets, question)
                if found is Match.OTHER:
                    statistics.strays += 1
                    continue
                del pending[ident]
                if found is Match.REPLY:
                    exchange.answered(octets)
                else:
                    exchange.misanswered()
            if len(messages) < BATCH or self.sock.fileno() < 0:
                return

    def _fail_sent(self, unsent: list[bytes], call: str, error: OSError) -> None:
        """Fail what has been sent: an error tells of that, but not of which."""
        waiting = {message[:ID_SIZE] for message in unsent}
        self._fail([ident for ident in self.pending if ident not in waiting], call, error)

    def give_up(self, now: float) -> None:
        """Fail what has waited too long."""
        late = []
        for ident, exchange in self.pending.items():
            if exchange.deadline > now:
                break
            late.append(ident)
        if late:
            self._fail(late, "read", None)

    def fail_all(self, text: str) -> None:
        pending, self.pending = self.pending, {}
        for exchange in pending.values():
            exchange.failed(UpstreamError(text))

    def close(self) -> None:
        if self.sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self.sock.fileno())
            self.sock.close()

    def _fail(self, idents: list[bytes], call: str, error: OSError | None) -> None:
        """`error` None: no reply came in time."""
        why = "i/o timeout" if error is None else f"{call}: {reason(error)}"
        local, to = self.sock.getsockname(), self._datagrams.address.text
        host = f"[{local[0]}]" if ":" in local[0] else local[0]
        text = f"{call} udp {host}:{local[1]}->{to}: {why}"
        for exchange in [self.pending.pop(ident) for ident in idents if ident in self.pending]:
            exchange.failed(UpstreamError(text))
