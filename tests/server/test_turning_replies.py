"""Kept replies that turn, of any shape: each sending is one that the reply could have made itself."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from hypothesis import event, given
from hypothesis import strategies as st

from kubedns.plugin.contract import ServerBlock
from kubedns.server.wirecache import Keeping, Shelf, WireCache
from kubedns.wire.name import name
from kubedns.wire.numbers import AA, RRType
from kubedns.wire.parse import parse_reply
from kubedns.wire.query import parse_query
from kubedns.wire.records import RR, address, cname, srv, txt
from kubedns.wire.reply import Reply
from kubedns.wire.validity import Validity
from plugins import loadbalance
from tests.plugins.helpers import answering, directive, run
from tests.wire.asking import TCP, UDP, datagram, opt, with_opt

if TYPE_CHECKING:
    from kubedns.wire.client import Peer
    from kubedns.wire.query import Query

OWNER, ALIAS = name("many.example.org"), name("alias.example.org")
EXPIRES = 1 << 32  # monotonic seconds
ROUND_ROBIN = "loadbalance"
PREFER = "loadbalance {\nprefer 192.0.2.0/29 192.0.2.8/29\n}"

Sections = tuple[list[RR], list[RR], list[RR]]


def ip(last: int, owner: bytes, *, ipv6: bool) -> RR:
    return address(owner, (bytes(14) + b"\1" if ipv6 else bytes((192, 0, 2))) + bytes((last,)), 30)


@st.composite
def replies(draw: st.DrawFn) -> Sections:
    """Draw texts, an alias, addresses of both families and of one, and targets whose addresses come behind."""
    families = st.sampled_from([[False], [True], [False, True], [True] * 30 + [False]])

    def addresses(owner: bytes, most: int, first: int = 0) -> list[RR]:
        count = draw(st.integers(0, most))
        family = draw(families)
        return [ip(first + n, owner, ipv6=draw(st.sampled_from(family))) for n in range(count)]

    answer = [txt(OWNER, "x" * draw(st.integers(0, 240)) + str(n), 30) for n in range(draw(st.integers(0, 2)))]
    if draw(st.booleans()):
        answer += [cname(OWNER, ALIAS, 30), *addresses(ALIAS, 45)]
    else:
        answer += addresses(OWNER, 45)
    targets = [name(f"{'y' * n}{n}.example.org") for n in range(draw(st.integers(0, 6)))]
    answer += [srv(OWNER, target, 30, weight=1, port=80) for target in targets]
    glue = [one for place, target in enumerate(targets) for one in addresses(target, 5, 100 + 5 * place)]
    return answer, addresses(OWNER, 3, 200), glue


def same(octets: bytes, made: Reply, query: Query, ttl: int) -> None:
    """Check that octets are what the reply makes of its records, in an order in which it may give them."""
    told = parse_reply(octets)
    sections = [[rr._replace(ttl=ttl) for rr in section] for section in made.sections]
    places = {place for span in made.spans for place in range(*span)}
    orders = []
    for first, section, shown in zip(accumulate(map(len, sections), initial=0), sections, told.sections, strict=False):
        assert all(first + n in places or rr == section[n] for n, rr in enumerate(shown))
        orders.append([*shown, *(rr for rr in section if rr not in shown)])
        for start, stop in made.spans:
            span = slice(max(0, start - first), max(0, stop - first))
            assert set(orders[-1][span]) == set(section[span])
    assert Reply(*orders, flags=AA).octets(query) == octets


@given(
    sections=replies(),
    policy=st.sampled_from([ROUND_ROBIN, PREFER]),
    size=st.sampled_from([0, 512, 513, 600, 700, 1232, 4096]),
    client=st.sampled_from([UDP, TCP]),
    lefts=st.lists(st.integers(1, 1 << 31), max_size=3),
)
def test_any_reply(sections: Sections, policy: str, size: int, client: Peer, lefts: list[int]) -> None:
    plain = datagram("many.example.org.", RRType.SRV)
    message = with_opt(plain, opt(size)) if size else plain
    query = parse_query(message, client)
    reply = Reply(*sections, flags=AA, validity=Validity(1.0))
    reply.expires = EXPIRES
    plugin = loadbalance.setup(directive(policy), ServerBlock((".",)))
    made = run(plugin.resolve(query, answering(reply)))
    shelf, cache = Shelf(), WireCache()
    sent = made.octets(query)
    for _ in range(2):
        cache.offer(shelf, message, query, made, sent, Keeping(lambda *_: (), denials=False))
    kept = shelf.entries.get(message[2:])
    event("kept" if kept is not None else "not kept")
    if kept is None:
        return
    for left in (0, *sorted(lefts, reverse=True)):
        for _ in range(70):
            octets = shelf.get(message, EXPIRES - left if left else 0.0)
            assert octets is not None
            assert not made.spans or kept.turns is None or octets != sent
            sent = octets
        same(sent, made, query, left or 30)
