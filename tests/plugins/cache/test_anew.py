"""Entries that run out while nothing has changed begin anew in the wire cache, as if the plugins had been asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from kubedns import metrics
from kubedns.wire.numbers import RRType
from plugins.cache import counters
from plugins.cache.store import UNKNOWN
from tests.plugins.cache.clustered import (
    AWAY,
    CAPITALS,
    MANY,
    PLACES,
    PLAIN,
    SERVICES,
    WITH_EDNS,
    Answering,
    Asking,
    ttl_of,
)
from tests.plugins.cache.wired import beside_the_loop
from tests.wire.asking import TCP, UDP, datagram, opt, with_opt

if TYPE_CHECKING:
    from kubedns.server.stepping import Stepper
    from kubedns.wire.client import Peer

FAMILIES = [
    f"coredns_cache_{name}"
    for name in ("entries", "requests", "misses", "prefetch", "drops", "served_stale", "hits", "evictions")
]


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
