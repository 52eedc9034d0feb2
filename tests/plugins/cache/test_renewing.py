"""Entries renewed before they run out, and given after that."""

from __future__ import annotations

import asyncio

import pytest

from kubedns.plugin.contract import ResolveError
from plugins.cache.renewing import MOST_TASKS
from tests.plugins.cache.caching import SOA, UNREACHABLE, Caching, Said, ask, message
from tests.plugins.helpers import run

A = "NOERROR / @ {} A 192.0.2.1"
OTHER = "NOERROR / @ {} A 192.0.2.2"
GONE = "NXDOMAIN / +" + SOA
OLD = Said("NOERROR", (0,), "AA", ("192.0.2.1",))


def block(*lines: str) -> str:
    return "cache {\n" + "\n".join(lines) + "\n}"


def test_17_prefetch() -> None:
    async def told() -> None:
        caching = Caching(block("prefetch 1"), A.format(80))
        assert await caching.ttl(0) == 80
        assert await caching.ttl(60) == 20
        assert await caching.ttl(73) == 7
        await caching.settle()
        assert caching.asked == 2
        assert await caching.ttl(80) == 73
        assert [query.client.transport for query in caching.backend.asked] == ["udp", "tcp"]
        assert all((query.flags | query.adds) & 0x20 for query in caching.backend.asked)
        assert caching.counters.prefetches.value == 1

    run(told())


def test_what_is_renewed_is_given_at_once() -> None:
    """Whoever keeps the octets of what was given before asks again; not so where nothing came of it."""

    async def told() -> None:
        caching = Caching(block("prefetch 2"), A.format(80))
        await caching.reply()
        await caching.reply(at=72.1)
        caching.backend.says = A.format(60)
        before = await caching.reply(at=72.2)
        assert before.lasting.holds(1072.3)
        await caching.settle()
        assert caching.asked == 2
        assert not before.lasting.holds(1072.3)
        assert await caching.ttl(72.3) == 60
        caching.backend.says = UNREACHABLE
        before = await caching.reply(at=127)
        await caching.settle()
        assert caching.asked == 3
        assert before.lasting.holds(1127.1)

    run(told())


@pytest.mark.parametrize(("says", "then"), [(A.format(80), GONE), (GONE, A.format(80))], ids=["gone", "there"])
def test_a_renewal_of_another_kind_is_given_at_once(says: str, then: str) -> None:
    """A name that is there no longer, or is there now: the new entry is not where the old one is."""

    async def told() -> None:
        caching = Caching(block("prefetch 1"), says.format(80))
        end = await caching.ttl(0)
        caching.backend.says = then.format(80)
        before = await caching.reply(at=end - 5)
        assert before.lasting.holds(1000 + end - 4.9)
        await caching.settle()
        assert caching.asked == 2
        assert (await caching.said(at=end - 4.9)).rcode == then.split(maxsplit=1)[0]
        assert not before.lasting.holds(1000 + end - 4.9)

    run(told())


def test_17_prefetch_of_the_shortest() -> None:
    async def told() -> None:
        caching = Caching(block("prefetch 1"), A.format(5))
        for at, asked in ((0, 1), (3.9, 1), (4, 2), (5, 2)):
            await caching.reply(at=at)
            await caching.settle()
            assert (at, caching.asked) == (at, asked)

    run(told())


@pytest.mark.parametrize(
    ("times", "asked"),
    [((0, 10, 20, 60), 1), ((0, 10, 20, 50), 2), ((0, 50, 51, 52), 2), ((0, 50, 51), 1)],
    ids=["18 a gap", "no gap", "three at the end", "two at the end"],
)
def test_18_prefetch_of_the_popular(times: tuple[float, ...], asked: int) -> None:
    async def told() -> None:
        caching = Caching(block("prefetch 3 30s 90%"), A.format(61))
        caching.backend.says = A.format(61)
        for at in times:
            await caching.reply(at=at)
            await caching.settle()
        assert caching.asked == asked

    run(told())


def test_popular_stays_popular() -> None:
    """Hits are carried over to the entry that takes the old one's place."""

    async def told() -> None:
        caching = Caching(block("prefetch 3 30s"), A.format(20))
        for at, asked in ((0, 1), (16, 1), (17, 1), (18, 2), (36, 3)):
            await caching.reply(at=at)
            await caching.settle()
            assert (at, caching.asked) == (at, asked)

    run(told())


def test_hits_that_never_came_here_count() -> None:
    """A reply that was given again by others tells how often."""

    async def told() -> None:
        caching = Caching(block("prefetch 10"), A.format(80))
        await caching.reply()
        reply = await caching.reply(at=60)
        for tally in reply.tallies:
            tally.value += 8
        await caching.reply(at=73)
        await caching.settle()
        assert caching.asked == 2
        assert caching.counters.hits["success"].value == 10

    run(told())


def test_19_many_hits_renew_once() -> None:
    async def told() -> None:
        caching = Caching(block("prefetch 1"), A.format(80))
        await caching.reply()
        caching.backend.held = asyncio.Event()
        for _ in range(200):
            assert await caching.ttl(75) == 5
        await caching.settle()
        assert caching.asked == 2
        caching.backend.held.set()
        await caching.settle()
        assert await caching.ttl(76) == 79

    run(told())


@pytest.mark.parametrize(
    "says", ["SERVFAIL", "REFUSED", "NOERROR TC / @ 9 A 192.0.2.9", UNREACHABLE, RuntimeError("odd")], ids=repr
)
def test_a_prefetch_that_fails_changes_nothing(says: str | Exception) -> None:
    async def told() -> None:
        caching = Caching(block("prefetch 1"), A.format(80))
        await caching.reply()
        caching.backend.says = says
        for at in (73, 74):
            assert await caching.said(at=at) == Said("NOERROR", (80 - at,), "AA", ("192.0.2.1",))
            await caching.settle()
        assert caching.asked == 3

    run(told())


def test_a_prefetch_that_finds_nothing() -> None:
    async def told() -> None:
        caching = Caching(block("prefetch 1"), A.format(80))
        await caching.reply()
        caching.backend.says = GONE.format(30)
        await caching.reply(at=75)
        await caching.settle()
        assert (await caching.said(at=76)).rcode == "NXDOMAIN"
        assert caching.asked == 2

    run(told())


def test_renewals_are_bounded() -> None:
    async def told() -> None:
        caching = Caching(block("prefetch 1", "success 10000"), A.format(80))
        queries = [ask(f"n{number}.example.org.") for number in range(MOST_TASKS + 50)]
        for query in queries:
            await caching.reply(query)
        caching.backend.held = asyncio.Event()
        for query in queries:
            await caching.reply(query, at=75)
        await caching.settle()
        assert caching.asked == len(queries) + MOST_TASKS
        await caching.cache.stop()
        caching.backend.held = None
        await caching.reply(queries[0], at=76)
        await caching.settle()
        assert caching.asked == len(queries) + MOST_TASKS + 1

    run(told())


def test_20_stale() -> None:
    async def told() -> None:
        caching = Caching(block("serve_stale"), A.format(60))
        await caching.reply()
        caching.backend.says = UNREACHABLE
        for at in (60, 1800, 3659.9):
            assert await caching.said(at=at) == OLD
            await caching.settle()
        with pytest.raises(ResolveError):
            await caching.reply(at=3660)
        counters = caching.counters
        assert (counters.served_stale.value, counters.hits["success"].value, counters.misses.value) == (3, 3, 2)
        assert counters.prefetches.value == 3

    run(told())


def test_a_stale_reply_is_for_one_query() -> None:
    async def told() -> None:
        caching = Caching(block("serve_stale"), A.format(60))
        await caching.reply()
        assert (await caching.reply(at=70)).validity.never

    run(told())


def test_21_stale_with_a_ttl() -> None:
    async def told() -> None:
        caching = Caching(block("serve_stale 1h immediate 30s"), A.format(60))
        await caching.reply()
        caching.backend.held = asyncio.Event()
        assert [await caching.ttl(at) for at in (10, 59.9, 60, 180)] == [50, 1, 30, 30]

    run(told())


def test_22_stale_denial() -> None:
    async def told() -> None:
        caching = Caching(block("serve_stale 1h immediate 25s"), GONE.format(60))
        await caching.reply()
        caching.backend.says = UNREACHABLE
        assert (await caching.said(at=70))[:2] == ("NXDOMAIN", (25,))
        assert caching.counters.hits["denial"].value == 1

    run(told())


@pytest.mark.parametrize(
    ("says", "said", "after"),
    [
        (OTHER.format(200), Said("NOERROR", (200,), "", ("192.0.2.2",)), 3),
        ("SERVFAIL", OLD, 3),
        ("REFUSED", OLD, 3),
        (UNREACHABLE, OLD, 3),
        ("NOERROR TC / @ 200 A 192.0.2.2", OLD, 3),
        ("NOERROR / @ 200 CNAME nowhere.org.", OLD, 3),
        ("NXDOMAIN", OLD, 3),
        (GONE.format(9), Said("NXDOMAIN", (9,), "", ("ns.example.org. mail.example.org. 1 2 3 4 60",)), 2),
    ],
    ids=[
        "other answer",
        "SERVFAIL",
        "REFUSED",
        "unreachable",
        "truncated",
        "half an answer",
        "NXDOMAIN alone",
        "NXDOMAIN",
    ],
)
def test_23_verify(says: str | Exception, said: Said, after: int) -> None:
    async def told() -> None:
        caching = Caching(block("serve_stale 1h verify"), A.format(60))
        await caching.reply()
        caching.backend.says = says
        assert await caching.said(at=70) == said
        assert caching.backend.asked[-1].client.transport == "udp"
        await caching.reply(at=71)
        assert caching.asked == (after if said == OLD else 2)
        assert caching.counters.served_stale.value == (2 if said == OLD else 0)

    run(told())


def test_24_verify_in_time() -> None:
    """A slow upstream is not waited for; what it says in the end is kept."""

    async def told() -> None:
        caching = Caching(block("serve_stale 1h verify 50ms 30s"), A.format(60))
        await caching.reply()
        caching.backend.says = OTHER.format(60)
        caching.backend.held = asyncio.Event()
        loop = asyncio.get_running_loop()
        before = loop.time()
        assert await caching.said(at=70) == OLD._replace(ttls=(30,))
        assert loop.time() - before == pytest.approx(0.05)
        await asyncio.gather(*(caching.said() for _ in range(10)))
        assert caching.asked == 2  # one at a time for each entry
        caching.backend.held.set()
        await caching.settle()
        assert await caching.said(at=71) == Said("NOERROR", (59,), "AA", ("192.0.2.2",))
        assert caching.asked == 2

    run(told())


def test_24_verified_in_time() -> None:
    async def told() -> None:
        caching = Caching(block("serve_stale 1h verify 50ms 30s"), A.format(60))
        await caching.reply()
        caching.backend.says = OTHER.format(60)
        assert await caching.said(at=70) == Said("NOERROR", (60,), "AA", ("192.0.2.2",))
        caching.backend.says = "SERVFAIL"
        assert await caching.said(at=140) == Said("NOERROR", (30,), "AA", ("192.0.2.2",))

    run(told())


@pytest.mark.parametrize("mode", ["immediate", "verify 0", "verify 50ms"])
def test_25_no_renewal_soon_after_one_that_failed(mode: str) -> None:
    async def told() -> None:
        caching = Caching(block(f"serve_stale 1h {mode} 30s 30s"), A.format(60))
        await caching.reply()
        caching.backend.says = "SERVFAIL"
        for at, asked in ((70, 2), (71, 2), (99.9, 2), (100, 3), (101, 3)):
            assert await caching.ttl(at) == 30
            await caching.settle()
            assert (at, caching.asked) == (at, asked)

    run(told())


def test_verified_by_one_while_others_are_given_what_there_is() -> None:
    async def told() -> None:
        caching = Caching(block("serve_stale 1h verify 0 30s 30s"), A.format(60))
        await caching.reply()
        caching.backend.held = asyncio.Event()
        first = asyncio.create_task(caching.said(at=70))
        await caching.settle()
        assert await caching.ttl(70) == 30
        caching.backend.held.set()
        assert (await first).ttls == (60,)

    run(told())


def test_stale_and_found_again() -> None:
    """A renewal that succeeds takes the place of what was denied."""

    async def told() -> None:
        caching = Caching(block("serve_stale"), GONE.format(60))
        await caching.reply()
        caching.backend.says = A.format(60)
        assert (await caching.said(at=70)).rcode == "NXDOMAIN"
        await caching.settle()
        assert await caching.ttl(71) == 59

    run(told())


def test_27_what_was_known_before_a_failure() -> None:
    """SERVFAIL beside an answer that has not run out, or is stale: the answer."""

    async def told() -> None:
        caching = Caching(block("serve_stale"), A.format(60))
        await caching.reply()
        other = Caching("cache", "SERVFAIL", caching.cache.store)
        other.cache.store.success.remove(b"none")
        query = ask()
        await caching.reply(query)
        caching.cache.take(query, message(query, "SERVFAIL"), caching.cache.listeners[0], 1000.0)
        assert (await caching.said(at=1)).rcode == "NOERROR"
        assert await caching.said(at=61) == OLD

    run(told())


@pytest.mark.parametrize(("policy", "rcode"), [("", "NXDOMAIN"), ("serve_stale_policy prefer_positive", "NOERROR")])
def test_28_policy(policy: str, rcode: str) -> None:
    async def told() -> None:
        caching = Caching(block("serve_stale", policy) if policy else block("serve_stale"), A.format(60))
        query = ask()
        await caching.reply(query)
        caching.cache.take(query, message(query, GONE.format(900)), caching.cache.listeners[0], 1060.0)
        caching.backend.says = GONE.format(900)
        assert (await caching.said(at=70)).rcode == rcode

    run(told())


POLICY = "serve_stale_policy prefer_positive"


@pytest.mark.parametrize("mode", ["immediate", "verify", "verify 50ms"])
@pytest.mark.parametrize("says", [GONE.format(300), "NOERROR / +" + SOA.format(300), "NOERROR", "SERVFAIL"])
def test_policy_prefers_what_answers(mode: str, says: str) -> None:
    """Whatever comes in its place does not: the answer stays for as long as such are given."""

    async def told() -> None:
        caching = Caching(block(f"serve_stale 1h {mode}", POLICY), A.format(60))
        await caching.reply()
        caching.backend.says = says
        for at in (70, 80, 3650):
            assert await caching.said(at=at) == OLD
            await caching.settle()
        caching.backend.says = OTHER.format(60)
        if mode == "immediate":
            assert await caching.said(at=3655) == OLD
            await caching.settle()
        assert (await caching.said(at=3656)).texts == ("192.0.2.2",)

    run(told())


def test_stale_keepttl() -> None:
    async def told() -> None:
        for mode, ttl in (("immediate", 60), ("immediate 7s", 7)):
            caching = Caching(block(f"serve_stale 1h {mode}", "keepttl"), A.format(60))
            await caching.reply()
            caching.backend.says = UNREACHABLE
            assert [await caching.ttl(at) for at in (59, 60, 61)] == [60, ttl, ttl]

    run(told())
