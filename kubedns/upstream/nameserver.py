"""One name server: how to ask it over each transport, and whether it is well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubedns.upstream.datagrams import Datagrams
from kubedns.upstream.health import Health
from kubedns.upstream.https import HttpsConnection
from kubedns.upstream.once import ask_by, ask_tcp, ask_udp
from kubedns.upstream.statistics import statistics_of
from kubedns.upstream.streams import Streams

if TYPE_CHECKING:
    import ssl

    from kubedns.upstream.address import Address
    from kubedns.upstream.exchange import Exchange
    from kubedns.upstream.settings import Settings

CHECKING = 1.0  # seconds that a health check's reply has


class NameServer:
    """It opens nothing before it is asked, in whatever loop runs then."""

    def __init__(self, address: Address, settings: Settings, tls: ssl.SSLContext | None = None) -> None:
        """`tls` None: it is asked in plain text; for https:// it offers HTTP/1.1 (RFC 7301)."""
        self.address = address
        self.settings = settings
        self.statistics = statistics_of(address.text)
        self.health = Health(settings.check, self.probe, self.statistics)
        self._tls = tls
        self._read_timeout = settings.read_timeout
        self._datagrams = Datagrams(address, settings, self.statistics)
        kind = HttpsConnection if address.transport == "https" else None
        self._streams = Streams(address, settings, self.statistics, tls, kind)

    def ask(self, exchange: Exchange, now: float) -> None:
        """Send a query, over UDP if that may be and this name server takes plain text."""
        self.statistics.requests += 1
        exchange.deadline = now + self._read_timeout
        if exchange.udp and self._tls is None:
            self._datagrams.ask(exchange)
        else:
            self._streams.ask(exchange)

    async def probe(self, message: bytes) -> bytes:
        """Ask by a socket of its own; raises UpstreamError unless a message with a header and the ID comes back."""
        settings = self.settings
        if self.address.transport == "https":
            return await ask_by(self._streams, message, CHECKING)
        if self._tls is None and not settings.check_by_tcp:
            return await ask_udp(self.address, settings.source, message, CHECKING)
        return await ask_tcp(self.address, settings.source, message, CHECKING, self._tls)

    async def stop(self) -> None:
        """Close everything; what is in flight fails."""
        await self.health.stop()
        self._datagrams.close()
        await self._streams.close()
