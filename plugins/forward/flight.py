"""A question on its way: from name server to name server until one has an answer, for all who ask the same."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

from kubedns.plugin.contract import ResolveError
from kubedns.upstream.exchange import BusyError, UpstreamError
from kubedns.wire.edns import opt_record, write_options
from kubedns.wire.errors import WireError
from kubedns.wire.name import ROOT
from kubedns.wire.numbers import MINIMUM_UDP_SIZE, RCODE_MASK, TC, Rcode
from kubedns.wire.packed import read_packed
from kubedns.wire.parse import KEPT_FLAGS
from kubedns.wire.query import ONE_QUESTION, QUESTION_AND_OPT
from kubedns.wire.reply import Reply
from plugins.forward import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from kubedns.plugin.straight import Waiter
    from kubedns.upstream.nameserver import NameServer
    from kubedns.wire.query import Query

DEADLINE = 5.0  # seconds after which no name server is tried any more; one that is being asked has its time
PAUSE = 0.05  # seconds before a try that no one asked for a limit to, when each has failed twice already
FORMERR = Reply(rcode=Rcode.FORMERR, suffix=ROOT)


class Course:
    """What a `forward` line says about trying: shared by all its flights.

    `most_attempts` 0 is any number; `max_fails` 0 means that no name server is ever down. `concurrent` are the queries
    that wait for any of its flights.
    """

    __slots__ = (
        "concurrent",
        "failfast",
        "failover",
        "max_fails",
        "most_attempts",
        "order",
        "prefer_udp",
        "stream_only",
    )

    def __init__(  # noqa: PLR0913 - one argument for each option
        self,
        order: Callable[[], Sequence[NameServer]],
        *,
        max_fails: int = 2,
        most_attempts: int | None = None,
        failover: Collection[int] = (),
        failfast: bool = False,
        prefer_udp: bool = False,
        force_tcp: bool = False,
    ) -> None:
        """`order` is asked for each flight; `most_attempts` None: twice for each name server."""
        self.order = order
        self.max_fails = max_fails
        self.most_attempts = most_attempts
        self.failover = failover
        self.failfast = failfast
        self.prefer_udp = prefer_udp and not force_tcp
        self.stream_only = force_tcp
        self.concurrent = 0

    def goes_by_udp(self, transport: str) -> bool:
        """Tell whether a query that came over a transport goes on over UDP: by default as it came."""
        return not self.stream_only and (transport == "udp" or self.prefer_udp)


class Lane:
    """What is under way for clients of one transport, by message, and whether that goes over UDP."""

    __slots__ = ("flights", "udp")

    def __init__(self, *, udp: bool) -> None:
        self.flights: dict[bytes, Flight] = {}
        self.udp = udp


class Flight:
    """An Exchange (kubedns.upstream.exchange): tries one name server after the other, and never two at a time.

    Most flights are over with the first reply: what only the others need stands here until it is set.
    """

    deadline = 0.0
    _at = _attempts = _down = _failovers = 0
    _last_chance = False
    _error: UpstreamError | None = None
    _reply: Reply | None = None  # the best so far

    def __init__(self, course: Course, lane: Lane, query: Query, message: bytes, waiter: Waiter) -> None:
        """It is one of its lane's flights until its end. More waiters may come."""
        self.message = message
        self.question = query.question
        self.waiters = [waiter]
        self.udp = lane.udp
        self._course = course
        self._flights = lane.flights
        self._query = query
        self._servers = servers = course.order()
        self._began = now = time.monotonic()
        if servers and not servers[0].health.failures:
            self._at = 1
            self._ask(servers[0], now)
        else:
            self._try(now)

    def answered(self, octets: bytes) -> None:
        """Take a reply; one that is longer than the client takes over UDP is as good as none of its records."""
        now = time.monotonic()
        try:
            if len(octets) > MINIMUM_UDP_SIZE and self.udp and len(octets) > self._query.limit:
                reply: Reply = _cut(octets)
            else:
                reply = read_packed(octets, self._query)
        except WireError as error:
            self.failed(UpstreamError(f"dns: {error}"))
            return
        server, course = self._server, self._course
        server.statistics.observe(reply.rcode, now - self._sent)
        if reply.flags & TC and course.prefer_udp and self.udp:
            self.udp = False
            self._ask(server, now)
            return
        if reply.rcode in course.failover:
            self._failovers += 1
            if self._failovers < len(self._servers):
                self._reply = reply
                self._try(now)
                return
        self._end(reply)

    def misanswered(self) -> None:
        """The client hears FORMERR, and nobody is asked again."""
        self._end(FORMERR)

    def failed(self, error: UpstreamError) -> None:
        """Try the next one."""
        server, course = self._server, self._course
        if course.max_fails and not isinstance(error, BusyError):
            server.health.suspect()
        self._error = error
        self._attempts += 1
        if self._last_chance or all(waiter.done() for waiter in self.waiters):
            self._give_up()
        elif not self._most and self._attempts >= 2 * len(self._servers):
            asyncio.get_running_loop().call_later(PAUSE, self._try_again)
        else:
            self._try_again()

    def _try_again(self) -> None:
        self._try(time.monotonic())

    def _try(self, now: float) -> None:
        server = self._next_server(now)
        if server is None:
            asyncio.get_running_loop().call_soon(self._give_up)
        else:
            self._ask(server, now)

    def _ask(self, server: NameServer, now: float) -> None:
        self._server, self._sent = server, now
        server.ask(self, now)

    def _next_server(self, now: float) -> NameServer | None:
        """Go round until one is not known to be down; where all are, draw one for a last try."""
        servers, course = self._servers, self._course
        tried = self._attempts or self._failovers
        if tried and (now >= self._began + DEADLINE or self._attempts >= self._most > 0):
            return None
        while servers:
            if self._at >= len(servers):
                self._at = self._down = 0
            server = servers[self._at]
            self._at += 1
            if not server.health.failures or not server.health.down(course.max_fails):
                return server
            self._down += 1
            if self._down >= len(servers):
                metrics.broken.value += 1
                self._last_chance = True
                return None if course.failfast else random.choice(servers)  # noqa: S311 - which one is no secret
        return None

    @property
    def _most(self) -> int:
        """How many tries may fail; 0: any number."""
        given = self._course.most_attempts
        return 2 * len(self._servers) if given is None else given

    def _give_up(self) -> None:
        self._end(self._reply)

    def _end(self, reply: Reply | None) -> None:
        self._flights.pop(self.message, None)
        self._course.concurrent -= len(self.waiters)
        for waiter in self.waiters:
            if not waiter.done():
                if reply is None:
                    waiter.set_exception(ResolveError(str(self._error or "no healthy proxies")))
                else:
                    waiter.set_result(reply)


def message_of(query: Query) -> bytes:
    """Return a query as it came, behind its ID: letters, flags, EDNS with all options."""
    edns = query.edns
    head = (query.flags | query.adds).to_bytes(2, "big")
    if edns is None:
        return head + ONE_QUESTION + query.question
    opt = opt_record(edns.size, 0, edns.flags, write_options(edns.options))
    return b"".join((head, QUESTION_AND_OPT, query.question, opt))


def _cut(octets: bytes) -> Reply:
    """Return what is left of a reply that is too long: its header, and TC."""
    flags = int.from_bytes(octets[2:4], "big")
    return Reply(rcode=flags & RCODE_MASK, flags=flags & KEPT_FLAGS | TC, suffix=ROOT)
