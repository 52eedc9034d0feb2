"""Where another plugin of the block has a say, entries that run out are asked for, as without a wire cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kubedns import metrics
from kubedns.plugin.straight import Straight
from kubedns.wire.name import name
from kubedns.wire.numbers import AA, Rcode
from kubedns.wire.records import soa
from kubedns.wire.reply import Reply
from kubedns.wire.validity import UNTIL_RELOAD, Validity
from plugins import loadbalance
from plugins.cache import Cache
from tests.plugins.cache.clustered import (
    OTHER,
    PLAIN,
    SERVICES,
    TTL,
    ZONE,
    Answering,
    Asking,
    Cluster,
    ttl_of,
)
from tests.plugins.cache.wired import Side, beside_the_loop
from tests.wire.asking import datagram

if TYPE_CHECKING:
    from kubedns.server.stepping import Stepper
    from kubedns.wire.query import Query


@pytest.mark.parametrize("seconds", [1000, 10], ids=["longer than its TTL", "shorter"])
def test_what_is_only_true_for_a_time_is_asked_for(seconds: float) -> None:
    def told(stepper: Stepper) -> None:
        side = Answering("cache 30", stepper)
        side.upstream.until = side.now + seconds
        side.keep(PLAIN)
        side.now += min(seconds, 30)
        side.upstream.until += 1000
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


class Denying(Straight):
    """Has nothing below a parent, and says so."""

    cacheable = heeds_denials = True

    def before(self, query: Query) -> Reply:
        records = [soa(ZONE, ZONE, ZONE, TTL, serial=1, times=(1, 2, 3, 4))]
        reply = Reply((), records, rcode=Rcode.NXDOMAIN, flags=AA, validity=UNTIL_RELOAD, suffix=ZONE)
        return reply.replaced(denies=query.name[query.name[0] + 1 :])


def test_names_that_are_denied_together_count_down_together_where_each_is_kept_alone() -> None:
    """A plugin of the block does not heed denials; to begin anew would show another TTL than asking."""

    def told(stepper: Stepper) -> None:
        shown = []
        for kind in (Asking, Cache):
            side = Side("cache 30", stepper, Denying(), kind=kind, denials=False)
            for place, passed in ((0, 0.0), (0, 0.0), (1, 20.0), (1, 0.0), (0, 15.0), (1, 5.0)):
                side.now += passed
                sent = datagram(SERVICES[place])
                octets = side.get(sent, side.now) or side.answer(sent)
                assert isinstance(octets, bytes)
                shown.append(ttl_of(octets))
        assert shown == [30, 30, 10, 10, 30, 25] * 2

    beside_the_loop(told)


class Counting(Denying):
    """Counts what it is asked, and what is given without."""

    def __init__(self) -> None:
        self.count = metrics.Count()

    def before(self, query: Query) -> Reply:
        self.count.value += 1
        reply = super().before(query).alone()
        reply.tallies = (self.count,)
        return reply


def test_a_plugin_that_counts_is_asked() -> None:
    def told(stepper: Stepper) -> None:
        counting = Counting()
        side = Side("cache 30", stepper, counting)
        for asked in (1, 1, 1, 2, 2, 3):
            if asked > counting.count.value:
                side.now += 30
            side.get(PLAIN, side.now) or side.answer(PLAIN)
            side.wirecache.fold()
            assert counting.count.value == asked

    beside_the_loop(told)
