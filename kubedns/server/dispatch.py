"""The first road: a datagram in, the reply's octets out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

from kubedns.listeners import ReadyReplies
from kubedns.plugin.contract import ObservesKept, ResolveError
from kubedns.plugin.straight import Suspends
from kubedns.plugin.zones import Zones
from kubedns.server.panics import Panics
from kubedns.server.underway import Underway
from kubedns.server.wirecache import Keeping, WireCache, shelves
from kubedns.wire.errors import QueryError
from kubedns.wire.name import ROOT, name, suffixes
from kubedns.wire.numbers import Rcode, RRClass, RRType
from kubedns.wire.query import Query, parse_query
from kubedns.wire.reply import Reply, bad_version
from kubedns.wire.validity import NEVER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kubedns.listeners import Later
    from kubedns.plugin.contract import Observer, Observes
    from kubedns.server.chain import Chain, Step
    from kubedns.server.stepping import Stepper
    from kubedns.wire.client import Client


def _checked(reply: Reply | None) -> Reply:
    """The commonest mistake in a plugin: a way through `resolve` that ends without a return."""
    if reply is None:
        raise TypeError("a plugin's resolve returned None, not a Reply")
    return reply


def _let_go(error: BaseException | None) -> None:
    """Forget where an exception was raised: its frames hold the futures that hold it, which only the collector ends."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _bare(rcode: Rcode) -> Reply:
    """Return a reply without records; it fits every question."""
    return Reply(rcode=rcode, suffix=ROOT)


SERVFAIL = _bare(Rcode.SERVFAIL)
REFUSED = _bare(Rcode.REFUSED)
FAILURES = {rcode: _bare(rcode) for rcode in (Rcode.SERVFAIL, Rcode.REFUSED, Rcode.FORMERR, Rcode.NOTIMP)}
UNMADE = frozenset(FAILURES.values())  # by no plugin
IN, DS = int(RRClass.IN), int(RRType.DS)  # looked at for each query
DROPPED = "dropped"  # the zone of exchanges that no server block answered


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A zone as a listener serves it; `chain` None: its block has no plugins.

    `cacheable`: each plugin of the chain agrees that a reply is given again while it holds; `denials`: for other
    names too, where it says so.
    """

    zone: str
    chain: Chain | None
    observers: tuple[Observes, ...] = ()
    cacheable: bool = False
    denials: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """A zone of this listener; `keeping` None: its replies are not kept."""

    chain: Chain | None
    observe: Observer | None
    keeping: Keeping | None


# What an answer needs besides its reply, and when it was begun: a plain tuple, as one is made for each query.
Asked = tuple[bytes, Query, _Entry, float]


class Dispatcher:
    """Answers what comes to one listener, by the server block whose zone is the longest that holds the name."""

    def __init__(  # noqa: PLR0913 - what one listener serves, and what all share
        self,
        address: str,
        served: Iterable[Served],
        stepper: Stepper,
        *,
        any_class: bool = False,
        observers: Sequence[Observes] = (),
        wirecache: WireCache | None = None,
    ) -> None:
        """`address` is how log lines name the listener: `dns://:53`; `observers` see what no server block answers."""
        served = list(served)
        self.shelves = shelves([name(one.zone) for one in served])
        self._wirecache = WireCache() if wirecache is None else wirecache
        self.panics = Panics(address)
        self._zones = Zones(
            (
                name(one.zone),
                _Entry(one.chain, _observer(one.observers, address, one.zone), _keeping(one, address)),
            )
            for one in served
        )
        self.stepper = stepper
        self._any_class = any_class
        self._dropped = _observer(observers, address, DROPPED)

    def ready(self, transport: str) -> ReadyReplies:
        """Return what is asked before `answer`, which it may spare."""
        return ReadyReplies(self.shelves[transport, False].get, self.shelves[transport, True].get)

    def answer(self, message: bytes, client: Client, _now: float) -> bytes | Later | None:
        """Return the reply's octets, or what brings them where a plugin waits; None means silence."""
        try:
            query = parse_query(message, client)
        except QueryError as error:
            return self._reject(error, message, client)
        if query.rrclass != IN and not self._any_class:
            return self._drop(query, REFUSED)
        if query.edns is not None and query.edns.version:
            return bad_version(query)
        entry = self._zones.longest(query.name) if query.rrtype != DS else self._parent_side(query.name)
        if entry is None or entry.chain is None:
            return self._drop(query, REFUSED)
        query.lookup = self.resolve
        return self._begin((message, query, entry, perf_counter()), entry.chain)

    async def resolve(self, query: Query) -> Reply:
        """Answer a question that a plugin has, as if its client had asked this listener; failures are replies."""
        entry = self._zones.longest(query.name) if query.rrtype != DS else self._parent_side(query.name)
        if entry is None or entry.chain is None:
            self._drop(query, REFUSED)
            return REFUSED
        query.lookup = self.resolve
        started = perf_counter()
        reply = await self._ask(query, entry.chain.whole)
        if entry.observe is not None:
            self._compose((b"", query, replace(entry, keeping=None), started), reply)
        return reply

    def _begin(self, asked: Asked, chain: Chain) -> bytes | Later:
        """Take the straight road for as far as it goes; a coroutine goes on from where it ends."""
        query, step = asked[1], chain.last
        try:
            for before, step in chain.steps:
                reply = before(query)
                if reply is not None:
                    reply = step.back(query, reply)
                    break
            else:
                reply, step = None, chain.last
                if step.ask is not None:
                    underway = Underway(self, asked, step)
                    step.ask(query, underway)
                    self.stepper.busy += 1
                    return underway
        except Suspends:
            reply = None
        except Exception as error:  # noqa: BLE001 - one plugin's mistake costs one query, not the server
            reply = self._failure(query, step, error)
        if reply is None:
            return self.stepper.run(self._reply(asked, step))
        return self._compose(asked, reply)

    def answered(self, asked: Asked, step: Step, reply: Reply) -> bytes:
        """Return the octets of a reply that came to a step."""
        query = asked[1]
        try:
            for after in step.afters:
                reply = after(query, reply)
        except Exception as error:  # noqa: BLE001 - as above
            reply = self._failure(query, step, error)
        return self._compose(asked, reply)

    def failed(self, asked: Asked, step: Step, error: Exception) -> bytes:
        """Return the octets for a client whose reply did not come."""
        return self._compose(asked, self._failure(asked[1], step, error))

    async def _reply(self, asked: Asked, step: Step) -> bytes:
        return self._compose(asked, await self._ask(asked[1], step))

    def _compose(self, asked: Asked, reply: Reply) -> bytes:
        message, query, entry, started = asked
        if reply is SERVFAIL:
            return self._drop(query, SERVFAIL)
        try:
            octets = reply.octets(query)
        except Exception as error:  # noqa: BLE001 - a plugin's records may be anything
            self.panics.record(error)
            return self._drop(query, SERVFAIL)
        if entry.observe is not None:
            entry.observe(query, reply.rcode, 0 if reply in UNMADE else len(octets), perf_counter() - started)
        if entry.keeping is not None and reply.lasting is not NEVER:
            shelf = self.shelves[query.client.transport, query.client.ipv6]
            self._wirecache.offer(shelf, message, query, reply, octets, entry.keeping)
        return octets

    async def _ask(self, query: Query, step: Step) -> Reply:
        """Return the reply to be had from a step on, one of UNMADE where there is none; see _failure."""
        try:
            return _checked(step.back(query, _checked(await step.rest(query))))
        except Exception as error:  # noqa: BLE001 - as above
            return self._failure(query, step, error)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self.panics.record(error)  # a plugin awaited what someone else had cancelled
            return SERVFAIL

    def _failure(self, query: Query, step: Step, error: Exception) -> Reply:
        """Return one of UNMADE, SERVFAIL itself after an exception that nobody meant to raise."""
        if isinstance(error, ResolveError):
            try:
                for hear in step.failures:
                    hear(query, error)
            except Exception as another:  # noqa: BLE001 - as above
                error = another
            else:
                _let_go(error)
                return FAILURES.get(error.rcode) or FAILURES[Rcode.SERVFAIL]
        self.panics.record(error)
        return SERVFAIL

    def _drop(self, query: Query, reply: Reply) -> bytes:
        octets = reply.octets(query)
        if self._dropped is not None:
            self._dropped(query, reply.rcode, len(octets), 0.0)
        return octets

    def _reject(self, error: QueryError, datagram: bytes, client: Client) -> bytes | None:
        """Of what is no query, one that announces a question and ends is counted, as CoreDNS does."""
        octets = error.reply_to(datagram)
        if self._dropped is not None and error.rcode == Rcode.SERVFAIL and octets is not None:
            nothing = Query(datagram[:2], 0, bytes(5), client, None, len(datagram))
            self._dropped(nothing, error.rcode, len(octets), 0.0)
        return octets

    def _parent_side(self, wire: bytes) -> _Entry | None:
        """A DS record stands in the parent's zone (RFC 4035 §3.1.4.1): the shortest zone but for the root wins.

        Of one block's zones it is the longest that is returned: what observers call the query's zone.
        """
        found = None
        for suffix in suffixes(wire):
            entry = self._zones.exact(suffix)
            if entry is None or (suffix == ROOT and found is not None):
                continue
            if entry.chain is None:
                return entry
            if found is None or found.chain is not entry.chain:
                found = entry
        return found


def _keeping(one: Served, server: str) -> Keeping | None:
    """Return how a zone's replies are kept; None: they may not be given again without asking its plugins."""
    observers = [observer for observer in one.observers if isinstance(observer, ObservesKept)]
    if not one.cacheable or len(observers) < len(one.observers):
        return None
    told = [observer.observe_kept(server, one.zone) for observer in observers]
    return Keeping(lambda query, rcode, size: [observe(query, rcode, size) for observe in told], one.denials)


def _observer(observers: Sequence[Observes], server: str, zone: str) -> Observer | None:
    """Return one function that tells all observers."""
    told = [one.observe(server, zone) for one in observers]
    if len(told) < 2:  # noqa: PLR2004 - nobody, or the only one itself
        return told[0] if told else None

    def tell(query: Query, rcode: int, size: int, seconds: float) -> None:
        for observe in told:
            observe(query, rcode, size, seconds)

    return tell
