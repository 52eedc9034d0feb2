"""What turns: every record in front equally often, in messages that the reply itself could have made."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedns.plugin.contract import ServerBlock
from kubedns.server.turns import SENDINGS, Turns
from kubedns.wire.name import name
from kubedns.wire.numbers import RRType
from kubedns.wire.query import Query, parse_query
from kubedns.wire.records import RR, address, cname, srv, txt
from kubedns.wire.reply import Reply
from kubedns.wire.validity import UNTIL_RELOAD
from plugins import loadbalance
from tests.plugins.helpers import answering, directive, run
from tests.wire.asking import UDP, datagram, opt, with_opt

if TYPE_CHECKING:
    from collections.abc import Sequence

OWNER = name("many.example.org")
ALIAS = name("alias.example.org")
TARGETS = [name(f"{'x' * n}{n}.example.org") for n in range(12)]


def a(last: int, owner: bytes = OWNER) -> RR:
    return address(owner, bytes((192, 0, 2, last)), 30)


def aaaa(last: int, owner: bytes = OWNER) -> RR:
    return address(owner, b"\x20\x01\x0d\xb8" + bytes(11) + bytes((last,)), 30)


def turning(reply: Reply, text: str = "loadbalance") -> Reply:
    return run(loadbalance.setup(directive(text), ServerBlock((".",))).resolve(asked(), answering(reply)))


def asked(size: int = 0, rrtype: int = RRType.A, *, name: str = "many.example.org.") -> Query:
    """Return a query; `size` is what EDNS says, 0: no OPT record."""
    plain = datagram(name, rrtype)
    return parse_query(with_opt(plain, opt(size)) if size else plain, UDP)


def sent(reply: Reply, query: Query, times: int, ttl: int = 0) -> list[bytes]:
    turns = Turns(reply, query, reply.octets(query))
    if ttl:
        turns.show(ttl)
    return [turns.next(query.id) for _ in range(times)]


def read(octets: bytes) -> list[list[str]]:
    message = dns.message.from_wire(octets, one_rr_per_rrset=True)
    return [[rrset.to_text() for rrset in section] for section in message.sections[1:]]


ROWS = [
    ("two addresses", Reply([a(1), a(2)], validity=UNTIL_RELOAD), asked()),
    ("with EDNS", Reply([a(last) for last in range(18)], validity=UNTIL_RELOAD), asked(4096)),
    ("cut", Reply([a(last) for last in range(60)], validity=UNTIL_RELOAD), asked()),
    ("cut, with EDNS", Reply([a(last) for last in range(200)], validity=UNTIL_RELOAD), asked(1232)),
    (
        "both families behind an alias",
        Reply([cname(OWNER, ALIAS, 30), a(1, ALIAS), aaaa(2, ALIAS), a(3, ALIAS)], validity=UNTIL_RELOAD),
        asked(),
    ),
    (
        "glue",
        Reply(
            [srv(OWNER, target, 30, weight=1, port=80) for target in TARGETS],
            (),
            [one for n, target in enumerate(TARGETS) for one in (a(n, target), aaaa(n, target))],
            validity=UNTIL_RELOAD,
        ),
        asked(4096, RRType.SRV),
    ),
]


@pytest.mark.parametrize(("reply", "query"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
@pytest.mark.parametrize("ttl", [0, 1, 255, 256])
def test_each_is_in_front_as_often_and_nothing_else_changes(reply: Reply, query: Query, ttl: int) -> None:
    made = turning(reply)
    chain = made.octets(query)
    [(first, stop)] = made.spans
    most = stop - first
    count = -(-SENDINGS // most) * most
    octets = sent(made, query, count, ttl)
    assert len(set(map(len, octets))) == 1
    everything = read(Reply(*reply.sections).octets(asked(65535, query.rrtype)))
    records = [line.replace(" 30 ", f" {ttl or 30} ") for section in everything for line in section]
    fronts: Counter[str] = Counter()
    for one in octets:
        assert (one[:12], len(one)) == (chain[:12], len(chain))
        shown = [line for section in read(one) for line in section]
        assert len(set(shown)) == len(shown)
        assert [line for line in shown if line not in records[first:stop]] == records[:first]
        fronts[shown[first]] += 1
    assert max(fronts.values()) - min(fronts.values()) <= 2  # one is passed over that was sent just before
    assert set(fronts) == set(records[first:stop])


def test_of_thousands_that_are_cut_some_turn_until_others_are_drawn() -> None:
    records = [address(OWNER, bytes((10, 0, n >> 8, n & 255)), 30) for n in range(4000)]
    made = turning(Reply(records, validity=UNTIL_RELOAD))
    chain = made.octets(asked())
    turns = Turns(made, asked(), chain)
    assert turns.size < 20_000
    fronts = [read(turns.next(chain[:2]))[0] for _ in range(800)]
    assert {len(answer) for answer in fronts} == {len(read(chain)[0])}
    assert len({answer[0] for answer in fronts}) > 400


@pytest.mark.parametrize("count", [2, 3, 60])
def test_none_is_sent_twice_running(count: int) -> None:
    made = turning(Reply([a(last) for last in range(count)], validity=UNTIL_RELOAD))
    for _ in range(20):
        chain = made.octets(asked())
        turns = Turns(made, asked(), chain)
        turns.follow(chain)
        octets = [chain, *(turns.next(chain[:2]) for _ in range(5 * SENDINGS))]
        assert all(one != other for one, other in pairwise(octets))


def test_another_order_is_drawn_in_the_end() -> None:
    made = turning(Reply([a(last) for last in range(8)], validity=UNTIL_RELOAD))
    orders = {tuple(read(octets)[0]) for octets in sent(made, asked(), 10 * SENDINGS)}
    assert len(orders) > 8


def test_all_runs_of_a_section_turn() -> None:
    text = "loadbalance {\nprefer 192.0.2.0/30 192.0.2.4/30\n}"
    last = txt(OWNER, "last", 30)
    made = turning(Reply([last, *(a(last) for last in range(8))], validity=UNTIL_RELOAD), text)
    assert list(made.spans) == [(0, 4), (4, 8)]
    answers = [read(octets)[0] for octets in sent(made, asked(4096), 2 * SENDINGS)]
    assert {answer[8] for answer in answers} == {'many.example.org. 30 IN TXT "last"'}
    for place in (0, 4):
        assert len({answer[place] for answer in answers}) == 4
        assert {frozenset(answer[place : place + 4]) for answer in answers} == {
            frozenset(f"many.example.org. 30 IN A 192.0.2.{last}" for last in range(place, place + 4))
        }


@pytest.mark.parametrize(
    ("records", "exact"),
    [([a(last) for last in range(40)], True), ([one for last in range(40) for one in (a(last), aaaa(last))], False)],
    ids=["of one size", "of two"],
)
def test_exact_where_as_many_fit_in_each_order(records: Sequence[RR], *, exact: bool) -> None:
    made = turning(Reply(records, validity=UNTIL_RELOAD))
    assert Turns(made, asked(), made.octets(asked())).exact == exact
    assert Turns(made, asked(4096), made.octets(asked(4096))).exact


FILLED = [txt(OWNER, "x" * size, 30) for size in (238, 194)]  # the room for an address or the other, not both


@pytest.mark.parametrize(
    "records",
    [[*(aaaa(last) for last in range(20)), a(20)], [*FILLED, a(1), aaaa(2)]],
    ids=["the smallest last", "the largest first"],
)
def test_exact_whatever_order_was_drawn(records: Sequence[RR]) -> None:
    made = turning(Reply(records, validity=UNTIL_RELOAD))
    assert not any(Turns(made, asked(), made.octets(asked())).exact for _ in range(200))


def test_nothing_turns_that_is_not_shown() -> None:
    long = [txt(OWNER, "x" * 200, 30) for _ in range(3)]
    made = turning(Reply([*long, a(1), a(2)], validity=UNTIL_RELOAD))
    assert not Turns(made, asked(), made.octets(asked()))
    assert Turns(made, asked(4096), made.octets(asked(4096)))


@given(
    kinds=st.lists(st.booleans(), min_size=2, max_size=40),
    size=st.sampled_from([0, 512, 700, 1232, 4096]),
    ttl=st.integers(0, 1 << 31),
)
def test_any_reply_that_turns(kinds: list[bool], size: int, ttl: int) -> None:
    """What is sent is, but for its TTLs, what the reply itself makes of the same records in that order."""
    made = turning(Reply([a(n) if even else aaaa(n) for n, even in enumerate(kinds)], validity=UNTIL_RELOAD))
    query = asked(size)
    turns = Turns(made, query, made.octets(query))
    assert made.is_movable(query)
    if not turns.exact:
        return
    turns.show(ttl)
    for _ in range(3):
        octets = turns.next(query.id)
        message = dns.message.from_wire(octets, one_rr_per_rrset=True)
        shown = [RR(OWNER, rrset.rdtype, 1, rrset.ttl, rrset[0].to_wire()) for rrset in message.answer]
        rest = [rr for rr in made.answer if rr.rdata not in {one.rdata for one in shown}]
        assert Reply([*shown, *rest]).octets(query) == octets
        assert {rr.ttl for rr in shown} == {ttl or 30}
