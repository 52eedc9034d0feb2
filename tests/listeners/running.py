"""Listeners on loopback, in the loop that the server runs on."""

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

import uvloop

from kubedns.listeners import Answer
from kubedns.listeners.sockets import open_tcp, open_udp
from kubedns.listeners.tcp import ConnectionLimit, TcpListener, TcpSettings
from kubedns.listeners.udp import UdpListener
from kubedns.wire.client import Client
from tests.waiting import until

T = TypeVar("T")

PATIENCE = 10.0  # seconds for what should take milliseconds


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


def echo(message: bytes, _client: Client, _now: float) -> bytes:
    return message


@asynccontextmanager
async def udp(
    answer: Answer = echo, host: str = "127.0.0.1", *, portable: bool = False, most_pending: int = 100
) -> AsyncIterator[UdpListener]:
    listener = UdpListener(open_udp(host, 0), answer, most_pending=most_pending, portable=portable)
    listener.start()
    try:
        yield listener
    finally:
        listener.close()


@asynccontextmanager
async def tcp(
    answer: Answer = echo,
    settings: TcpSettings | None = None,
    host: str = "127.0.0.1",
    limit: ConnectionLimit | None = None,
) -> AsyncIterator[TcpListener]:
    listener = TcpListener(open_tcp(host, 0), answer, settings, limit)
    await listener.start()
    try:
        yield listener
    finally:
        listener.close()
        await until(lambda: not listener.connections)


def port_of(listener: UdpListener | TcpListener) -> int:
    sock = listener.sock if isinstance(listener, TcpListener) else listener.socks[0]
    port: int = sock.getsockname()[1]
    return port


class UdpAsker:
    """An unconnected socket, so that a reply from any address arrives."""

    def __init__(self, family: socket.AddressFamily = socket.AF_INET) -> None:
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    async def reply(self) -> tuple[bytes, tuple[str, int]]:
        """Return the next reply, and the address and port that it came from."""
        arrived = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self.sock.fileno(), arrived.set)
        try:
            async with asyncio.timeout(PATIENCE):
                await arrived.wait()
        finally:
            loop.remove_reader(self.sock.fileno())
        reply, address = self.sock.recvfrom(65535)
        return reply, (address[0].removeprefix("::ffff:"), address[1])

    async def ask(self, message: bytes, host: str, port: int) -> tuple[bytes, tuple[str, int]]:
        self.sock.sendto(message, (host, port))
        return await self.reply()


def framed(*messages: bytes) -> bytes:
    return b"".join(len(message).to_bytes(2, "big") + message for message in messages)


class TcpAsker:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, *messages: bytes) -> None:
        self.writer.write(framed(*messages))

    async def reply(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            size = int.from_bytes(await self.reader.readexactly(2), "big")
            return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """Return what comes until the server closes; a reset is no different from a close."""
        octets = b""
        async with asyncio.timeout(PATIENCE):
            try:
                while more := await self.reader.read(65536):
                    octets += more
            except ConnectionError:
                pass
        return octets


@asynccontextmanager
async def connection(listener: TcpListener, host: str = "127.0.0.1") -> AsyncIterator[TcpAsker]:
    reader, writer = await asyncio.open_connection(host, port_of(listener), limit=4096)
    try:
        yield TcpAsker(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)
