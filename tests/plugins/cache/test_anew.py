"""Entries that run out while nothing has changed begin anew in the wire cache, as if the plugins had been asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from kubedns import metrics
from kubedns.cluster.tokens import Serial, Token
from kubedns.plugin.straight import Straight
from kubedns.wire.name import labels, name
from kubedns.wire.numbers import AA, AD, Rcode, RRType
from kubedns.wire.parse import parse_reply
from kubedns.wire.records import RR, address, soa
from kubedns.wire.reply import Reply
from kubedns.wire.validity import UNTIL_RELOAD, Validity
from plugins import loadbalance
from plugins.cache import Cache, counters
from plugins.cache.store import UNKNOWN
from tests.plugins.cache.caching import message
from tests.plugins.cache.wired import Side, beside_the_loop
from tests.wire.asking import TCP, UDP, datagram, opt, with_opt

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubedns.server.stepping import Stepper
    from kubedns.wire.client import Peer
    from kubedns.wire.query import Query

ZONE = name("cluster.local")
PLACES = 3
SERVICES = [f"svc{place}.cluster.local." for place in range(PLACES)]
CAPITALS = "SVC0.cluster.local."  # has no address: a few names of the real plugin's are not there in such letters
AWAY = "www.example.org."
MANY = 1024  # entries
FAMILIES = [
    f"coredns_cache_{name}"
    for name in ("entries", "requests", "misses", "prefetch", "drops", "served_stale", "hits", "evictions")
]
TTL = 45  # more than any of the caches keeps


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


class Asked(NamedTuple):
    """A question, how it is sent and how often, and what happens before: seconds pass, and a Service changes."""

    question: str
    rrtype: RRType
    size: int
    client: Peer
    times: int
    passed: float
    change: tuple[int, int] | None


asked = st.builds(
    Asked,
    st.sampled_from([*SERVICES * 3, CAPITALS, AWAY]),
    st.sampled_from([RRType.A] * 3 + [RRType.AAAA]),
    st.sampled_from([0, 0, 1232]),
    st.sampled_from([UDP] * 3 + [TCP]),
    st.sampled_from([1, 3]),
    st.sampled_from([0.0, 0.0, 0.0, 0.3, 1.0, 9.0, 29.7, 30.0, 31.0, 100.0]),
    st.sampled_from([None] * 7 + [(place, n) for place in range(PLACES) for n in range(3)][::2]),
)


def in_any_order(octets: bytes) -> tuple[int, list[int]]:
    """Return what two replies have in common that differ in their addresses' order alone: those of a size do."""
    return len(octets), sorted(octets)


@pytest.mark.parametrize("line", ["cache 30", "cache {\nsuccess 9984 20\ndenial 9984 7\n}", "cache 30 {\nkeepttl\n}"])
@given(entries=st.sampled_from([1, 2, 3, MANY]), steps=st.lists(asked, min_size=20, max_size=50))
def test_as_if_the_plugins_had_been_asked(line: str, entries: int, steps: list[Asked]) -> None:
    """Octets, counters, and what the cache holds.

    An entry that begins anew once it was dropped is asked for in the letters of who needs it first: let those be plain.
    """
    if entries < MANY:
        steps = [step for step in steps if step.question != CAPITALS]

    def compare(stepper: Stepper) -> None:
        asking, anew = Answering(line, stepper, Asking, entries), Answering(line, stepper, entries=entries)
        for step in steps:
            sent = datagram(step.question, step.rrtype)
            sent = with_opt(sent, opt(step.size)) if step.size else sent
            told = []
            for side in (asking, anew):
                side.now += step.passed
                if step.change is not None:
                    side.upstream.change(*step.change)
                told.append([in_any_order(side.ask(sent, step.client)) for _ in range(step.times)])
            assert told[0] == told[1]
            assert asking.counts() | asking.held() == anew.counts() | anew.held()
        assert anew.upstream.resolved <= asking.upstream.resolved
        event("spared some" if anew.upstream.resolved < asking.upstream.resolved else "spared none")

    beside_the_loop(compare)


def ttl_of(octets: bytes) -> int:
    """Return the one that all records have."""
    [ttl] = {rr.ttl for section in parse_reply(octets).sections for rr in section}
    return ttl


PLAIN = datagram(SERVICES[0])
OTHER = datagram("other.example.org.")
WITH_EDNS = with_opt(PLAIN, opt(1232))


@pytest.mark.parametrize(
    ("question", "rrtype"),
    [(SERVICES[0], RRType.A), (SERVICES[1], RRType.A), (SERVICES[0], RRType.AAAA)],
    ids=["one address", "two addresses", "none"],
)
def test_ttls_begin_again_without_asking(question: str, rrtype: RRType) -> None:
    def told(stepper: Stepper) -> None:
        side = Answering("cache 30", stepper)
        sent = datagram(question, rrtype)
        side.keep(sent)
        before = side.counts()
        shown = []
        for passed in (1.0, 28.5, 0.5, 0.5, 0.5, 60.0, 30.0):
            side.now += passed
            shown.append(ttl_of(side.ask(sent)))
        assert shown == [29, 1, 30, 30, 29, 30, 30]
        assert (side.spared, side.upstream.resolved) == (7, 0)
        after = side.counts()
        assert after["requests"] - before["requests"] == 7
        assert after["misses"] - before["misses"] == 3

    beside_the_loop(told)


def test_who_comes_second_finds_an_entry_begun_anew() -> None:
    def told(stepper: Stepper) -> None:
        side = Answering("cache 30", stepper)
        side.keep(WITH_EDNS, PLAIN)
        side.now += 30
        before = side.counts()
        side.ask(WITH_EDNS)
        side.now += 4
        assert ttl_of(side.ask(PLAIN)) == 26
        assert side.counts()["misses"] == before["misses"] + 1
        assert (side.spared, side.upstream.resolved) == (2, 0)

    beside_the_loop(told)


def test_what_the_cache_has_dropped_is_asked_for_once_somebody_else_asks() -> None:
    """Its time goes on meanwhile, and the entry that it has then is a whole one."""

    def told(stepper: Stepper) -> None:
        side = Answering("cache 30", stepper, entries=1)
        side.keep(PLAIN)
        side.ask(datagram(SERVICES[1]))
        side.now += 30
        assert ttl_of(side.ask(PLAIN)) == 30
        there = side.cache.store.success.entries
        [entry] = there.values()
        assert entry.reply is UNKNOWN
        assert side.upstream.resolved == 1
        side.now += 3
        before = side.counts()
        assert ttl_of(side.ask(PLAIN)) == 27
        assert side.upstream.resolved == 1
        other = datagram(SERVICES[0], flags=0)
        assert ttl_of(side.ask(other)) == 27
        assert side.counts()["misses"] == before["misses"]
        assert side.upstream.resolved == 2
        [entry] = there.values()
        assert entry.reply is not UNKNOWN
        side.now += 1
        assert [ttl_of(side.ask(sent)) for sent in (PLAIN, other)] == [26, 26]
        assert side.upstream.resolved == 2

    beside_the_loop(told)


def test_a_change_is_asked_about() -> None:
    def told(stepper: Stepper) -> None:
        side = Answering("cache 30", stepper)
        side.keep(PLAIN)
        side.now += 30
        side.upstream.change(0, 2)
        first = side.ask(PLAIN)
        assert (first[7], ttl_of(first), side.upstream.resolved) == (2, 30, 1)

    beside_the_loop(told)


def test_what_is_only_true_for_a_time_is_asked_for() -> None:
    def told(stepper: Stepper) -> None:
        side = Answering("cache 30", stepper)
        side.upstream.until = side.now + 1000
        side.keep(PLAIN)
        side.now += 30
        assert ttl_of(side.ask(PLAIN)) == 30
        assert (side.spared, side.upstream.resolved) == (0, 1)

    beside_the_loop(told)


class Renaming(Straight):
    """Gives any name the first Service's reply, by asking the cache, and the cluster behind it."""

    cacheable = heeds_denials = True

    def __init__(self) -> None:
        self.cache: Cache
        self.cluster = Cluster()

    def before(self, query: Query) -> Reply:
        other = query.ask(name(SERVICES[0]), query.rrtype, query.rrclass)
        reply = self.cache.before(other)
        if reply is None:
            made = self.cluster.before(other)
            assert made is not None
            reply = self.cache.after(other, made)
        return reply


def test_a_reply_to_another_name_is_asked_for() -> None:
    def told(stepper: Stepper) -> None:
        renaming = Renaming()
        side = Side("cache 30", stepper, Cluster(), before=(("renaming", renaming),))
        renaming.cache = side.cache
        kept = []
        for passed in (0.0, 0.0, 1.0, 30.0):
            side.now += passed
            kept.append(side.get(OTHER, side.now) is not None)
            side.answer(OTHER)
        assert kept == [False, True, True, False]
        assert renaming.cluster.resolved == 2

    beside_the_loop(told)


class Dated(Straight):
    """Lets replies through as they are until a time, and says so."""

    cacheable = heeds_denials = True

    def __init__(self, until: float) -> None:
        self.validity = Validity(until)
        self.passed = 0

    def after(self, _: Query, reply: Reply) -> Reply:
        self.passed += 1
        return reply.replaced(validity=reply.validity.joined(self.validity))


@pytest.mark.parametrize("place", [0, 1], ids=["one address", "two addresses"])
def test_no_time_that_a_plugin_in_front_has_set_is_outlasted(place: int) -> None:
    def told(stepper: Stepper) -> None:
        dated, turning = Dated(1010.0), loadbalance.RoundRobin()
        side = Side("cache 30", stepper, Cluster(), before=(("dated", dated), ("loadbalance", turning)))
        sent = datagram(SERVICES[place])
        for _ in range(3):
            side.get(sent, side.now) or side.answer(sent)
        before = dated.passed
        for passed in (10.0, 30.0):
            side.now += passed
            assert side.get(sent, side.now) is None
            side.answer(sent)
        assert dated.passed == before + 2

    beside_the_loop(told)


def test_a_batch_that_was_held_up_is_told_no_more_than_the_whole_time() -> None:
    """Another listener's entry has begun anew since its datagrams were read."""

    def told(stepper: Stepper) -> None:
        side = Answering("cache 30", stepper)
        side.keep(WITH_EDNS, PLAIN)
        side.now += 40
        side.ask(WITH_EDNS)
        side.now -= 5
        assert ttl_of(side.ask(PLAIN)) == 30
        assert side.spared == 2

    beside_the_loop(told)


def test_no_counter_goes_down_while_a_scrape_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is exposed is made family by family, and queries are answered in between."""

    def told(stepper: Stepper) -> None:
        side = Answering("cache 30", stepper)
        monkeypatch.setitem(metrics.fold_first, side, side.wirecache.fold)
        side.keep(PLAIN)
        before = scraped(side, lambda: None)

        def ask() -> None:
            side.now += 30
            assert ttl_of(side.ask(PLAIN)) == 30

        after = scraped(side, ask)
        assert before.keys() == after.keys()
        assert [name for name, value in before.items() if after[name] < value] == []
        assert side.spared == len(FAMILIES)

    beside_the_loop(told)


def scraped(side: Answering, between: Callable[[], None]) -> dict[tuple[str, ...], float]:
    """Return a cache's counters as a scrape sees them, with something happening before each family is made."""
    metrics.fold()
    shown = {}
    server, made = side.cache.listeners[0].labels.server, iter(counters.families())
    for wanted in FAMILIES:
        between()
        family = next(made)
        assert family.name == wanted
        for sample in family.samples:
            if sample.labels["server"] == server:
                shown[sample.name, *sample.labels.values()] = sample.value
    return shown
