"""Name servers that the Corefile names by a host name: looked up once, when the server starts."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from kubedns.corefile.errors import Kind
from kubedns.corefile.numbers import quote
from kubedns.plugin.contract import StartLaterError
from kubedns.upstream.address import Address
from kubedns.upstream.exchange import UpstreamError
from kubedns.upstream.once import ask_udp
from kubedns.wire.errors import WireError
from kubedns.wire.name import name
from kubedns.wire.numbers import RD, Rcode, RRClass, RRType
from kubedns.wire.parse import parse_reply
from kubedns.wire.query import ONE_QUESTION

if TYPE_CHECKING:
    from kubedns.upstream.nameserver import NameServer
    from plugins.forward.destinations import HostName, Make

TIMEOUT = 2.0  # seconds that each resolver has for each question


class LookupFailed(Exception):  # noqa: N818 - LookupError is Python's own
    """A host name without addresses; the text says why."""


class Resolved:
    """The name servers of one host name; none before it is started. `version` grows when they are there."""

    def __init__(self, destination: HostName, resolvers: tuple[Address, ...], make: Make) -> None:
        """`resolvers` are asked in turn; without any, the system's own."""
        self.version = 0
        self.servers: tuple[NameServer, ...] = ()
        self._destination = destination
        self._resolvers = resolvers
        self._make = make

    async def start(self) -> None:
        """Raises StartLaterError where the name has no address."""
        wanted = self._destination
        try:
            if self._resolvers:
                hosts = await _ask_resolvers(wanted.name, self._resolvers)
            else:
                hosts = await _ask_system(wanted.name)
        except LookupFailed as error:
            text = f"failed to resolve {quote(wanted.name)}: {error}"
            cure = "write the address itself, or name a resolver that knows the name"
            raise StartLaterError(
                wanted.word.error(text, cure, Kind.BARE).prefixed("plugin/forward: ").report()
            ) from None
        self.servers = tuple(
            self._make(Address(host, wanted.port, wanted.transport, wanted.server_name))
            for host in dict.fromkeys(hosts)
        )
        self.version += 1

    async def stop(self) -> None:
        for server in self.servers:
            await server.stop()


async def _ask_system(host: str) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except socket.gaierror as error:
        missing = error.errno in {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
        raise LookupFailed(f"lookup {host}: {'no such host' if missing else error.strerror}") from None
    hosts = [(family != socket.AF_INET, str(where[0])) for family, _, _, _, where in found]
    return [each.partition("%")[0] for _, each in sorted(hosts, key=lambda pair: pair[0])]


async def _ask_resolvers(host: str, resolvers: tuple[Address, ...]) -> list[str]:
    """Ask for A, then AAAA; the next resolver is asked where one does not answer."""
    why = "no such host"
    for resolver in resolvers:
        try:
            found = [text for rrtype in (RRType.A, RRType.AAAA) for text in await _ask(host, rrtype, resolver)]
        except (UpstreamError, WireError) as error:
            why = str(error)
            continue
        if found:
            return found
        why = "no such host"
    raise LookupFailed(f"lookup {host} on {resolvers[-1].text}: {why}")


async def _ask(host: str, rrtype: RRType, resolver: Address) -> list[str]:
    question = name(host) + rrtype.to_bytes(2, "big") + RRClass.IN.to_bytes(2, "big")
    reply = parse_reply(await ask_udp(resolver, "", RD.to_bytes(2, "big") + ONE_QUESTION + question, TIMEOUT))
    if reply.rcode not in {Rcode.NOERROR, Rcode.NXDOMAIN}:
        raise UpstreamError("server misbehaving")
    family = socket.AF_INET if rrtype == RRType.A else socket.AF_INET6
    return [socket.inet_ntop(family, rr.rdata) for rr in reply.answer if rr.rrtype == rrtype]
