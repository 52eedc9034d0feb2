"""forward FROM TO... { ... }: have other name servers answer (docs/plugins/forward.md)."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING

from kubedns.plugin.contract import ResolveError
from kubedns.plugin.straight import Suspends
from kubedns.upstream.address import Address
from kubedns.upstream.nameserver import NameServer
from kubedns.wire.name import ROOT, is_within
from kubedns.wire.numbers import Rcode
from plugins.forward import metrics
from plugins.forward.destinations import File, HostName, ResolvConf
from plugins.forward.flight import Course, Flight, Lane, message_of
from plugins.forward.hostnames import Resolved
from plugins.forward.options import read_options

PROTOCOLS = {"tls": None, "https": "http/1.1"}  # what is spoken inside TLS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kubedns.corefile.values import Directive
    from kubedns.plugin.contract import Next, ServerBlock, Shared
    from kubedns.plugin.straight import Waiter
    from kubedns.wire.query import Query
    from kubedns.wire.reply import Reply
    from plugins.forward.destinations import Destination
    from plugins.forward.options import Options


def setup(directive: Directive, block: ServerBlock) -> Forward:
    """Read the lines' options; what is kept of name servers, they keep through reloads."""
    return Forward([Rule(options, block.shared) for options in [read_options(use, block) for use in directive.uses]])


class Forward:
    """The plugin: the block's `forward` lines, in file order."""

    cacheable = heeds_denials = True  # a reply of ours lasts for no time; what a cache makes of it may

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules

    def upstreams(self) -> list[str]:
        return [server.address.text for rule in self.rules for server in rule.servers]

    async def resolve(self, query: Query, pass_on: Next) -> Reply:
        """Ask by the first line that takes the name; it may leave some replies to the next line that does."""
        for rule in self.rules:
            if not (rule.takes_all or rule.serves(query.name)):
                continue
            waiter: asyncio.Future[Reply] = asyncio.Future()
            rule.ask(query, waiter)
            reply = await waiter
            if rule is self.rules[-1] or not rule.leaves(reply):
                return reply
        reply = await pass_on(query)
        return reply.alone() if reply.speaks_for else reply

    def ask(self, query: Query, waiter: Waiter) -> None:
        """As resolve, where one line alone has a say; raises Suspends otherwise, and ResolveError."""
        for rule in self.rules:
            if rule.takes_all or rule.serves(query.name):
                if rule.may_leave and rule is not self.rules[-1]:
                    break
                rule.ask(query, waiter)
                return
        raise Suspends


class Rule:
    """One `forward` line."""

    def __init__(self, options: Options, shared: Shared) -> None:
        self.options = options
        self._sources = [_source(destination, options, shared) for destination in options.destinations]
        self._version = 0
        self._servers: tuple[NameServer, ...] = ()
        self._turn = 0
        self.may_leave = bool(options.next) or options.next_on_nodata
        self.takes_all = options.zone == ROOT and not options.excepted
        self._most = options.max_concurrent
        self.order = self._policy(options.policy)
        self._course = Course(
            self.order,
            max_fails=options.max_fails,
            most_attempts=options.most_attempts,
            failover=options.failover,
            failfast=options.failfast,
            prefer_udp=options.prefer_udp,
            force_tcp=options.force_tcp,
        )
        self._lanes = {transport: Lane(udp=self._course.goes_by_udp(transport)) for transport in ("udp", "tcp")}

    @property
    def servers(self) -> tuple[NameServer, ...]:
        """The name servers in the order of the line, those of a resolv.conf as it is now; of equal ones the first."""
        version = sum([source.version for source in self._sources])
        if version != self._version:
            self._version = version
            found: dict[str, NameServer] = {}
            for server in [server for source in self._sources for server in source.servers]:
                found.setdefault(server.address.text, server)
            self._servers = tuple(found.values())
        return self._servers

    @property
    def under_way(self) -> int:
        """How many questions wait for a reply; equal ones are one."""
        return sum(len(lane.flights) for lane in self._lanes.values())

    def serves(self, wire: bytes) -> bool:
        """Tell whether a name is in the zone and not excepted; the zone's own name can't be."""
        zone = self.options.zone
        if zone != ROOT and not is_within(wire, zone):
            return False
        return wire == zone or not any(is_within(wire, each) for each in self.options.excepted)

    def leaves(self, reply: Reply) -> bool:
        """Tell whether a reply is to be had from the next line instead."""
        options = self.options
        return reply.rcode in options.next or (
            options.next_on_nodata and reply.rcode == Rcode.NOERROR and not reply.answer
        )

    def ask(self, query: Query, waiter: Waiter) -> None:
        """Have a waiter told, with all who ask the same now; raises ResolveError."""
        course = self._course
        if course.concurrent >= self._most > 0:
            metrics.rejects.value += 1
            raise ResolveError(f"concurrent queries exceeded maximum {self._most}", Rcode.REFUSED)
        course.concurrent += 1
        lane = self._lanes[query.client.transport]
        message = message_of(query)
        flight = lane.flights.get(message)
        if flight is None:
            lane.flights[message] = Flight(course, lane, query, message, waiter)
        else:
            flight.waiters.append(waiter)

    def _policy(self, policy: str) -> Callable[[], Sequence[NameServer]]:
        alone = self.servers
        if len(alone) == 1 and all(isinstance(source, _One) for source in self._sources):
            return lambda: alone
        return {"random": self._random, "round_robin": self._round_robin, "sequential": lambda: self.servers}[policy]

    def _random(self) -> Sequence[NameServer]:
        servers = self.servers
        return servers if len(servers) < 2 else random.sample(servers, len(servers))  # noqa: PLR2004 - none to shuffle

    def _round_robin(self) -> Sequence[NameServer]:
        """The counter grows first: with three name servers, the second one is asked first."""
        servers = self.servers
        self._turn += 1
        at = self._turn % max(len(servers), 1)
        return (*servers[at : at + 1], *servers[:at], *servers[at + 1 :])


class _One:
    """A TO that is an address."""

    version = 1

    def __init__(self, server: NameServer) -> None:
        self.servers = (server,)


def _source(destination: Destination, options: Options, shared: Shared) -> _One | ResolvConf | Resolved:
    """Return where a TO's name servers come from: what another configuration made of the same options, if it did."""
    settings = replace(options.settings, check_by_tcp=options.force_tcp)

    def make(address: Address) -> NameServer:
        if address.transport == "dns":
            return NameServer(address, settings)
        named = destination.name if isinstance(destination, HostName) else ""
        name = address.server_name or options.server_name or named
        return NameServer(
            address._replace(server_name=name), settings, options.tls.context(PROTOCOLS[address.transport])
        )

    key = ("forward", destination, settings, options.tls, options.server_name)
    if isinstance(destination, Address):
        return _One(shared.keep(key, lambda: make(destination)))
    if isinstance(destination, File):
        return shared.keep(key, lambda: ResolvConf(destination.path, make))
    return shared.keep((*key, options.resolvers), lambda: Resolved(destination, options.resolvers, make))
