"""One datagram to one reply: which server block answers, and what becomes of plugins' mistakes."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from kubedns import metrics
from kubedns.plugin.contract import ResolveError
from kubedns.server.chain import link_chain
from kubedns.server.dispatch import Dispatcher, Served
from kubedns.wire.numbers import Rcode
from kubedns.wire.records import RR, address, txt
from kubedns.wire.reply import Reply
from tests.server.running import Stepped, stepping
from tests.wire.asking import (
    AA,
    CD,
    NOTIFY,
    QR,
    RD,
    TCP,
    UDP,
    UPDATE,
    datagram,
    edns_query,
    header,
    opt,
    option,
    question,
    record,
    wire,
    with_opt,
)

if TYPE_CHECKING:
    from kubedns.plugin.contract import Next
    from kubedns.wire.client import Peer
    from kubedns.wire.query import Query

DS = 43


@pytest.fixture
def stepped() -> Iterator[Stepped]:
    with stepping() as made:
        yield made


class Says:
    """Answers every query with its own text."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def resolve(self, query: Query, _: Next) -> Reply:
        return await self.resolve_alone(query)

    async def resolve_alone(self, query: Query) -> Reply:
        return Reply([txt(query.name, self.text, 0)], flags=AA)


class Does:
    """Answers by a function."""

    def __init__(self, function: Callable[[Query], Awaitable[Reply]]) -> None:
        self.function = function

    async def resolve(self, query: Query, _: Next) -> Reply:
        return await self.function(query)


def served(zone: str, *plugins: Says | Does) -> Served:
    return Served(zone, link_chain([("test", plugin) for plugin in plugins]))


def zones(*names: str) -> list[Served]:
    """Return blocks that say which zone answers; `-` in front: one without plugins."""
    return [served(name[1:]) if name[0] == "-" else served(name, Says(name)) for name in names]


def ask(
    stepped: Stepped, blocks: list[Served], message: bytes, client: Peer = UDP, *, any_class: bool = False
) -> bytes | None:
    dispatcher = Dispatcher("dns://:53", blocks, stepped.stepper, any_class=any_class)
    reply = stepped.call(lambda: dispatcher.answer(message, client, 0.0))
    octets = stepped.wait(reply) if isinstance(reply, asyncio.Future) else reply
    assert octets is None or isinstance(octets, bytes)
    return octets


def said(octets: bytes | None) -> str:
    """Return a reply's text, or its RCODE."""
    assert octets is not None
    rcode = octets[3] & 15
    return Rcode(rcode).name if rcode else octets[octets.rindex(b"\0\x10\0\1\0\0\0\0") + 11 :].decode()


DISPATCH = {
    "apex": (["example.org."], "example.org.", 16, "example.org."),
    "below": (["example.org."], "a.b.example.org.", 16, "example.org."),
    "other letters": (["example.org."], "A.ExAmPle.oRg.", 16, "example.org."),
    "zone in other letters": (["Example.ORG."], "example.org.", 16, "Example.ORG."),
    "longest zone": (["example.org.", "sub.example.org."], "x.sub.example.org.", 16, "sub.example.org."),
    "longest zone, written first": (["sub.example.org.", "example.org."], "x.sub.example.org.", 16, "sub.example.org."),
    "beside the longer zone": (["example.org.", "sub.example.org."], "x.example.org.", 16, "example.org."),
    "label that only ends in the zone": (["example.org.", "."], "notexample.org.", 16, "."),
    "outside": (["example.org."], "example.net.", 16, "REFUSED"),
    "above": (["example.org."], "org.", 16, "REFUSED"),
    "root name without root block": (["example.org."], ".", 2, "REFUSED"),
    "root block": (["example.org.", "."], "example.net.", 16, "."),
    "root name": (["."], ".", 16, "."),
    "first block of a zone": (["example.org.", "example.org."], "example.org.", 16, "example.org."),
    "zone without plugins": (["-noplug.org."], "noplug.org.", 16, "REFUSED"),
    "zone without plugins, though the root has some": (["-noplug.org.", "."], "a.noplug.org.", 16, "REFUSED"),
    "root without plugins": (["-."], "noplug.org.", 16, "REFUSED"),
    "no block at all": ([], "example.org.", 16, "REFUSED"),
    "DS of a child zone": (["example.org.", "sub.example.org."], "sub.example.org.", DS, "example.org."),
    "DS below a child zone": (["example.org.", "sub.example.org."], "x.sub.example.org.", DS, "example.org."),
    "DS of three zones": (["org.", "example.org.", "a.example.org."], "a.example.org.", DS, "org."),
    "DS of the only zone": (["example.org."], "example.org.", DS, "example.org."),
    "DS not to the root": (["example.org.", "."], "example.org.", DS, "example.org."),
    "DS of nothing else to the root": (["example.org.", "."], "example.net.", DS, "."),
    "DS of the root": (["."], ".", DS, "."),
    "DS outside": (["example.org."], "example.net.", DS, "REFUSED"),
    "DS stopped by a zone without plugins": (["org.", "-example.org."], "example.org.", DS, "REFUSED"),
    "DS stopped by a zone without plugins above": (["-org.", "example.org."], "example.org.", DS, "REFUSED"),
    "DS where the root has no plugins": (["example.org.", "-."], "example.org.", DS, "example.org."),
}


@pytest.mark.parametrize(("names", "name", "rrtype", "expected"), DISPATCH.values(), ids=DISPATCH)
def test_block(stepped: Stepped, names: list[str], name: str, rrtype: int, expected: str) -> None:
    assert said(ask(stepped, zones(*names), datagram(name, rrtype))) == expected


REFUSED = header(QR | RD | 5)
BAD_VERSION = opt(1232, 1 << 16 | 0x8000)
EXCHANGES = {
    "outside all zones": (datagram("example.net."), REFUSED + question("example.net.")),
    "outside all zones, EDNS": (
        with_opt(datagram("example.net."), opt(4096, 0x8000)),
        header(QR | RD | 5, (1, 0, 0, 1)) + question("example.net.") + opt(4096, 0x8000),
    ),
    "outside all zones, every flag": (
        datagram("example.net.", flags=0x07F0),
        header(QR | RD | CD | 5) + question("example.net."),
    ),
    "class CH": (datagram("version.bind.", 16, 3), REFUSED + question("version.bind.", 16, 3)),
    "class ANY": (datagram(rrclass=255), REFUSED + question(rrclass=255)),
    "class HS": (datagram(rrclass=4), REFUSED + question(rrclass=4)),
    "class NONE": (datagram(rrclass=254), REFUSED + question(rrclass=254)),
    "class 0": (datagram(rrclass=0), REFUSED + question(rrclass=0)),
    "name alone": (header() + wire("example.org."), REFUSED + question(rrtype=0, rrclass=0)),
    "EDNS version 1": (
        with_opt(datagram(), BAD_VERSION),
        header(QR | RD, (1, 0, 0, 1)) + question() + opt(0, 1 << 24),
    ),
    "EDNS version 1 outside all zones": (
        with_opt(datagram("example.net."), BAD_VERSION),
        header(QR | RD, (1, 0, 0, 1)) + question("example.net.") + opt(0, 1 << 24),
    ),
    "EDNS version 1, class CH": (
        with_opt(datagram(rrclass=3), BAD_VERSION),
        header(QR | RD | 5, (1, 0, 0, 1)) + question(rrclass=3) + opt(1232, 0x8000),
    ),
    "UPDATE": (header(UPDATE) + question(), header(QR | UPDATE | 4, (0, 0, 0, 0))),
    "no question": (header(RD, (0, 0, 0, 0)), header(QR | RD | 1, (0, 0, 0, 0))),
    "question missing": (header(), header(QR | RD | 2, (0, 0, 0, 0))),
    "LLQ without data": (
        with_opt(datagram(), opt(options=option(1))),
        header(QR | RD | 1) + question(),
    ),
    "NOTIFY": (
        datagram(rrtype=6, flags=NOTIFY | RD | CD),
        header(QR | NOTIFY | AA, (1, 1, 0, 0)) + question(rrtype=6) + record(b"\xc0\x0c", 16, b"\x0cexample.org."),
    ),
    "a response": (datagram(flags=QR), None),
    "11 octets": (datagram()[:11], None),
}


@pytest.mark.parametrize("client", [UDP, TCP], ids=["UDP", "TCP"])
@pytest.mark.parametrize(("message", "expected"), EXCHANGES.values(), ids=EXCHANGES)
def test_exchange(stepped: Stepped, message: bytes, expected: bytes | None, client: Peer) -> None:
    assert ask(stepped, zones("example.org."), message, client) == expected


@pytest.mark.parametrize("rrclass", [3, 4, 254, 255, 0])
def test_any_class(stepped: Stepped, rrclass: int) -> None:
    octets = ask(stepped, zones("example.org."), datagram(rrtype=16, rrclass=rrclass), any_class=True)
    assert octets is not None
    assert struct.unpack("!6H", octets[:12])[1:4] == (QR | AA | RD, 1, 1)


async def wait_and(query: Query, answer: Callable[[Query], Awaitable[Reply]]) -> Reply:
    await asyncio.sleep(0)
    return await answer(query)


async def end(_: Query) -> Reply:
    raise ResolveError("no such luck")


async def refuse(_: Query) -> Reply:
    raise ResolveError("not for you", Rcode.REFUSED)


async def format_error(_: Query) -> Reply:
    raise ResolveError("upstream said so", Rcode.FORMERR)


async def not_implemented(_: Query) -> Reply:
    raise ResolveError("not here", Rcode.NOTIMP)


async def name_error(_: Query) -> Reply:
    raise ResolveError("an answer is no error", Rcode.NXDOMAIN)


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize(
    ("function", "rcode"), [(end, 2), (refuse, 5), (format_error, 1), (not_implemented, 4), (name_error, 2)]
)
def test_resolve_errors(
    stepped: Stepped,
    capsys: pytest.CaptureFixture[str],
    function: Callable[[Query], Awaitable[Reply]],
    rcode: int,
    waits: bool,
) -> None:
    plugin = Does(lambda query: wait_and(query, function)) if waits else Does(function)
    octets = ask(stepped, [served(".", plugin)], with_opt(datagram("ExAmPle.oRg."), opt(4096)))
    assert octets == header(QR | RD | rcode, (1, 0, 0, 1)) + question("ExAmPle.oRg.") + opt(4096)
    assert capsys.readouterr().out == ""


async def mistaken(_: Query) -> Reply:
    raise KeyError("nothing there")


async def recursing(query: Query) -> Reply:
    return await recursing(query)


async def no_reply(_: Query) -> Reply:
    return None  # type: ignore[return-value]


async def rdata_too_long(query: Query) -> Reply:
    return Reply([RR(query.name, 16, 1, 0, bytes(65536))])


async def no_octets(query: Query) -> Reply:
    return Reply([RR(query.name, 16, 1, 0, "text")])  # type: ignore[arg-type]


async def half_a_name(query: Query) -> Reply:
    return Reply([RR(query.name, 5, 1, 0, b"\3ab")])


async def negative_ttl(query: Query) -> Reply:
    return Reply([address(query.name, bytes(4), -1)])


async def cancelled_elsewhere(_: Query) -> Reply:
    future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    future.cancel()
    return await future


MISTAKES = {
    "exception": (mistaken, "KeyError: 'nothing there'"),
    "recursion": (recursing, "RecursionError: maximum recursion depth exceeded"),
    "no reply": (no_reply, "TypeError: "),
    "RDATA too long": (rdata_too_long, "OverflowError: "),
    "text for octets": (no_octets, "TypeError: "),
    "name cut": (half_a_name, "IndexError: "),
    "negative TTL": (negative_ttl, "OverflowError: "),
    "what was awaited is cancelled": (cancelled_elsewhere, "asyncio.exceptions.CancelledError"),
}


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize(("function", "text"), MISTAKES.values(), ids=MISTAKES)
def test_a_plugin_s_mistake_costs_one_query(
    stepped: Stepped,
    capsys: pytest.CaptureFixture[str],
    function: Callable[[Query], Awaitable[Reply]],
    text: str,
    waits: bool,
) -> None:
    plugin = Does(lambda query: wait_and(query, function)) if waits else Does(function)
    before = metrics.registry.get_sample_value("coredns_panics_total") or 0.0
    octets = ask(stepped, [served(".", plugin)], datagram("ExAmPle.oRg.", 16))
    assert octets == header(QR | RD | 2) + question("ExAmPle.oRg.", 16)
    out = capsys.readouterr().out
    assert out.startswith(f'[ERROR] Recovered from panic in server: "dns://:53" {text}')
    assert (out.count("Recovered from panic"), out.count("Traceback (most recent call last)")) == (1, 1)
    assert metrics.registry.get_sample_value("coredns_panics_total") == before + 1
    assert ask(stepped, zones("."), datagram(rrtype=16)) is not None


def test_a_flood_of_mistakes_does_not_flood_the_log(stepped: Stepped, capsys: pytest.CaptureFixture[str]) -> None:
    dispatcher = Dispatcher("dns://:53", [served(".", Does(mistaken))], stepped.stepper)
    for _ in range(1000):
        stepped.call(lambda: dispatcher.answer(datagram(), UDP, 0.0))
    assert capsys.readouterr().out.count("Traceback") == 1


def test_a_query_that_is_cancelled_ends(stepped: Stepped, capsys: pytest.CaptureFixture[str]) -> None:
    """As a listener does that has too many waiting."""

    async def wait(_: Query) -> Reply:
        await asyncio.sleep(5)
        return Reply()

    dispatcher = Dispatcher("dns://:53", [served(".", Does(wait))], stepped.stepper)
    for turns in (0, 3):
        future = stepped.call(lambda: dispatcher.answer(datagram(), UDP, 0.0))
        assert isinstance(future, asyncio.Future)
        stepped.turn(turns)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            stepped.wait(future)
    assert capsys.readouterr().out == ""


def test_waiting_chain_gives_a_future(stepped: Stepped) -> None:
    blocks = [served(".", Does(lambda query: wait_and(query, Says("late").resolve_alone)))]
    assert said(ask(stepped, blocks, datagram(rrtype=16))) == "late"


async def look_up(query: Query) -> Reply:
    """Answer what the server itself answers for www.example.net."""
    assert query.lookup is not None
    reply = await query.lookup(query.ask(wire("www.example.net."), query.rrtype))
    return Reply([rr._replace(owner=query.name) for rr in reply.answer], rcode=reply.rcode)


LOOKUPS = {
    "another block": (served("example.net.", Says("found")), "found"),
    "a block that waits": (served("example.net.", Does(lambda q: wait_and(q, Says("late").resolve_alone))), "late"),
    "a block without plugins": (served("example.net."), "REFUSED"),
    "outside all zones": (served("elsewhere."), "REFUSED"),
    "a ResolveError": (served("example.net.", Does(refuse)), "REFUSED"),
    "a mistake": (served("example.net.", Does(mistaken)), "SERVFAIL"),
    "what looks up itself": (served("example.net.", Does(look_up)), "SERVFAIL"),
}


@pytest.mark.parametrize(("block", "expected"), LOOKUPS.values(), ids=LOOKUPS)
def test_lookup(stepped: Stepped, block: Served, expected: str) -> None:
    blocks = [served("example.org.", Does(look_up)), block]
    assert said(ask(stepped, blocks, datagram(rrtype=16))) == expected


def test_lookup_has_the_client_s_edns(stepped: Stepped) -> None:
    seen: list[Query] = []

    async def note(query: Query) -> Reply:
        seen.append(query)
        return Reply()

    blocks = [served("example.org.", Does(look_up)), served(".", Does(note))]
    ask(stepped, blocks, with_opt(datagram(rrtype=16), opt(4096, 0x8000)), TCP)
    expected = edns_query(record=opt(4096, 0x8000)).edns
    assert [(query.name, query.edns, query.client) for query in seen] == [(wire("www.example.net."), expected, TCP)]


def test_lookup_of_ds_goes_to_the_parent(stepped: Stepped) -> None:
    blocks = [*zones("net.", "www.example.net."), served("example.org.", Does(look_up))]
    octets = ask(stepped, blocks, datagram(rrtype=DS))
    assert said(octets) == "net."
