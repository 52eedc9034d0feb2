"""A name server that does as it is told, over UDP and TCP on one port: what no real one does on request."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from typing import TYPE_CHECKING, NamedTuple

from dnslib import QTYPE, RCODE, RR, A, DNSRecord

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterable

    # The messages to send back for a query, each after so many seconds.
    Behaviour = Callable[["Asked"], Iterable["bytes | Later"]]

HOST = "127.0.0.1"


class Asked(NamedTuple):
    """A query as it came: `transport` is udp or tcp, `source` the address and port it came from."""

    octets: bytes
    transport: str
    source: tuple[str, int]

    @property
    def record(self) -> DNSRecord:
        return DNSRecord.parse(self.octets)

    @property
    def ident(self) -> bytes:
        return self.octets[:2]


class Later(NamedTuple):
    """A message that is sent after some seconds; None closes a TCP connection."""

    seconds: float
    octets: bytes | None


CLOSE = Later(0.0, None)


def reply(asked: Asked, *addresses: str, rcode: str = "NOERROR", tc: bool = False, ra: bool = True) -> bytes:
    """Return the octets of a proper reply with A records."""
    record = asked.record.reply(ra=ra, aa=False)
    record.header.rcode = getattr(RCODE, rcode)
    record.header.tc = tc
    for address in addresses:
        record.add_answer(RR(str(asked.record.q.qname), QTYPE.A, rdata=A(address), ttl=300))
    return bytes(record.pack())


def answering(*addresses: str, rcode: str = "NOERROR") -> Behaviour:
    return lambda asked: [reply(asked, *(addresses or ("192.0.2.1",)) if rcode == "NOERROR" else (), rcode=rcode)]


def silent(_: Asked) -> Iterable[bytes]:
    return ()


class Upstream:
    """`behaviour` may be replaced at any time; `asked` are the queries that came, `connections` counts TCP's."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.asked: list[Asked] = []
        self.connections = 0
        self.port = 0
        self.transport: asyncio.DatagramTransport | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def sources(self) -> set[int]:
        """Return the ports that queries came from over UDP."""
        return {one.source[1] for one in self.asked if one.transport == "udp"}

    @contextlib.asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Upstream]:
        """Listen on that port, 0: a free one; with TLS over TCP if there is a context for it."""
        loop = asyncio.get_running_loop()
        tcp, udp = bound_pair(port)
        self.port = tcp.getsockname()[1]
        server = await asyncio.start_server(self._connected, sock=tcp, ssl=tls)
        self.transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=udp)
        try:
            yield self
        finally:
            self.transport.close()
            server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            await asyncio.sleep(0)

    def cut_connections(self) -> None:
        for writer in self._writers:
            writer.close()

    def take(self, asked: Asked, send: Callable[[bytes | None], None]) -> None:
        self.asked.append(asked)
        loop = asyncio.get_running_loop()
        for each in self.behaviour(asked):
            if isinstance(each, Later):
                loop.call_later(each.seconds, send, each.octets)
            else:
                send(each)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)

        def send(octets: bytes | None) -> None:
            if octets is None:
                writer.close()
            elif not writer.is_closing():
                writer.write(len(octets).to_bytes(2, "big") + octets)

        with contextlib.suppress(OSError, EOFError):
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                octets = await reader.readexactly(size)
                self.take(Asked(octets, "tcp", writer.get_extra_info("peername")), send)
        self._writers.discard(writer)
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        def send(octets: bytes | None) -> None:
            if octets is not None and self._transport is not None:
                self._transport.sendto(octets, addr)

        self._upstream.take(Asked(data, "udp", addr), send)


def bound_pair(port: int = 0) -> tuple[socket.socket, socket.socket]:
    """Return a TCP socket and a UDP socket on one port of the loopback address, by default one that nobody had.

    Raises OSError where somebody has the port that is asked for.
    """
    while True:
        tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
        try:
            tcp.bind((HOST, port))
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
            if port:
                raise
            continue
        udp.setblocking(False)
        return tcp, udp


def closed_port() -> int:
    """Return a port that nobody listens on, nor will: no other test draws from these, nor does the kernel (ip(7))."""
    while True:
        port = random.randrange(10_000, 20_000)
        with contextlib.suppress(OSError):
            tcp, udp = bound_pair(port)
            with tcp, udp:
                return port
