"""What a cache finds in a reply that is kept as octets is what it finds in the records themselves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubedns.wire.name import name
from kubedns.wire.packed import read_packed
from kubedns.wire.parse import parse_reply
from kubedns.wire.query import Query, parse_query
from kubedns.wire.records import RR
from kubedns.wire.reply import Reply
from plugins.cache.judging import answers
from tests.wire.asking import TCP, header

NAMES = [name(text) for text in ("www.example.org", "a.example.org", "edge.example.net", "example.org")]
A, CNAME, AAAA, ANY = 1, 5, 28, 255
IN, CH = 1, 3


@st.composite
def records(draw: st.DrawFn) -> RR:
    owner, rrtype, rrclass = draw(st.sampled_from(NAMES)), draw(st.sampled_from([A, CNAME, AAAA])), draw(classes)
    return RR(owner, rrtype, rrclass, 60, draw(st.sampled_from(NAMES)) if rrtype == CNAME else bytes([10, 0, 0, 1]))


@st.composite
def chains(draw: st.DrawFn) -> list[RR]:
    """Return CNAMEs from name to name and what they lead to, as servers send them, mostly."""
    count = draw(st.integers(0, len(NAMES) - 1))
    found = [RR(NAMES[at], CNAME, IN, 60, NAMES[at + 1]) for at in range(count)]
    return found + [RR(NAMES[count], A, IN, 60, bytes([10, 0, 0, last])) for last in range(draw(st.integers(0, 3)))]


classes = st.sampled_from([IN, IN, IN, CH])
answer_sections = st.tuples(chains(), st.lists(records(), max_size=3)).map(lambda both: [*both[0], *both[1]])
asked_types = st.sampled_from([A, A, AAAA, CNAME, ANY])


@given(answer_sections, asked_types, classes)
def test_answers_as_its_records_do(answer: list[RR], rrtype: int, rrclass: int) -> None:
    question = NAMES[0] + rrtype.to_bytes(2, "big") + rrclass.to_bytes(2, "big")
    query: Query = parse_query(header(0x0100) + question, TCP)
    octets = Reply(answer).octets(query)
    kept, read = read_packed(octets, query), parse_reply(octets)
    assert answers(query, kept) == answers(query, read)
    assert not kept.leads_to(query.kind) or answers(query, read)


@given(chains())
def test_a_chain_is_followed_without_reading_it(answer: list[RR]) -> None:
    query = parse_query(header(0x0100) + NAMES[0] + b"\0\1\0\1", TCP)
    kept = read_packed(Reply(answer).octets(query), query)
    assert kept.leads_to(query.kind) == (bool(answer) and answer[-1].rrtype == A)
