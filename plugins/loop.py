"""loop: end the process when its queries come back to it (docs/plugins/loop.md)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import socket
from collections import Counter
from typing import TYPE_CHECKING

from kubedns.corefile import readers
from kubedns.log import plugin_log
from kubedns.plugin.contract import Forwards
from kubedns.plugin.straight import Straight
from kubedns.wire.errors import WireError
from kubedns.wire.name import MAXIMUM_NAME, ROOT, from_labels, name
from kubedns.wire.numbers import RD, RRClass, RRType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubedns.corefile.values import Directive
    from kubedns.plugin.contract import ServerBlock
    from kubedns.wire.query import Query

BITS = 62  # of each of the two numbers in a probe's name
DIGITS = 19  # of the largest
PORT = 0xFFFF  # the lowest of the second: where a probe was sent from, so that all workers can tell
PROBING = 30.0  # seconds, and then no more
TIMEOUT = 2.0  # seconds for the probe's reply
PAUSE = 1.0  # seconds until another probe, if there was none
MOST_SIGHTINGS = 2  # of one probe from where it was sent: a network may duplicate a datagram
LARGEST = 65535
LOOPBACK = "127.0.0.1"  # where every address is listened on
TROUBLESHOOTING = "https://coredns.io/plugins/loop#troubleshooting"
CURE = (
    "name an upstream in forward that does not send its queries here; for /etc/resolv.conf of a node with a local"
    " resolver that is the file with the resolver's own upstreams, /run/systemd/resolve/resolv.conf with"
    " systemd-resolved (the kubelet's resolvConf)"
)

log = plugin_log("loop")


def setup(directive: Directive, block: ServerBlock) -> Loop:
    """Raise CorefileError for any argument."""
    readers.no_arguments(readers.once(directive))
    return Loop(block)


class Loop(Straight):
    """Sends one query that only we can know of; if somebody else asks it as well, our own queries come back."""

    cacheable = heeds_denials = True  # a reply to a probe that is given again did not go round

    def __init__(self, block: ServerBlock) -> None:
        """The probe's name is below the block's first zone."""
        self._block = block
        try:
            self._zone = name(block.zones[0])
            self._zone_text = block.zones[0]
        except (IndexError, WireError):
            self._zone, self._zone_text = ROOT, "."
        self._first, self._second = _numbers(block.secret, self._zone)
        self._sightings: Counter[int] = Counter()  # of probes, by the port that each was sent from
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Probe from now on; a zone so long that no name fits below it is not probed."""
        if len(self._probe(PORT)) > MAXIMUM_NAME:
            return
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def before(self, query: Query) -> None:
        """Count sightings while the probe is out; a query always goes on."""
        if self._task is not None and query.rrtype == RRType.HINFO and (sent := self._sent_from(query)) is not None:
            self._see(query, sent)

    def _sent_from(self, query: Query) -> int | None:
        """Return the port that a probe of ours was sent from, by its name; None for another query."""
        second = query.labels[1] if len(query.labels) > 1 else b""
        sent = int(second) & PORT if second.isdigit() and len(second) <= DIGITS else 0
        return sent if query.name == self._probe(sent) else None

    def _see(self, query: Query, sent: int) -> None:
        """From another port than a probe's own, one sighting is proof, for nobody could guess the name.

        More than two from anywhere are, as in CoreDNS: what changes ports on the way may leave them as they are.
        Equal queries share a way to the upstream here, so that a loop may bring a probe back but once.
        """
        self._sightings[sent] += 1
        host, port = query.client.remote()
        if port == sent and self._sightings[sent] <= MOST_SIGHTINGS:
            return
        source = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        at, at_port = self._block.listens
        told = f'Loop ({source} -> {f"[{at}]" if ":" in at else at}:{at_port}) detected for zone "{self._zone_text}"'
        log.fatal(f'{told}, see {TROUBLESHOOTING}. Query: "HINFO {self._text(sent)}"\n  {self._cure()}')

    def _cure(self) -> str:
        upstreams = list(self._upstreams())
        some = f"one of {', '.join(upstreams)}" if len(upstreams) > 1 else "".join(upstreams)
        return f"{some} sends this server's queries back to it: {CURE}" if upstreams else CURE

    def _upstreams(self) -> Iterator[str]:
        for _, plugin in self._block.plugins:
            if isinstance(plugin, Forwards):
                yield from plugin.upstreams()

    async def _watch(self) -> None:
        """Probe until there is a reply, whatever it says."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PROBING):
                while not await self._ask():
                    self._sightings.clear()
                    await asyncio.sleep(PAUSE)
        self._task = None

    async def _ask(self) -> bool:
        """Send the probe to ourselves, and tell whether a reply came."""
        loop = asyncio.get_running_loop()
        host, port = self._block.listens
        host = host or LOOPBACK
        ident = secrets.token_bytes(2)
        try:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.connect((host, port))
                question = self._question(sock.getsockname()[1])
                async with asyncio.timeout(TIMEOUT):
                    await loop.sock_sendall(sock, ident + question)
                    while not (await loop.sock_recv(sock, LARGEST)).startswith(ident):
                        pass
        except OSError:  # TimeoutError is one
            return False
        return True

    def _labels(self, sent: int) -> tuple[str, str]:
        return str(self._first), str(self._second & ~PORT | sent)

    def _probe(self, sent: int) -> bytes:
        """Return the name of a probe that is sent from a port."""
        return from_labels([label.encode() for label in self._labels(sent)])[:-1] + self._zone

    def _text(self, sent: int) -> str:
        return ".".join([*self._labels(sent), self._zone_text.removeprefix(".")])

    def _question(self, sent: int) -> bytes:
        """Return the probe behind its ID."""
        counts = (1).to_bytes(2, "big") + bytes(6)
        kind = RRType.HINFO.to_bytes(2, "big") + RRClass.IN.to_bytes(2, "big")
        return RD.to_bytes(2, "big") + counts + self._probe(sent) + kind


def _numbers(secret: bytes, zone: bytes) -> tuple[int, int]:
    """Return two numbers that nobody can guess; all workers, which share a secret, have the same."""
    octets = hashlib.sha256(secret + zone).digest() if secret else secrets.token_bytes(16)
    return int.from_bytes(octets[:8], "big") >> 64 - BITS, int.from_bytes(octets[8:16], "big") >> 64 - BITS
