"""A cluster behind a cache, with the wire cache in front, to see what entries do that run out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubedns.plugin.straight import Straight
from kubedns.tokens import Serial, Token
from kubedns.wire.name import labels, name
from kubedns.wire.numbers import AA, AD, Rcode, RRType
from kubedns.wire.parse import parse_reply
from kubedns.wire.records import RR, address, soa
from kubedns.wire.reply import Reply
from kubedns.wire.validity import UNTIL_RELOAD, Validity
from plugins import loadbalance
from plugins.cache import Cache
from tests.plugins.cache.caching import message
from tests.plugins.cache.wired import Side
from tests.wire.asking import UDP, datagram, opt, with_opt

if TYPE_CHECKING:
    from kubedns.server.stepping import Stepper
    from kubedns.wire.client import Peer
    from kubedns.wire.query import Query

ZONE = name("cluster.local")
PLACES = 3
SERVICES = [f"svc{place}.cluster.local." for place in range(PLACES)]
CAPITALS = "SVC0.cluster.local."  # has no address: a few names of the real plugin's are not there in such letters
AWAY = "www.example.org."
MANY = 1024  # entries
TTL = 45  # more than any of the caches keeps
PLAIN = datagram(SERVICES[0])
OTHER = datagram("other.example.org.")
WITH_EDNS = with_opt(PLAIN, opt(1232))


class Cluster(Straight):
    """Names with an address or two, or with none, that say when they change, and others that are forwarded."""

    cacheable = heeds_denials = True

    def __init__(self) -> None:
        self.resolved = self.asked = 0
        self.addresses = [1 + place % 2 for place in range(PLACES)]
        self.tokens = [Token() for _ in range(PLACES)]
        self.serial = Serial()
        self.until = UNTIL_RELOAD.until

    def change(self, place: int, addresses: int) -> None:
        self.addresses[place] = addresses
        self.tokens[place].stale = True
        self.tokens[place] = Token()
        self.serial.become(self.serial.value + 1)

    def before(self, query: Query) -> Reply | None:
        if not query.name.endswith(ZONE):
            self.asked += 1
            return message(query, f"NOERROR / @ {3 + self.asked % 7} A 192.0.2.{self.asked}")
        self.resolved += 1
        assert query.adds & AD
        place = int(labels(query.name)[0][3:])
        tokens: tuple[Token, ...] = (self.tokens[place],)
        capitals = query.spelled != query.name
        if capitals:
            tokens = ()
        elif query.rrtype == RRType.A and self.addresses[place]:
            records = [address(query.name, bytes((10, place, 0, n)), TTL) for n in range(self.addresses[place])]
            return Reply(records, flags=AA, validity=Validity(self.until, tokens))
        tokens = (*tokens, self.serial.token)
        rcode = Rcode.NXDOMAIN if capitals else Rcode.NOERROR
        reply = Reply((), [self._soa()], rcode=rcode, flags=AA, validity=Validity(self.until, tokens), suffix=ZONE)
        reply.serial = self.serial
        return reply

    def _soa(self) -> RR:
        return soa(ZONE, ZONE, ZONE, TTL, serial=self.serial.value, times=(1, 2, 3, 4))


class Asking(Cache):
    """A cache whose entries that run out are always asked for."""

    def _recurs(self, *_: object) -> bool:
        return False


class Answering(Side):
    """Both caches before a cluster; `spared` counts what the wire cache answered."""

    upstream: Cluster

    def __init__(self, line: str, stepper: Stepper, kind: type[Cache] = Cache, entries: int = MANY) -> None:
        turning = ("loadbalance", loadbalance.RoundRobin())
        super().__init__(line, stepper, Cluster(), kind=kind, entries=entries, before=(turning,))
        self.spared = 0

    def ask(self, sent: bytes, client: Peer = UDP) -> bytes:
        kept = self.get(sent, self.now, client)
        self.spared += kept is not None
        octets = kept or self.answer(sent, client)
        assert isinstance(octets, bytes)
        return octets

    def keep(self, *messages: bytes) -> None:
        """Ask until the wire cache has the replies, and count from then on."""
        for sent in messages * 3:
            self.ask(sent)
        self.upstream.resolved = self.spared = 0

    def held(self) -> dict[str, int]:
        """Return what the cache holds, and what had to go."""
        store, gone = self.cache.store, self.cache.listeners[0].counters.evictions
        shelves = {"success": store.success, "denial": store.denial}
        return (
            {f"{kind} entries": len(shelf) for kind, shelf in shelves.items()}
            | {f"{kind} octets": shelf.octets for kind, shelf in shelves.items()}
            | {f"{kind} gone": count.value for kind, count in gone.items()}
        )


def ttl_of(octets: bytes) -> int:
    """Return the one that all records have."""
    [ttl] = {rr.ttl for section in parse_reply(octets).sections for rr in section}
    return ttl
