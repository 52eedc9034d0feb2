"""loadbalance: which records change places, how often each order comes, what weights and networks make of it."""

from __future__ import annotations

import asyncio
import math
import os
from collections import Counter
from typing import TYPE_CHECKING

import dns.message
import pytest

from kubedns.corefile.errors import CorefileError
from kubedns.plugin.contract import ResolveError, ServerBlock, StartError
from kubedns.wire.name import name
from kubedns.wire.numbers import AA, Rcode, RRClass, RRType
from kubedns.wire.packed import PackedReply, pack
from kubedns.wire.records import RR, address, cname, ns, soa, srv, txt
from kubedns.wire.reply import Reply
from kubedns.wire.validity import UNTIL_RELOAD
from kubedns.wire.walk import SHARED_RECORDS, layout_of
from plugins import loadbalance
from plugins.loadbalance import turning
from tests.plugins.helpers import answering, ask, directive, failing, placed, query, run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

OWNER = name("m.l.test")
ALIAS = name("al.l.test")
BLOCK = ServerBlock((".",))


def a(last: int, owner: bytes = OWNER) -> RR:
    return address(owner, bytes((10, 0, 0, last)), 30)


def aaaa(last: int, owner: bytes = OWNER) -> RR:
    return address(owner, b"\x20\x01\x0d\xb8" + bytes(11) + bytes((last,)), 30)


def mx(preference: int, target: str) -> RR:
    return RR(OWNER, RRType.MX, RRClass.IN, 30, preference.to_bytes(2, "big") + name(target))


def sent(text: str, reply: Reply, times: int, question: str = "m.l.test.", qtype: str = "A") -> list[list[list[str]]]:
    """Return the sections of each reply as a client that is not ours reads them."""

    async def collect() -> list[list[list[str]]]:
        plugin = loadbalance.setup(directive(text), BLOCK)
        asked = query(question, qtype, transport="tcp")
        found = []
        for _ in range(times):
            octets = (await plugin.resolve(asked, answering(reply))).octets(asked)
            message = dns.message.from_wire(octets, one_rr_per_rrset=True)
            found.append([[rrset.to_text() for rrset in section] for section in message.sections[1:]])
        return found

    return run(collect())


def of_type(section: Sequence[str], *types: str) -> list[str]:
    return [line for line in section if line.split()[3] in types]


def is_fair(counts: Counter[object], outcomes: int, times: int, reuse: float = 1) -> bool:
    """Tell whether each outcome came about as often, within five standard deviations."""
    share = 1 / outcomes
    deviation = math.sqrt(times * share * (1 - share) * reuse)
    return len(counts) == outcomes and all(abs(count - times * share) < 5 * deviation for count in counts.values())


@pytest.mark.parametrize("count", [2, 3, 4])
def test_every_order_is_as_likely(count: int) -> None:
    reply = Reply([a(last) for last in range(count)], flags=AA, validity=UNTIL_RELOAD)
    orders: Counter[object] = Counter(tuple(answer) for answer, *_ in sent("loadbalance", reply, 3000))
    assert is_fair(orders, math.factorial(count), 3000)


@pytest.mark.parametrize("count", [5, 18])
def test_every_address_is_as_likely_to_be_first(count: int) -> None:
    reply = Reply([a(last) for last in range(count)], flags=AA, validity=UNTIL_RELOAD)
    answers = [answer for answer, *_ in sent("loadbalance", reply, 2000)]
    assert is_fair(Counter(answer[0] for answer in answers), count, 2000)
    assert {len(set(answer)) for answer in answers} == {count}
    assert len({tuple(answer) for answer in answers}) > 50


MOVED = [
    ("addresses", [a(1), a(2), a(3)], [(0, 3)], True),
    ("behind an alias", [cname(OWNER, ALIAS, 30), a(1, ALIAS), aaaa(2, ALIAS)], [(1, 3)], True),
    ("mail", [a(1), mx(10, "a."), mx(20, "b.")], [(1, 3)], False),
    ("other owners", [a(1, name("h1.other.test")), a(2, name("h2.other.test"))], [(0, 2)], False),
]


@pytest.mark.parametrize(("answer", "spans", "movable"), [row[1:] for row in MOVED], ids=[row[0] for row in MOVED])
def test_others_are_told_what_turns_and_whether_as_octets(
    answer: list[RR], spans: list[tuple[int, int]], *, movable: bool
) -> None:
    plugin = loadbalance.setup(directive("loadbalance"), BLOCK)
    asked = query("m.l.test.")
    made = run(plugin.resolve(asked, answering(Reply(answer, validity=UNTIL_RELOAD))))
    made.octets(asked)
    assert (list(made.spans), made.is_movable(asked)) == (spans, movable)
    assert not made.is_movable(query("another.l.test."))


def test_a_zone_in_unusual_letters_says_nothing_of_others() -> None:
    """Behind a question in such letters the whole name is compressed against, and else the suffix alone."""
    zone = name("l.test.")
    records = Reply([a(1), a(2)], validity=UNTIL_RELOAD, suffix=zone, zone=zone)
    plugin = loadbalance.setup(directive("loadbalance"), BLOCK)
    usual = query("m.l.test.")
    unusual = query("m.L.test.")
    made = run(plugin.resolve(usual, answering(records)))
    for asked, movable in [(unusual, True), (usual, False), (unusual, True)]:
        made.octets(asked)
        assert made.is_movable(asked) == movable


def test_the_shared_reply_stays_as_it_is() -> None:
    reply = Reply([a(1), a(2), a(3)], flags=AA, validity=UNTIL_RELOAD)
    asked = query("m.l.test.")
    before = reply.sections, reply.octets(asked)
    sent("loadbalance", reply, 50)
    assert (reply.sections, reply.octets(asked)) == before


def test_an_order_is_not_kept_by_others() -> None:
    async def made() -> None:
        plugin = loadbalance.setup(directive("loadbalance"), BLOCK)
        reply = Reply([a(1), a(2)], validity=UNTIL_RELOAD)
        first = await plugin.resolve(query("m.l.test."), answering(reply))
        assert not first.validity.holds(0)
        assert await plugin.resolve(query("m.l.test."), answering(reply)) is first

    run(made())


ALIKE = soa(OWNER, OWNER, OWNER, 30, serial=1, times=(1, 2, 3, 4))
UNTOUCHED = [
    ("one", Reply([a(1)]), "A"),
    ("texts", Reply([txt(OWNER, text, 30) for text in "abc"]), "TXT"),
    ("nxdomain", Reply((), [ns(OWNER, ALIAS, 30)], [a(1), a(2)], rcode=Rcode.NXDOMAIN), "A"),
    ("transfer", Reply([ALIKE, a(1), a(2), ALIKE]), "AXFR"),
    ("arranged", Reply([cname(ALIAS, OWNER, 30), a(1)]), "A"),
    ("arranged octets", pack(Reply([cname(OWNER, ALIAS, 30), a(1, ALIAS)]), query("m.l.test.")), "A"),
]


@pytest.mark.parametrize(("reply", "qtype"), [row[1:] for row in UNTOUCHED], ids=[row[0] for row in UNTOUCHED])
def test_the_very_reply_comes_back(reply: Reply, qtype: str) -> None:
    plugin = loadbalance.setup(directive("loadbalance"), BLOCK)
    assert run(ask(plugin, query("m.l.test.", qtype), answering(reply))) is reply


def test_an_error_goes_through() -> None:
    error = ResolveError("x")
    assert run(ask(loadbalance.setup(directive("loadbalance"), BLOCK), query(), failing(error))) is error


def test_arranged_once_if_nothing_turns() -> None:
    reply = Reply([a(1), cname(ALIAS, OWNER, 30)], validity=UNTIL_RELOAD)
    [[answer, *_]] = sent("loadbalance", reply, 1)
    assert [line.split()[3] for line in answer] == ["CNAME", "A"]
    made = run(ask(loadbalance.setup(directive("loadbalance"), BLOCK), query("m.l.test."), answering(reply)))
    assert isinstance(made, Reply)
    assert made.validity == UNTIL_RELOAD


def test_mixed_answer() -> None:
    records = [mx(1, "a.test"), a(1), a(2), mx(2, "b.a.test"), cname(ALIAS, OWNER, 30), aaaa(3), mx(3, "m.l.test")]
    answers = [answer for answer, *_ in sent("loadbalance", Reply(records, validity=UNTIL_RELOAD), 400)]
    types = {tuple(line.split()[3] for line in answer[:1] + answer[-3:]) for answer in answers}
    assert types == {("CNAME", "MX", "MX", "MX")}
    assert len({tuple(of_type(answer, "A", "AAAA")) for answer in answers}) == 6
    assert len({tuple(of_type(answer, "MX")) for answer in answers}) == 6


FORWARDED = {
    "addresses": (Reply([a(1), a(2), a(3)]), 6, True),
    "behind aliases": (Reply([cname(OWNER, ALIAS, 30), *(aaaa(last, ALIAS) for last in range(3))]), 6, True),
    "in two sections": (Reply([a(1), a(2)], [ns(OWNER, ALIAS, 30)], [a(3, ALIAS), a(4, ALIAS)]), 4, True),
    "two families": (Reply([a(1), aaaa(2), aaaa(3)]), 6, False),
    "out of order": (Reply([a(1), a(2), cname(ALIAS, OWNER, 30)]), 2, False),
    "mail": (Reply([mx(1, "a.test"), mx(2, "b.test")]), 2, False),
    "other owners": (Reply([a(last, name(f"h{last}.other.test")) for last in range(3)]), 6, False),
}


@pytest.mark.parametrize(("reply", "orders", "moved"), FORWARDED.values(), ids=FORWARDED)
def test_what_is_for_one_client_is_turned_as_octets(reply: Reply, orders: int, *, moved: bool) -> None:
    """Where its records can just change places; either way, it comes in the orders that the same records come in."""
    packed = pack(reply, query("m.l.test."))
    seen: Counter[object] = Counter(tuple(map(tuple, sections)) for sections in sent("loadbalance", packed, 2000))
    assert is_fair(seen, orders, 2000)
    kept = Reply(*reply.sections, validity=UNTIL_RELOAD)
    assert seen.keys() == {tuple(map(tuple, sections)) for sections in sent("loadbalance", kept, 300)}
    made = run(ask(loadbalance.setup(directive("loadbalance"), BLOCK), query("m.l.test."), answering(packed)))
    assert isinstance(made, PackedReply) == moved


def test_services_stay_and_their_addresses_turn() -> None:
    hosts = [name(f"h{n}.l.test") for n in range(3)]
    answer = [srv(OWNER, host, 30, weight=1, port=80) for host in hosts]
    additional = [one for n, host in enumerate(hosts) for one in (a(n, host), aaaa(n, host))]
    reply = Reply(answer, (), additional, validity=UNTIL_RELOAD, zone=name("l.test"))
    for question in ("m.l.test.", "M.L.test."):
        replies = sent("loadbalance", reply, 100, question, "SRV")
        assert len({tuple(section.lower() for section in answer) for answer, *_ in replies}) == 1
        assert len({tuple(additional) for *_, additional in replies}) > 10
        assert {len(set(additional)) for *_, additional in replies} == {6}


def test_names_of_other_owners() -> None:
    """Names that are written out hold pointers of others: such a reply is composed anew for each order."""
    reply = Reply([a(n, name(f"h{n}.other.test")) for n in range(6)], validity=UNTIL_RELOAD)
    replies = [answer for answer, *_ in sent("loadbalance", reply, 100)]
    assert {frozenset(answer) for answer in replies} == {
        frozenset(f"h{n}.other.test. 30 IN A 10.0.0.{n}" for n in range(6))
    }
    assert len({tuple(answer) for answer in replies}) > 10


def test_one_value_for_many_names() -> None:
    reply = Reply([a(1, name("l.test")), a(2, name("l.test"))], validity=UNTIL_RELOAD, suffix=name("l.test"))

    async def both() -> None:
        plugin = loadbalance.setup(directive("loadbalance"), BLOCK)
        for question in ("a.l.test.", "bbb.l.test.", "c.l.test."):
            asked = query(question)
            message = dns.message.from_wire((await plugin.resolve(asked, answering(reply))).octets(asked))
            assert [rrset.name.to_text() for rrset in message.answer] == ["l.test."]

    run(both())


def test_a_reply_is_cut_as_ever() -> None:
    async def made() -> None:
        plugin = loadbalance.setup(directive("loadbalance"), BLOCK)
        records = [one for last in range(30) for one in (a(last), aaaa(last))]
        asked = query("m.l.test.")
        for _ in range(50):
            octets = (await plugin.resolve(asked, answering(Reply(records, validity=UNTIL_RELOAD)))).octets(asked)
            assert len(octets) <= 512
            assert len(dns.message.from_wire(octets, ignore_trailing=False).answer) <= 2

    run(made())


PREFERRED = [
    ("hosts", "10.0.0.3/32 10.0.0.2/32", [a(1), a(2), a(3)], ["10.0.0.3", "10.0.0.2", "10.0.0.1"]),
    ("families", "2001:db8::/32 10.0.0.0/30", [a(9), aaaa(1), a(1)], ["2001:db8::1", "10.0.0.1", "10.0.0.9"]),
    (
        "others last",
        "10.0.0.1/8",
        [txt(OWNER, "x", 30), a(1), cname(ALIAS, OWNER, 30)],
        ["m.l.test.", "10.0.0.1", '"x"'],
    ),
]


@pytest.mark.parametrize(
    ("networks", "records", "expected"), [row[1:] for row in PREFERRED], ids=[row[0] for row in PREFERRED]
)
def test_prefer(networks: str, records: list[RR], expected: list[str]) -> None:
    text = f"loadbalance {{\nprefer {networks}\n}}"
    for answer, *_ in sent(text, Reply(records, validity=UNTIL_RELOAD), 20):
        assert [line.split()[-1] for line in answer] == expected


def test_prefer_turns_each_network() -> None:
    reply = Reply([a(1), a(2), a(128), a(129), a(130)], validity=UNTIL_RELOAD)
    answers = [answer for answer, *_ in sent("loadbalance {\nprefer 10.0.0.128/25\n}", reply, 600)]
    firsts: Counter[object] = Counter(answer[0] for answer in answers)
    assert is_fair(firsts, 3, 600)
    assert {frozenset(answer[3:]) for answer in answers} == {frozenset(f"m.l.test. 30 IN A 10.0.0.{n}" for n in (1, 2))}


ERRORS = [
    ("policy", "loadbalance fleeb", "unknown policy: fleeb", "2:13", False),
    ("round-robin-more", "loadbalance round_robin x", "unknown property for round_robin", "2:25", True),
    ("no-file", "loadbalance weighted", "missing weight file argument", "2:13", True),
    ("files", "loadbalance weighted a b", "unexpected argument(s)", "2:24", True),
    ("reload-none", "loadbalance weighted a {\nreload\n}", "reload duration value is missing", "3:1", True),
    ("reload-two", "loadbalance weighted a {\nreload 1s 2s\n}", "unexpected argument", "3:11", True),
    ("reload-bad", "loadbalance weighted a {\nreload 5\n}", "invalid reload duration '5'", "3:8", True),
    ("reload-minus", "loadbalance weighted a {\nreload -5s\n}", "invalid reload duration '-5s'", "3:8", True),
    ("reload-alone", "loadbalance {\nreload 5s\n}", "unknown property 'reload'", "3:1", True),
    ("prefer-weighted", "loadbalance weighted a {\nprefer 10.0.0.0/8\n}", "unknown property 'prefer'", "3:1", True),
    (
        "no-mask",
        "loadbalance {\nprefer 10.0.0.1\n}",
        'invalid CIDR "10.0.0.1": invalid CIDR address: 10.0.0.1',
        "3:8",
        True,
    ),
]


@pytest.mark.parametrize(
    ("corefile", "text", "where", "parsing"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS]
)
def test_error(corefile: str, text: str, where: str, *, parsing: bool) -> None:
    with pytest.raises(CorefileError) as raised:
        loadbalance.setup(directive(corefile), BLOCK)
    prefix = f"Corefile:{where.partition(':')[0]} - Error during parsing: " if parsing else ""
    assert str(raised.value) == prefix + text
    assert placed(raised.value) == where


def test_the_last_policy_counts(tmp_path: Path) -> None:
    lines = f"loadbalance weighted {tmp_path}/w\nloadbalance {{\nprefer 10.0.0.2/32\n}}\nloadbalance"
    reply = Reply([a(1), a(2)], validity=UNTIL_RELOAD)
    assert {answer[0].split()[-1] for answer, *_ in sent(lines, reply, 30)} == {"10.0.0.2"}


def weighted(path: Path, reload: str = "1s") -> loadbalance.Weighted:
    found = loadbalance.setup(
        directive(f"loadbalance weighted {path.name} {{\nreload {reload}\n}}"), ServerBlock((".",), root=path.parent)
    )
    assert isinstance(found, loadbalance.Weighted)
    return found


async def orders(plugin: loadbalance.Weighted, reply: Reply, times: int, qtype: str = "A") -> Counter[tuple[str, ...]]:
    """Count the orders of the answers, as the last label of each record's data."""
    asked = query("m.l.test.", qtype, transport="tcp")
    found: Counter[tuple[str, ...]] = Counter()
    for _ in range(times):
        octets = (await plugin.resolve(asked, answering(reply))).octets(asked)
        message = dns.message.from_wire(octets, one_rr_per_rrset=True)
        found[tuple(rrset[0].to_text().rpartition(".")[2] for rrset in message.answer)] += 1
    return found


THREE = Reply([a(1), a(2), a(3)], flags=AA, validity=UNTIL_RELOAD)


def test_weights(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_text("# comment\n\nm.l.test\n10.0.0.1 3\n10.0.0.3 2\n10.0.0.1 200\nother.test.\n10.0.0.2 255\n")

    async def drawn() -> None:
        plugin = weighted(path, "0s")
        await plugin.start()
        found = await orders(plugin, THREE, 3000)
        assert found.keys() == {("1", "2", "3"), ("2", "1", "3"), ("3", "2", "1")}
        assert abs(found["1", "2", "3"] - 1500) < 150
        assert abs(found["2", "1", "3"] - 500) < 110
        assert await orders(plugin, THREE, 5, "MX") == {("1", "2", "3"): 5}
        behind_alias = Reply([a(3), cname(ALIAS, OWNER, 30), a(1)], validity=UNTIL_RELOAD)
        assert {order[0] for order in await orders(plugin, behind_alias, 50)} == {""}
        others = Reply([a(1, ALIAS), a(2, ALIAS)], validity=UNTIL_RELOAD)
        assert abs((await orders(plugin, others, 1000))["1", "2"] - 500) < 80
        await plugin.stop()

    run(drawn())


WRONG = [
    ("lone-ip", "10.0.0.1\n", 'wrong domain name:"10.0.0.1" in weight file {}. (Maybe a missing weight value?)'),
    ("ip", "m.l.test\nx 3\n", 'wrong IP address:"x" in weight file {}'),
    ("high", "m.l.test\n10.0.0.1 300\n", 'wrong weight value:"300" in weight file {}'),
    ("zero", "m.l.test\n10.0.0.1 0\n", 'wrong weight value:"0" in weight file {}'),
    ("word", "m.l.test\n10.0.0.1 x\n", 'wrong weight value:"x" in weight file {}'),
    ("no-name", "10.0.0.1 3\n", "missing domain name in weight file {}"),
    ("three", "m.l.test\n10.0.0.1 3 4\n", 'could not parse weight line:"10.0.0.1 3 4" in weight file {}'),
]


@pytest.mark.parametrize(("content", "text"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_wrong_weights(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "w"
    path.write_text(content)
    with pytest.raises(StartError) as raised:
        run(weighted(path).start())
    assert str(raised.value) == f"plugin/loadbalance: {text.format(path)}"


def test_missing_weights_without_reload(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="plugin/loadbalance: weight file open error"):
        run(weighted(tmp_path / "w", "0s").start())


def rewrite(path: Path, text: str, age: float) -> None:
    new = path.with_name("new")
    new.write_text(text)
    os.utime(new, (age, age))
    new.rename(path)


def test_weights_are_followed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w"

    async def follow() -> None:
        plugin = weighted(path)
        await plugin.start()
        assert len(await orders(plugin, THREE, 100)) == 3
        await asyncio.sleep(2.5)
        rewrite(path, "m.l.test\n10.0.0.3 255\n10.0.0.1 1", 1000)
        await asyncio.sleep(3)
        assert (await orders(plugin, THREE, 300))["3", "2", "1"] > 280
        rewrite(path, "10.0.0.1", 2000)
        await asyncio.sleep(3)
        assert (await orders(plugin, THREE, 300))["3", "2", "1"] > 280
        await plugin.stop()

    run(follow())
    wrong = f'wrong domain name:"10.0.0.1" in weight file {path}. (Maybe a missing weight value?)'
    assert capsys.readouterr().out.splitlines() == [
        "[WARNING] plugin/loadbalance: Failed to open weight file:weight file open error. Will try again in 1s",
        "[ERROR] plugin/loadbalance: weight file open error",
        "[ERROR] plugin/loadbalance: weight file open error",
        f"[INFO] plugin/loadbalance: Successfully reloaded weight file {path}",
        f"[ERROR] plugin/loadbalance: {wrong}",
    ]


def test_layouts_of_long_replies_are_not_kept() -> None:
    """Each is its own reply's: a stranger's replies would be held for ever."""
    before = turning._kept_spans.cache_info().currsize  # noqa: SLF001 - its bound is the point
    for count in range(SHARED_RECORDS + 1, SHARED_RECORDS + 60):
        ends = tuple(16 * place for place in range(1, count + 1))
        ttls = tuple(16 * place + 6 for place in range(count))
        spans = turning.spans_of(layout_of((count, 0, 0), ends, ttls, (1,) * count))
        assert spans == (range(count),)
    assert turning._kept_spans.cache_info().currsize == before  # noqa: SLF001 - as above
