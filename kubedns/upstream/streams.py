"""Queries over TCP and TLS: connections kept for a while, one query at a time on each (RFC 1035 §4.2.2, RFC 7858)."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections import deque
from typing import TYPE_CHECKING, cast

from kubedns.upstream.address import join, reason
from kubedns.upstream.exchange import MOST_PENDING, BusyError, Match, UpstreamError, match
from kubedns.wire.numbers import HEADER_SIZE

if TYPE_CHECKING:
    from kubedns.upstream.address import Address
    from kubedns.upstream.exchange import Exchange
    from kubedns.upstream.settings import Settings
    from kubedns.upstream.statistics import Statistics

MOST_CONNECTIONS = 500  # to one name server; what is asked beyond waits for one of them
TICK = 0.05  # seconds: how late a query may be found to have waited too long
SWEEP = 1.0  # seconds between two looks for connections that nobody used for a while
SHORTEST_DIAL, AVERAGE_DIAL, LONGEST_DIAL = 1.0, 15.0, 30.0  # seconds


class DialTime:
    """How long connecting may take: twice what it took of late, in seconds."""

    def __init__(self) -> None:
        self._average = AVERAGE_DIAL

    @property
    def timeout(self) -> float:
        if self._average < SHORTEST_DIAL:
            return SHORTEST_DIAL
        return 2 * self._average if self._average < AVERAGE_DIAL else LONGEST_DIAL

    def observe(self, seconds: float) -> None:
        """Move a quarter of the way to what it took now, failures included."""
        self._average += (seconds - self._average) / 4


class Streams:
    """Asks one name server over TCP, or over TLS if there is a context for it, in the running loop."""

    def __init__(
        self,
        address: Address,
        settings: Settings,
        statistics: Statistics,
        tls: ssl.SSLContext | None,
        kind: type[Connection] | None = None,
    ) -> None:
        """`kind` is what speaks over a connection, by default DNS's own framing."""
        self.address = address
        self.settings = settings
        self.statistics = statistics
        self._tls = tls
        self._kind = kind or Connection
        self._protocol = self._kind.protocol or ("tcp" if tls is None else "tcp-tls")
        self._dial_time = DialTime()
        self._idle: deque[Connection] = deque()  # the one that is idle the longest first
        self._busy: dict[Connection, None] = {}  # in the order of their queries' deadlines
        self._dialing: set[asyncio.Task[None]] = set()
        self._waiting: deque[Exchange] = deque()
        self._ticking: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False

    def ask(self, exchange: Exchange) -> None:
        """Send a query over the connection that has been idle the longest, or a new one."""
        loop = asyncio.get_running_loop()
        if self._ticking is None:
            self._ticking = loop.call_later(TICK, self._tick)
        connection = self._oldest()
        if connection is not None:
            self.statistics.hits[self._protocol] += 1
            self._busy[connection] = None
            connection.send(exchange, reused=True)
        elif self._closed:
            loop.call_soon(exchange.failed, UpstreamError("proxy: transport stopped"))
        elif len(self._busy) + len(self._dialing) < MOST_CONNECTIONS:
            self.statistics.misses[self._protocol] += 1
            task = loop.create_task(self._dial(exchange))
            self._dialing.add(task)
            task.add_done_callback(self._dialed)
        elif len(self._waiting) < MOST_PENDING:
            self._waiting.append(exchange)
        else:
            error = BusyError(f"{MOST_PENDING} queries wait for {self.address.text} already")
            loop.call_soon(exchange.failed, error)

    async def close(self) -> None:
        """Close every connection; what waits for a reply will have none."""
        self._closed = True
        for timer in (self._ticking, self._sweeping):
            if timer is not None:
                timer.cancel()
        waiting, self._waiting = self._waiting, deque()
        for exchange in waiting:
            exchange.failed(UpstreamError("proxy: transport stopped"))
        for connection in [*self._busy, *self._idle]:
            connection.fail("proxy: transport stopped")
        dialing = list(self._dialing)
        for task in dialing:
            task.cancel()
        await asyncio.gather(*dialing, return_exceptions=True)

    def _oldest(self) -> Connection | None:
        now = time.monotonic()
        while self._idle:
            connection = self._idle.popleft()
            if not self.settings.over(connection.opened, connection.used, now):
                return connection
            connection.close()
        return None

    async def _dial(self, exchange: Exchange) -> None:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._dial_time.timeout):
                connection = await self.connect()
        except (OSError, ssl.SSLError) as error:
            exchange.failed(UpstreamError(dial_error(self.address, error)))
            return
        except asyncio.CancelledError:
            exchange.failed(UpstreamError("proxy: transport stopped"))
            raise
        finally:
            self._dial_time.observe(time.monotonic() - started)
        self._busy[connection] = None
        connection.send(exchange, reused=False)

    async def connect(self) -> Connection:
        """Return a new connection; raises OSError, of which TimeoutError and SSLError are kinds."""
        address = self.address
        server_name = (address.server_name or address.host) if self._tls is not None else None
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: self._kind(self),
            address.host_and_scope,
            address.port,
            ssl=self._tls,
            server_hostname=server_name,
            local_addr=(self.settings.source, 0) if self.settings.source else None,
        )
        return connection

    def _dialed(self, task: asyncio.Task[None]) -> None:
        self._dialing.discard(task)
        self._next()

    def done(self, connection: Connection) -> None:
        """Keep a connection whose query was answered, for the query that waits for one or for later."""
        self._busy.pop(connection, None)
        if self._closed or (self.settings.most_idle and len(self._idle) >= self.settings.most_idle):
            connection.close()
        else:
            self._idle.append(connection)
            if self._sweeping is None:
                self._sweeping = asyncio.get_running_loop().call_later(SWEEP, self._sweep)
        self._next()

    def gone(self, connection: Connection) -> None:
        """Forget a connection that was closed."""
        self._busy.pop(connection, None)
        if connection in self._idle:
            self._idle.remove(connection)
        self._next()

    def _next(self) -> None:
        now = time.monotonic()
        while self._waiting and not self._closed:
            if self._waiting[0].deadline <= now:
                self._waiting.popleft().failed(UpstreamError(f"dial tcp {self.address.text}: i/o timeout"))
            elif len(self._busy) + len(self._dialing) < MOST_CONNECTIONS:
                self.ask(self._waiting.popleft())
            else:
                return

    def _tick(self) -> None:
        """Give up on queries whose time is over."""
        now = time.monotonic()
        for connection in list(self._busy):
            if connection.deadline > now:
                break
            connection.fail("i/o timeout")
        self._next()
        waiting = bool(self._busy or self._dialing or self._waiting)
        self._ticking = asyncio.get_running_loop().call_later(TICK, self._tick) if waiting else None

    def _sweep(self) -> None:
        now = time.monotonic()
        for connection in [one for one in self._idle if self.settings.over(one.opened, one.used, now)]:
            self._idle.remove(connection)
            connection.close()
        waits = bool(self._idle)
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP, self._sweep) if waits else None


class Connection(asyncio.Protocol):
    """One connection, and the query on it."""

    answers_once = False  # whether nothing more comes after a message that is no reply to the query
    protocol = ""  # under which its uses are counted, if not as TCP or TLS

    def __init__(self, streams: Streams) -> None:
        """`opened` and `used` are monotonic seconds."""
        self.opened = self.used = time.monotonic()
        self._streams = streams
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._ident = b""
        self._octets = b""  # that came and are no whole message yet
        self._reused = False
        self.last = False  # whether the other side has said that it will take no more

    @property
    def deadline(self) -> float:
        return self._exchange.deadline if self._exchange is not None else 0.0

    def send(self, exchange: Exchange, *, reused: bool) -> None:
        """Send a query; on a `reused` connection that turns out to be closed it is asked once more on another."""
        self._exchange, self._reused = exchange, reused
        exchange.deadline = time.monotonic() + self._streams.settings.read_timeout
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self.framed(exchange.message))
        else:
            asyncio.get_running_loop().call_soon(self.connection_lost, None)

    def fail(self, why: str) -> None:
        """Give up on the query, and on the connection: what comes over it later would be in the way."""
        exchange, self._exchange = self._exchange, None
        text = self._error("read", why)
        self.close()
        if exchange is not None:
            exchange.failed(UpstreamError(text))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._streams.gone(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._exchange is None:
            self.close()  # nobody asked
            return
        self._octets += data
        while self._read_one():
            pass

    def _read_one(self) -> bool:
        """Look at one more message, if there is one and somebody waits for it."""
        exchange = self._exchange
        message = self.next_message() if exchange is not None else None
        if exchange is None or message is None:
            return False
        self._take(exchange, message)
        return True

    def framed(self, message: bytes) -> bytes:
        """Draw an ID, and return the octets to send for a message that stands behind one."""
        self._ident = os.urandom(2)
        return (len(message) + len(self._ident)).to_bytes(2, "big") + self._ident + message

    def next_message(self) -> bytes | None:
        """Take the next message out of the octets that came, if it is whole."""
        octets = self._octets
        end = 2 + int.from_bytes(octets[:2], "big")
        if len(octets) < end:
            return None
        self._octets = octets[end:]
        return octets[2:end]

    def _take(self, exchange: Exchange, message: bytes) -> None:
        """Messages with another ID or another question are passed over."""
        found = Match.OTHER
        if len(message) >= HEADER_SIZE and message[:2] == self._ident:
            found = match(message, exchange.question)
        if found is Match.OTHER:
            self._streams.statistics.strays += 1
            if self.answers_once:
                self.fail("no reply to this query")
            return
        self._exchange = None
        self.used = time.monotonic()
        if self.last:
            self.close()
        else:
            self._streams.done(self)
        if found is Match.REPLY:
            exchange.answered(message)
        else:
            exchange.misanswered()

    def connection_lost(self, error: Exception | None) -> None:
        exchange, self._exchange = self._exchange, None
        self._streams.gone(self)
        if exchange is None:
            return
        if self._reused:
            self._streams.ask(exchange)
        else:
            why = f"read: {reason(error)}" if isinstance(error, OSError) else "EOF"
            exchange.failed(UpstreamError(self._error("read", why) if error is not None else why))

    def _error(self, call: str, why: str) -> str:
        local = self._transport.get_extra_info("sockname") if self._transport is not None else None
        shown = f" {join(local[0], local[1])}" if local else ""
        return f"{call} tcp{shown}->{self._streams.address.text}: {why}"


def dial_error(address: Address, error: OSError) -> str:
    """Return why there is no connection, in Go's words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"tls: {error.reason or error}".lower().replace("_", " ")
    if isinstance(error, TimeoutError) and not error.errno:
        return f"dial tcp {address.text}: i/o timeout"
    return f"dial tcp {address.text}: connect: {reason(error)}"
