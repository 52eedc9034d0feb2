"""The first road: a datagram in, the reply's octets out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubedns.plugin.contract import ResolveError
from kubedns.plugin.zones import Zones
from kubedns.server.panics import Panics
from kubedns.wire.errors import QueryError
from kubedns.wire.name import ROOT, name, suffixes
from kubedns.wire.numbers import Rcode, RRClass, RRType
from kubedns.wire.query import Query, parse_query
from kubedns.wire.reply import Reply, bad_version

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kubedns.plugin.contract import Next
    from kubedns.server.stepping import Stepper
    from kubedns.wire.client import Client


def _bare(rcode: Rcode) -> Reply:
    """Return a reply without records; it fits every question."""
    return Reply(rcode=rcode, suffix=ROOT)


SERVFAIL = _bare(Rcode.SERVFAIL)
REFUSED = _bare(Rcode.REFUSED)
FAILURES = {rcode: _bare(rcode) for rcode in (Rcode.SERVFAIL, Rcode.REFUSED, Rcode.FORMERR, Rcode.NOTIMP)}


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A zone as a listener serves it; `chain` None: its block has no plugins."""

    zone: str
    chain: Next | None


class Dispatcher:
    """Answers what comes to one listener, by the server block whose zone is the longest that holds the name."""

    def __init__(self, address: str, served: Iterable[Served], stepper: Stepper, *, any_class: bool = False) -> None:
        """`address` is how log lines name the listener: `dns://:53`."""
        self._panics = Panics(address)
        self._zones = Zones((name(one.zone), one) for one in served)
        self._stepper = stepper
        self._any_class = any_class

    def answer(self, datagram: bytes, client: Client, _now: float) -> bytes | asyncio.Future[bytes | None] | None:
        """Return the reply's octets, or a future of them where a plugin waits; None means silence."""
        try:
            query = parse_query(datagram, client)
        except QueryError as error:
            return error.reply_to(datagram)
        if query.rrclass != RRClass.IN and not self._any_class:
            return REFUSED.octets(query)
        if query.edns is not None and query.edns.version:
            return bad_version(query)
        served = self._zones.longest(query.name) if query.rrtype != RRType.DS else self._parent_side(query.name)
        if served is None or served.chain is None:
            return REFUSED.octets(query)
        query.lookup = self.resolve
        return self._stepper.run(self._reply(query, served.chain))

    async def resolve(self, query: Query) -> Reply:
        """Answer a question that a plugin has, as if its client had asked this listener; failures are replies."""
        served = self._zones.longest(query.name) if query.rrtype != RRType.DS else self._parent_side(query.name)
        if served is None or served.chain is None:
            return REFUSED
        query.lookup = self.resolve
        return await self._ask(query, served.chain)

    async def _reply(self, query: Query, chain: Next) -> bytes | None:
        reply = await self._ask(query, chain)
        try:
            return reply.octets(query)
        except Exception as error:  # noqa: BLE001 - a plugin's records may be anything
            self._panics.record(error)
            return SERVFAIL.octets(query)

    async def _ask(self, query: Query, chain: Next) -> Reply:
        try:
            return await chain(query)
        except ResolveError as error:
            return FAILURES.get(error.rcode, SERVFAIL)
        except Exception as error:  # noqa: BLE001 - one plugin's mistake costs one query, not the server
            self._panics.record(error)
            return SERVFAIL
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._panics.record(error)  # a plugin awaited what someone else had cancelled
            return SERVFAIL

    def _parent_side(self, wire: bytes) -> Served | None:
        """A DS record stands in the parent's zone (RFC 4035 §3.1.4.1): the shortest zone but for the root wins."""
        found = None
        for suffix in suffixes(wire):
            served = self._zones.exact(suffix)
            if served is None or (suffix == ROOT and found is not None):
                continue
            if served.chain is None:
                return served
            found = served
        return found
