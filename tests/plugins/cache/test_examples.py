"""What CoreDNS does with each kind of reply, as time passes: the clock is turned by hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import dns.message
import pytest

from kubedns.plugin.contract import ResolveError
from kubedns.wire.edns import Edns
from kubedns.wire.numbers import AD
from tests.plugins.cache.caching import DO, NAME, NO_DO, SOA, UNREACHABLE, Caching, Said, ask, message
from tests.plugins.helpers import run

if TYPE_CHECKING:
    from kubedns.wire.query import Query
    from kubedns.wire.reply import Reply

A = "NOERROR RA / @ {} A 192.0.2.1"
NEGATIVE = "NXDOMAIN / +" + SOA


def block(*lines: str) -> str:
    return "cache {\n" + "\n".join(lines) + "\n}"


# For each: the directive, the backend's reply, and by time the TTL that is seen (- : no record) and how often the
# backend has been asked by then.
TIMES: dict[str, tuple[str, str, list[tuple[float, int | None, int]]]] = {
    "1 counts down": ("cache", A.format(60), [(0, 60, 1), (10.9, 50, 1), (59.9, 1, 1), (60, 60, 2)]),
    "2 capped at once": ("cache 30", A.format(300), [(0, 30, 1), (29.9, 1, 1), (30, 30, 2)]),
    "3 no less than MINTTL": ("cache", A.format(1), [(0, 5, 1), (4.9, 1, 1), (5, 5, 2)]),
    "3 nor from nothing": ("cache", A.format(0), [(0, 5, 1), (4.9, 1, 1), (5, 5, 2)]),
    "4 MINTTL 0": (block("success 9984 3600 0"), A.format(0), [(0, 0, 1), (0, 0, 2)]),
    "5 a longer cap": (block("success 9984 7200"), A.format(86400), [(0, 7200, 1), (7199, 1, 1)]),
    "6 one TTL for all": (
        "cache",
        "NOERROR / @ 3600 CNAME b.org. / b.org. 30 A 192.0.2.1",
        [(0, 30, 1), (10, 20, 1), (30, 30, 2)],
    ),
    "7 NXDOMAIN": ("cache", NEGATIVE.format(3600), [(0, 1800, 1), (1, 1799, 1), (1800, 1800, 2)]),
    "7 NODATA": ("cache", "NOERROR / +" + SOA.format(7), [(0, 7, 1), (6.9, 1, 1), (7, 7, 2)]),
    "8 NXDOMAIN without SOA": ("cache", "NXDOMAIN", [(0, None, 1), (0, None, 2)]),
    "9 an alias to nowhere": ("cache", "NOERROR / @ 60 CNAME t1.org.", [(0, 60, 1), (0, 60, 2)]),
    "9 with its SOA": ("cache", "NOERROR / @ 60 CNAME t1.org. / +" + SOA.format(50), [(0, 50, 1), (1, 49, 1)]),
    "10 NXDOMAIN with an alias": (
        "cache",
        "NXDOMAIN / @ 60 CNAME t1.org. / +" + SOA.format(60),
        [(0, 5, 1), (0, 5, 2)],
    ),
    "11 SERVFAIL": ("cache", "SERVFAIL", [(0, None, 1), (4.9, None, 1), (5, None, 2)]),
    "11 SERVFAIL with records": ("cache", "SERVFAIL / +" + SOA.format(60), [(0, 5, 1), (2, 3, 1)]),
    "11 SERVFAIL, not": (block("servfail 0"), "SERVFAIL / +" + SOA.format(60), [(0, 0, 1), (0, 0, 2)]),
    "11 SERVFAIL, longer": (block("servfail 30s"), "SERVFAIL", [(0, None, 1), (29, None, 1), (30, None, 2)]),
    "11 NOTIMP": ("cache", "NOTIMP", [(0, None, 1), (4.9, None, 1), (5, None, 2)]),
    "12 REFUSED": ("cache", "REFUSED", [(0, None, 1), (0, None, 2)]),
    "12 FORMERR": ("cache", "FORMERR / +" + SOA.format(60), [(0, 5, 1), (0, 5, 2)]),
    "29 keepttl": (block("keepttl"), A.format(60), [(0, 60, 1), (30, 60, 1), (59.9, 60, 1), (60, 60, 2)]),
    "truncated": ("cache", "NOERROR TC / @ 60 A 192.0.2.1", [(0, 60, 1), (0, 60, 2)]),
    "SERVFAIL, truncated": ("cache", "SERVFAIL TC", [(0, None, 1), (0, None, 2)]),
    "referral": ("cache", "NOERROR / +example.org. 60 NS ns.example.org.", [(0, 5, 1), (4.9, 1, 1), (5, 5, 2)]),
    "nothing at all": ("cache", "NOERROR", [(0, None, 1), (4.9, None, 1), (5, None, 2)]),
    "no answer but additional": ("cache", "NOERROR / *x.org. 60 A 192.0.2.1", [(0, 60, 1), (59, 1, 1)]),
    "two aliases of a name": (
        "cache",
        "NOERROR / @ 60 CNAME a.org. / @ 60 CNAME b.org. / b.org. 60 A 192.0.2.1",
        [(0, 60, 1), (0, 60, 2)],
    ),
    "an alias twice": (
        "cache",
        "NOERROR / @ 60 CNAME B.org. / @ 60 CNAME b.org. / b.Org. 60 A 192.0.2.1",
        [(0, 60, 1), (59, 1, 1)],
    ),
    "aliases in a loop": (
        "cache",
        "NOERROR / @ 60 CNAME b.org. / b.org. 60 CNAME www.example.org. / b.org. 60 A 192.0.2.1",
        [(0, 60, 1), (0, 60, 2)],
    ),
    "records of another name": ("cache", "NOERROR / x.org. 60 A 192.0.2.1", [(0, 60, 1), (0, 60, 2)]),
    "the least of all sections": (
        "cache",
        "NOERROR / @ 60 A 192.0.2.1 / +example.org. 50 NS ns.example.org. / *ns.example.org. 40 A 192.0.2.2",
        [(0, 40, 1), (39, 1, 1), (40, 40, 2)],
    ),
    "a limit above its cap": (block("success 9984 10 20"), A.format(60), [(0, 10, 1), (10, 10, 2)]),
    "denial's own limits": (block("denial 9984 20 10"), NEGATIVE.format(5), [(0, 10, 1), (9.9, 1, 1), (10, 10, 2)]),
    "success alone": (block("disable denial"), NEGATIVE.format(60), [(0, 60, 1), (1, 60, 2)]),
    "denial alone": (block("disable success"), A.format(60), [(0, 60, 1), (1, 60, 2)]),
    "30 a zone without denial": (block("disable denial example.org"), NEGATIVE.format(60), [(0, 60, 1), (1, 60, 2)]),
    "30 positive ones there": (block("disable denial example.org"), A.format(60), [(0, 60, 1), (1, 59, 1)]),
    "30 another zone": (block("disable denial xample.org"), NEGATIVE.format(60), [(0, 60, 1), (1, 59, 1)]),
}


@pytest.mark.parametrize(("line", "says", "times"), TIMES.values(), ids=TIMES)
def test_as_time_passes(line: str, says: str, times: list[tuple[float, int | None, int]]) -> None:
    async def told() -> None:
        caching = Caching(line, says)
        for at, ttl, asked in times:
            said = await caching.said(at=at)
            assert (at, set(said.ttls), caching.asked) == (at, set() if ttl is None else {ttl}, asked)

    run(told())


def test_flags_of_a_hit() -> None:
    """AA is set, RA stays."""

    async def told() -> None:
        caching = Caching("cache", A.format(60))
        assert await caching.said() == Said("NOERROR", (60,), "RA", ("192.0.2.1",))
        assert await caching.said(at=10.9) == Said("NOERROR", (50,), "AA RA", ("192.0.2.1",))

    run(told())


def test_a_failure_that_is_no_reply_is_not_kept() -> None:
    async def told() -> None:
        caching = Caching("cache", UNREACHABLE)
        for number in (1, 2):
            with pytest.raises(ResolveError):
                await caching.reply()
            assert caching.asked == number

    run(told())


KEYS = [
    ("13 with DO", ask(edns=DO), 2),
    ("13 with CD", ask(flags=0x0110), 2),
    ("13 with EDNS alone", ask(edns=NO_DO), 1),
    ("15 other letters", ask("WWW.Example.org."), 1),
    ("another type", ask(rrtype="AAAA"), 2),
    ("another name", ask("ww.example.org."), 2),
    ("without RD", ask(flags=0), 1),
    ("over TCP", ask(transport="tcp"), 1),
]


@pytest.mark.parametrize(("query", "asked"), [row[1:] for row in KEYS], ids=[row[0] for row in KEYS])
def test_what_makes_another_entry(query: Query, asked: int) -> None:
    async def told() -> None:
        caching = Caching("cache", A.format(60))
        await caching.reply()
        await caching.reply(query)
        assert caching.asked == asked

    run(told())


def test_16_classes_are_apart() -> None:
    async def told() -> None:
        caching = Caching("cache", "NOERROR / @ 60 TXT x")
        queries = [dns.message.make_query(NAME, "TXT", rdclass) for rdclass in ("IN", "CH")]
        for number, query in enumerate(queries, 1):
            asked = ask(rrtype="TXT")
            asked = type(asked)(asked.id, asked.flags, query.to_wire()[12:], asked.client)
            await caching.reply(asked)
            await caching.reply(asked)
            assert caching.asked == (1 if number == 1 else 3)  # the CH one has a record of class IN: not kept

    run(told())


def test_14_ad_is_told_to_those_who_want_it() -> None:
    """Whoever asks first: the question that goes down always has it."""

    async def told() -> None:
        for first, second in ((0, AD), (AD, 0)):
            caching = Caching("cache", reply_with_ad)
            for flags in (first, second, first, second):
                said = await caching.said(ask(flags=0x0100 | flags))
                assert ("AD" in said.flags) == bool(flags)
            assert caching.asked == 1
            assert "AD" in (await caching.said(ask(edns=DO))).flags

    def reply_with_ad(query: Query) -> Reply:
        assert query.adds & AD
        return message(query, "NOERROR AD / @ 60 A 192.0.2.1")

    run(told())


def test_15_letters_are_the_clients_own() -> None:
    async def told() -> None:
        caching = Caching("cache", A.format(60))
        await caching.said()
        query = ask("WWW.Example.ORG.")
        read = dns.message.from_wire((await caching.reply(query)).octets(query))
        assert read.question[0].name.to_text() == "WWW.Example.ORG."

    run(told())


def test_31_names_of_other_zones_pass() -> None:
    async def told() -> None:
        caching = Caching("cache example.org", "NOERROR / @ 86400 A 192.0.2.1")
        query = ask("www.example.com.", edns=NO_DO)
        reply = await caching.reply(query)
        assert reply.edns is not None
        assert await caching.reply(query) is not reply
        assert [query.flags & AD for query in caching.backend.asked] == [0, 0]
        assert caching.counters.requests.value == 0
        assert reply.answer[0].ttl == 86400

    run(told())


COOKIE = bytes.fromhex("000a0008") + b"8octets."
ECS = bytes.fromhex("00080007000118") + b"\0\xc0\0\2"


def test_33_options_are_the_clients_own() -> None:
    """COOKIE comes back, ECS does not; what the upstream sent is lost."""

    async def told() -> None:
        caching = Caching("cache", A.format(60))
        for _ in range(2):
            query = ask(edns=NO_DO + COOKIE + ECS)
            read = dns.message.from_wire((await caching.reply(query)).octets(query))
            assert (read.edns, read.payload, read.ednsflags & 0x8000) == (0, 1232, 0)
            assert [int(option.otype) for option in read.options] == [10]
        assert caching.asked == 1

    run(told())


def test_what_is_for_one_subnet_is_for_nobody_else() -> None:
    """RFC 7871 §7.3.1: an upstream that tells a scope made its reply for the client's network."""

    async def told() -> None:
        caching = Caching("cache", "")
        for scope, asked in ((0, 1), (24, 3)):
            subnet = bytes.fromhex("000118") + bytes([scope]) + b"\xc0\0\2"
            caching.backend.says = lambda query, subnet=subnet: with_option(query, subnet)
            query = ask(f"scope{scope}.example.org.", edns=NO_DO + ECS)
            await caching.reply(query)
            await caching.reply(query)
            assert caching.asked == asked

    def with_option(query: Query, subnet: bytes) -> Reply:
        reply = message(query, A.format(60))
        reply.edns = Edns(1232, 0, 0, ((8, subnet),))
        return reply

    run(told())


SIGNED = "NOERROR / @ 60 A 192.0.2.1 / @ 60 RRSIG A 8 3 60 {} {} 1 example.org. AAAA"


@pytest.mark.parametrize(
    ("until", "since", "kept"),
    [
        ("20261001000000", "20260101000000", True),
        ("20260102000000", "20260101000000", False),
        ("20271001000000", "20270101000000", False),
    ],
    ids=["in force", "out of date", "not yet"],
)
def test_signatures_out_of_date(until: str, since: str, *, kept: bool) -> None:
    """They pass, but are not kept; a client that does not want them may have them."""

    async def told() -> None:
        caching = Caching("cache", SIGNED.format(until, since))
        assert await caching.ttl(0, ask(edns=DO)) == (60 if kept else 5)
        await caching.reply(ask(edns=DO))
        assert caching.asked == 1 + (not kept)

    run(told())


@pytest.mark.parametrize("rrtype", ["AXFR", "IXFR"])
def test_transfers_are_not_kept(rrtype: str) -> None:
    async def told() -> None:
        caching = Caching("cache", "NOERROR / " + SOA.format(60))
        query = ask("example.org.", rrtype)
        assert await caching.ttl(0, query) == 5
        await caching.reply(query)
        assert caching.asked == 2

    run(told())


@pytest.mark.parametrize(("rrtype", "text"), [("CNAME", "@ 60 CNAME t1.org."), ("ANY", "@ 60 TXT x")])
def test_alias_and_any_are_answers(rrtype: str, text: str) -> None:
    async def told() -> None:
        caching = Caching("cache", f"NOERROR / {text}")
        for at, ttl in ((0, 60), (1, 59)):
            assert await caching.ttl(at, ask(rrtype=rrtype)) == ttl
        assert caching.asked == 1

    run(told())


def test_counters() -> None:
    async def told() -> None:
        caching = Caching("cache", A.format(60))
        for _ in range(3):
            await caching.reply()
        caching.backend.says = NEGATIVE.format(60)
        for _ in range(2):
            await caching.reply(ask("x.example.org."))
        counters = caching.counters
        assert (counters.requests.value, counters.misses.value) == (5, 2)
        assert {kind: count.value for kind, count in counters.hits.items()} == {"success": 2, "denial": 1}
        reply = await caching.reply()
        assert [tally.value for tally in reply.tallies] == [6, 3]  # requests and hits are what a further giving adds to

    run(told())


def test_a_hit_is_one_object_a_second() -> None:
    async def told() -> None:
        caching = Caching("cache", A.format(60))
        first = await caching.reply()
        assert first.validity.never
        hits = [await caching.reply(at=at) for at in (0.5, 0.9, 1.0, 1.9, 2.5)]
        assert [hits[0] is hits[1], hits[1] is hits[2], hits[2] is hits[3], hits[3] is hits[4]] == [
            True,
            False,
            True,
            False,
        ]
        assert [hit.validity.until for hit in hits] == [1001.0, 1001.0, 1002.0, 1002.0, 1003.0]

    run(told())


def test_many_at_a_time_that_miss_each_ask() -> None:
    """It is for the plugin that asks upstreams to let equal questions share one."""

    async def told() -> None:
        caching = Caching("cache", A.format(60))
        caching.backend.held = asyncio.Event()
        waiting = [asyncio.create_task(caching.said()) for _ in range(20)]
        await caching.settle()
        caching.backend.held.set()
        assert {said.ttls for said in await asyncio.gather(*waiting)} == {(60,)}
        assert caching.asked == 20

    run(told())
