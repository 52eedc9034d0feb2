"""One query by a socket of its own: what health checks and the names of name servers need."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TYPE_CHECKING

from kubedns.upstream.address import connected, reason
from kubedns.upstream.exchange import UpstreamError
from kubedns.upstream.streams import dial_error
from kubedns.wire.numbers import HEADER_SIZE, MAXIMUM_SIZE

if TYPE_CHECKING:
    from kubedns.upstream.address import Address
    from kubedns.upstream.streams import Streams

CONNECTING = 2.0  # seconds


async def ask_udp(address: Address, source: str, message: bytes, timeout: float) -> bytes:  # noqa: ASYNC109 - its error is ours
    """Return the first message with a header and the ID that comes within `timeout` seconds; raises UpstreamError."""
    loop, ident = asyncio.get_running_loop(), os.urandom(2)
    try:
        with connected(address, source) as sock:
            async with asyncio.timeout(timeout):
                await loop.sock_sendall(sock, ident + message)
                while True:
                    octets = await loop.sock_recv(sock, MAXIMUM_SIZE)
                    if len(octets) >= HEADER_SIZE and octets.startswith(ident):
                        return octets
    except TimeoutError:
        raise UpstreamError(f"read udp {address.text}: i/o timeout") from None
    except OSError as error:
        raise UpstreamError(f"read udp {address.text}: {reason(error)}") from None


async def ask_tcp(
    address: Address,
    source: str,
    message: bytes,
    timeout: float,  # noqa: ASYNC109 - as above; connecting is not counted
    tls: ssl.SSLContext | None = None,
) -> bytes:
    """As `ask_udp`, over TCP or TLS; connecting has a time of its own."""
    ident = os.urandom(2)
    try:
        async with asyncio.timeout(CONNECTING):
            reader, writer = await asyncio.open_connection(
                address.host_and_scope,
                address.port,
                ssl=tls,
                server_hostname=(address.server_name or address.host) if tls is not None else None,
                local_addr=(source, 0) if source else None,
            )
    except OSError as error:
        raise UpstreamError(dial_error(address, error)) from None
    try:
        async with asyncio.timeout(timeout):
            writer.write((len(message) + len(ident)).to_bytes(2, "big") + ident + message)
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                octets = await reader.readexactly(size)
                if len(octets) >= HEADER_SIZE and octets.startswith(ident):
                    return octets
    except (OSError, EOFError, ssl.SSLError) as error:
        why = "i/o timeout" if isinstance(error, TimeoutError) else "EOF"
        raise UpstreamError(f"read tcp {address.text}: {why}") from None
    finally:
        writer.transport.abort()


async def ask_by(streams: Streams, message: bytes, timeout: float) -> bytes:  # noqa: ASYNC109 - as above
    """Return what comes back over one of a name server's own connections; any reply at all, as above."""
    asking = _Asking(message)
    streams.ask(asking)
    try:
        async with asyncio.timeout(CONNECTING + timeout):
            return await asking.reply
    except TimeoutError:
        raise UpstreamError(f"read tcp {streams.address.text}: i/o timeout") from None


class _Asking:
    """An Exchange that one coroutine waits for."""

    deadline = 0.0
    udp = False

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.question = message[HEADER_SIZE - 2 :]
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def answered(self, octets: bytes) -> None:
        if not self.reply.done():
            self.reply.set_result(octets)

    def misanswered(self) -> None:
        self.answered(b"")

    def failed(self, error: UpstreamError) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)
