"""TCP: messages with their length before them, several in flight, replies as they are ready (RFC 7766)."""

import asyncio
import fcntl
import resource
import socket
import termios
import time
import traceback
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, cast

from kubedns.listeners import Answer, Later, ReadyReplies
from kubedns.listeners.counters import TcpCounters
from kubedns.listeners.deadlines import Wheel
from kubedns.listeners.sockets import BACKLOG
from kubedns.log import server_log
from kubedns.wire.client import Peer

HEADER_SIZE = 12  # octets: less is no message at all
LARGEST_MESSAGE = 65535
MESSAGES_A_TURN = 64  # of one connection, before datagrams and the other connections have their turn
SWEEP = 0.25  # seconds between two looks at the deadlines
CANDIDATES = 1000  # connections looked at to find an idle one; each look puts one that is not off for a while
FOREVER = float("inf")


def _most_connections() -> int:
    """Leave descriptors for upstreams, the API server and files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 20_000 if soft == resource.RLIM_INFINITY else max(16, min(20_000, soft - max(64, soft // 8)))


@dataclass(frozen=True, slots=True)
class TcpSettings:
    """Times are in seconds."""

    read: float = 3.0  # for the first message, from connecting
    idle: float = 10.0  # for every later one, from the last message or the last reply
    write: float = 5.0  # for the client to read its replies, once too many octets wait
    linger: float = 1.0  # for the client to close, once it has had its last reply
    most_connections: int | None = None  # None: by RLIMIT_NOFILE
    most_in_flight: int = 64  # queries of one connection
    most_queries: int = -1  # of one connection, which is closed after their replies; -1: any number
    write_buffer: int = 65536  # octets of replies that may wait before no more queries are read


class ConnectionLimit:
    """Connections of all listeners together."""

    def __init__(self, most: int | None = None) -> None:
        self.most = _most_connections() if most is None else most
        self.open = 0


class Framer:
    """Octets in, messages out. It keeps what is not a whole message yet."""

    __slots__ = ("_at", "_octets", "complete")

    def __init__(self) -> None:
        self._octets = b""
        self._at = 0
        self.complete = 0  # messages that came whole, those too short to be any included

    def feed(self, octets: bytes) -> None:
        self._octets = self._octets[self._at :] + octets
        self._at = 0

    def next_message(self) -> bytes | None:
        """Return the next message, or None until more is fed. What is shorter than a header is left out."""
        octets = self._octets
        while len(octets) - self._at >= 2:  # noqa: PLR2004 - the length's own octets
            start = self._at + 2
            end = start + (octets[start - 2] << 8 | octets[start - 1])
            if end > len(octets):
                return None
            self._at = end
            self.complete += 1
            if end - start >= HEADER_SIZE:
                return octets[start:end]
        return None


class Connection(asyncio.Protocol):
    """One client. It is *full* while too many queries wait or replies are unread: then nothing more is read."""

    __slots__ = (
        "client", "deadline", "ended", "framer", "full", "in_flight", "last", "leaving", "listener", "put_off",
        "queries", "shut", "stuck", "tick", "transport",
    )  # fmt: skip

    def __init__(self, listener: "TcpListener") -> None:
        self.listener = listener
        self.framer = Framer()
        self.transport: asyncio.Transport
        self.client: Peer
        self.deadline = FOREVER
        self.tick = 0
        self.in_flight = self.queries = 0
        self.full = False  # nothing is read from the transport
        self.stuck = False  # the client does not read its replies
        self.put_off = False  # it has had its turn: the rest of what it sent comes in the loop's next one
        self.ended = False  # the client sends no more
        self.leaving = False  # it is closed as soon as all that came is answered
        self.last = False  # it is answered no more
        self.shut = False  # it has been told so

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        remote, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if remote is None or local is None or not self.listener.admit(self):  # None: the client has gone already
            self.ended = self.last = True
            self.transport.abort()
            return
        self.client = Peer("tcp", _plain(remote), _plain(local))
        self.transport.set_write_buffer_limits(high=self.listener.settings.write_buffer)
        if self.listener.draining:
            asyncio.get_running_loop().call_soon(self.leave)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's own
        self.ended = self.last = True
        self.listener.forget(self)

    def data_received(self, data: bytes) -> None:
        if not self.last:
            self.framer.feed(data)
            self.work()

    def eof_received(self) -> bool:
        """Keep the other direction open: the client may wait for replies yet (RFC 7766 §6.2.4)."""
        self.ended = True
        self.work()
        return True

    def pause_writing(self) -> None:
        self.stuck = True
        self.listener.wheel.move(self, time.monotonic() + self.listener.settings.write)

    def resume_writing(self) -> None:
        self.stuck = False
        self.deadline = time.monotonic() + self.listener.settings.idle
        # Not from inside the transport's own writing.
        asyncio.get_running_loop().call_soon(self.work)

    def work(self) -> None:
        """Answer the messages that are there, until there are no more, the connection is full or its turn is over."""
        if self.transport.is_closing() or self.put_off:
            return
        settings, framer, now = self.listener.settings, self.framer, time.monotonic()
        before, turn = framer.complete, framer.complete + MESSAGES_A_TURN
        while not self.last and not self.stuck and self.in_flight < settings.most_in_flight:
            if framer.complete >= turn:
                self.put_off = True
                asyncio.get_running_loop().call_soon(self._go_on)
                break
            message = framer.next_message()
            if message is None:
                break
            self.queries += 1
            self.last = self.queries == settings.most_queries
            self._answer(message, now)
        if framer.complete > before and not self.stuck:
            self.deadline = now + settings.idle
        self._read_or_not()
        self._close_if_done(now)

    def _go_on(self) -> None:
        self.put_off = False
        self.work()

    def _answer(self, message: bytes, now: float) -> None:
        listener = self.listener
        listener.counters.received += 1
        try:
            reply = listener.ready[self.client.ipv6](message, now) or listener.answer(message, self.client, now)
        except Exception:  # noqa: BLE001 - the other messages are to have their replies
            listener.counters.failed += 1
            server_log.error(f"{listener.answer!r} failed on a message\n{traceback.format_exc().rstrip()}")
            return
        if isinstance(reply, bytes):
            self._send(reply)
        elif reply is not None:
            self.in_flight += 1
            reply.add_done_callback(self._late)

    def _late(self, future: Later) -> None:
        self.in_flight -= 1
        try:
            reply = future.result()
        except asyncio.CancelledError:
            reply = None
        if self.transport.is_closing():
            return
        if not self.in_flight and not self.stuck:
            self.deadline = time.monotonic() + self.listener.settings.idle
        if reply is not None:
            self._send(reply)
        self.work()

    def _send(self, reply: bytes) -> None:
        if len(reply) > LARGEST_MESSAGE:
            self.listener.counters.too_large += 1
            return
        self.listener.counters.sent += 1
        self.transport.write(len(reply).to_bytes(2, "big") + reply)

    def _read_or_not(self) -> None:
        busy = self.stuck or self.put_off or self.in_flight >= self.listener.settings.most_in_flight
        full = busy and not self.last
        if full != self.full and not self.ended:
            self.full = full
            if full:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def _close_if_done(self, now: float) -> None:
        """Close once the last reply is written, and not before the client has read it, or had the time to."""
        if self.in_flight or self.stuck or self.put_off:
            return
        if self.leaving and not self.ended and not self.last:
            if _unread(self.transport):
                return  # it is read, and comes here, in the loop's next turn
            self.last = True
        if not (self.ended or self.last):
            return
        settings = self.listener.settings
        waiting = self.transport.get_write_buffer_size() > 0
        self.listener.wheel.move(self, now + (settings.write if waiting else settings.linger))
        if self.ended:
            self.transport.close()
        elif not self.shut:
            # To close while the client still sends would reset the connection, and take its replies away (RFC 1122
            # §4.2.2.13): say that there is no more, and read on, answering nothing, until it closes too.
            self.shut = True
            self.transport.write_eof()

    def leave(self) -> None:
        """Answer all that has come, in the kernel too, then close: at once where there is nothing of the sort."""
        if not self.in_flight and not self.stuck and not self.put_off and not _unread(self.transport):
            self.transport.close()
            return
        self.leaving = True
        self.work()


def _unread(transport: asyncio.Transport) -> bool:
    """Tell whether the kernel holds octets of a connection that nobody has read (FIONREAD, tcp(7))."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return False
    size = bytearray(4)
    fcntl.ioctl(sock.fileno(), termios.FIONREAD, size)
    return any(size)


def _plain(address: tuple[str, int]) -> tuple[str, int]:
    """Return an address as Client has it: IPv4 as such, and no scope."""
    return address[0].removeprefix("::ffff:").partition("%")[0], address[1]


class TcpListener:
    """Accepts a listening socket's connections, hands their messages to `ready`, then `answer`, and sends the replies.

    Both may be set to others at any time, for open connections too.
    """

    def __init__(
        self,
        sock: socket.socket,
        answer: Answer,
        settings: TcpSettings | None = None,
        limit: ConnectionLimit | None = None,
    ) -> None:
        """Take the socket, which stays open until stop(). `limit` counts the connections of all that share it."""
        sock.settimeout(0)
        self.sock = sock
        self.answer = answer
        self.ready = ReadyReplies()
        self.settings = settings or TcpSettings()
        self.limit = limit or ConnectionLimit()
        self.counters = TcpCounters()
        self.connections: set[Connection] = set()
        self.wheel: Wheel[Connection] = Wheel(SWEEP, time.monotonic())
        most = self.settings.most_connections
        self._most = self.limit.most if most is None else most
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Event | None = None

    @property
    def draining(self) -> bool:
        return self._drained is not None

    async def start(self) -> None:
        """Begin to accept, in the running loop."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), sock=self.sock, backlog=BACKLOG)

    def stop(self) -> None:
        """Accept no more, and close the listening socket. Open connections go on."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.sock.close()

    async def drain(self, seconds: float) -> bool:
        """Accept no more, answer all that has come, close; say whether all replies were sent in time."""
        late = self._accept_rest()
        self.stop()
        self._drained = asyncio.Event()
        await asyncio.gather(*late, return_exceptions=True)
        await asyncio.sleep(0)  # what the loop itself has accepted in this turn is made known in the next
        for connection in list(self.connections):
            connection.leave()
        drained = True
        if self.connections:
            try:
                async with asyncio.timeout(seconds):
                    await self._drained.wait()
            except TimeoutError:
                drained = False
        self.close()
        return drained

    def _accept_rest(self) -> list[Coroutine[Any, Any, object]]:
        """Accept what the kernel has accepted already: it would be reset when the listening socket is closed."""
        accepted: list[Coroutine[Any, Any, object]] = []
        loop = asyncio.get_running_loop()
        while len(accepted) < BACKLOG:
            try:
                sock, _ = self.sock.accept()
            except OSError:  # BlockingIOError: there are no more
                break
            sock.setblocking(False)
            accepted.append(loop.connect_accepted_socket(lambda: Connection(self), sock))
        return accepted

    def close(self) -> None:
        """Close everything, without a look at what is in flight."""
        self.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in list(self.connections):
            connection.transport.abort()

    def admit(self, connection: Connection) -> bool:
        """Count a new connection, at the cost of an idle one when there are too many; False if all are busy."""
        if (len(self.connections) >= self._most or self.limit.open >= self.limit.most) and not self._evict():
            self.counters.refused += 1
            return False
        connection.deadline = time.monotonic() + self.settings.read
        self.wheel.add(connection)
        self.connections.add(connection)
        self.limit.open += 1
        self.counters.accepted += 1
        self.counters.open += 1
        if self._timer is None:
            self._sweep()
        return True

    def forget(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)
            self.wheel.discard(connection)
            self.limit.open -= 1
            self.counters.open -= 1
            if self._drained is not None and not self.connections:
                self._drained.set()

    def _evict(self) -> bool:
        """Close the connection whose time would be up first: the silent ones, then the one that is idle longest."""
        for connection in self.wheel.soonest(CANDIDATES):
            if self._is_busy(connection):
                continue
            self.forget(connection)
            self.counters.evicted += 1
            connection.transport.abort()
            return True
        return False

    def _is_busy(self, connection: Connection) -> bool:
        """Say so, and put its deadline off, if replies are in flight that the client is there to read."""
        busy = connection.in_flight > 0 and not connection.stuck
        if busy:
            self.wheel.discard(connection)
            connection.deadline = time.monotonic() + self.settings.idle
            self.wheel.add(connection)
        return busy

    def _sweep(self) -> None:
        """End what is due, as long as there is any connection: with none, nothing wakes the process up."""
        if not self.connections:
            self._timer = None
            return
        self._timer = asyncio.get_running_loop().call_later(SWEEP, self._sweep)
        for connection in self.wheel.expired(time.monotonic()):
            if not self._is_busy(connection):
                self.counters.expired += 1
                connection.transport.abort()
