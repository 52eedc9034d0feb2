"""Replies kept as octets say what replies read record by record say."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING

from hypothesis import example, given
from hypothesis import strategies as st

from kubedns.wire.errors import WireError
from kubedns.wire.packed import pack, read_packed
from kubedns.wire.parse import parse_reply
from kubedns.wire.query import Query, parse_query
from kubedns.wire.records import RR
from kubedns.wire.reply import Reply
from tests.properties.made import any_octets, edns, options, queries, records, sections, spelled_names
from tests.wire.asking import TCP, UDP, header, opt, option, question, record, with_opt

if TYPE_CHECKING:
    from kubedns.wire.client import Peer

Sections = tuple[list[RR], list[RR], list[RR]]
LARGE = 4096
TC = 0x0200
CD = 0x0010


def lower(found: tuple[tuple[RR, ...], ...]) -> list[list[RR]]:
    """Pointers give a name the letters of where they point to."""
    return [[rr._replace(owner=rr.owner.lower(), rdata=rr.rdata.lower()) for rr in section] for section in found]


def again(query: Query, client: Peer) -> Query:
    return Query(query.id, query.flags, query.question, client, query.edns)


@st.composite
def uncompressed(draw: st.DrawFn) -> tuple[bytes, Query]:
    """Return a query, and a reply to it in which each name is written out, an OPT record anywhere among the last."""
    query = draw(queries())
    made = draw(sections)
    packed = [[record(rr.owner, rr.rrtype, rr.rdata, ttl=rr.ttl) for rr in section] for section in made]
    for _ in range(draw(st.integers(0, 2))):
        data = b"".join(option(code, value) for code, value in draw(options))
        place = draw(st.integers(0, len(packed[2])) | st.just(len(packed[2])))
        packed[2].insert(place, opt(1232, draw(st.integers(0, 0xFFFFFFFF)), data))
    counts = (1, len(packed[0]), len(packed[1]), len(packed[2]))
    body = b"".join(octets for section in packed for octets in section)
    flags = draw(st.integers(0, 0x7FFF))
    return header(0x8000 | flags, counts) + draw(asked_as(query)) + body + draw(st.binary(max_size=2)), query


def asked_as(query: Query) -> st.SearchStrategy[bytes]:
    """Return the query's question, mostly; else another of the same name."""
    other = query.name + struct.pack("!2H", query.rrtype ^ 0x20, 1)
    return st.sampled_from([query.question, query.question, query.name + query.question[-4:], other])


@st.composite
def composed(draw: st.DrawFn) -> tuple[bytes, Query]:
    """Return a query, and a reply to it with every name compressed that may be."""
    query = draw(queries())
    reply = Reply(*draw(sections), rcode=draw(st.integers(0, 15)), edns=draw(edns | st.none()))
    return reply.octets(again(query, TCP)), query


@given(uncompressed() | composed())
def test_says_what_its_message_says(made: tuple[bytes, Query]) -> None:
    octets, query = made
    expected, found = parse_reply(octets), read_packed(octets, query)
    assert lower(found.sections) == lower(expected.sections)
    assert (found.rcode, found.flags & ~CD, found.edns) == (expected.rcode, expected.flags, expected.edns)
    assert found.counts == expected.counts
    assert found.least == min((rr.ttl for section in expected.sections for rr in section), default=None)
    for place, section in enumerate(expected.sections):
        assert list(found.types(place)) == [rr.rrtype for rr in section]
    first = expected.answer[:1]
    assert found.starts_with(query.question[-4:-2] + b"\0\1") <= bool(
        first and first[0].rrtype == query.rrtype and first[0].owner.lower() == query.name
    )


@given(uncompressed() | composed(), st.sampled_from([512, 600, 1232, LARGE]))
def test_goes_out_as_its_message_read_record_by_record(made: tuple[bytes, Query], size: int) -> None:
    octets, query = made
    asked = parse_query(with_opt(header() + query.question, opt(size)), UDP)
    expected, found = parse_reply(octets), read_packed(octets, query)
    for client in (asked, again(query, TCP), query):
        if found.rcode > 15 and client.edns is None:
            continue
        sent, fresh = found.octets(client), expected.octets(client)
        assert len(sent) <= client.limit
        said, told = parse_reply(sent), parse_reply(fresh)
        if said.flags & TC == told.flags & TC:
            assert lower(said.sections) == lower(told.sections)
        assert bool(said.flags & TC) <= bool(told.flags & TC)
        assert said.edns == told.edns


@given(uncompressed() | composed(), spelled_names)
def test_fits_other_letters_and_other_names(made: tuple[bytes, Query], other: bytes) -> None:
    octets, query = made
    found = read_packed(octets, query)
    for question_name in (query.name.upper(), other):
        asked = parse_query(header() + question_name + query.question[-4:], TCP)
        if found.rcode > 15:
            continue
        assert lower(parse_reply(found.octets(asked)).sections) == lower(found.sections)


@given(uncompressed() | composed(), st.integers(0, 0xFFFFFFFF))
def test_one_ttl_for_all(made: tuple[bytes, Query], ttl: int) -> None:
    octets, query = made
    found = read_packed(octets, query)
    before = found.read_sections()
    patched = found.with_ttl(ttl, flags=0x0400)
    assert patched.sections == tuple(tuple(rr._replace(ttl=ttl) for rr in section) for section in before)
    assert (patched.rcode, patched.flags, patched.edns) == (found.rcode, 0x0400, None)
    assert patched.least == (None if found.least is None else ttl)
    assert found.read_sections() == before


@given(sections, queries())
def test_packs_what_a_plugin_made(made: Sections, query: Query) -> None:
    reply = Reply(*made, rcode=3, flags=0x0400)
    found = pack(reply, query)
    assert lower(found.sections) == lower(reply.sections)
    assert found.octets(query) == reply.octets(query)


@given(any_octets, queries())
@example(
    header(0x8000, (1, 1, 0, 0)) + question() + record(b"\xc0\x14", 1, bytes(4)),
    parse_query(header() + question(), UDP),
)
@example(header(0x8000, (1, 0, 0, 1)) + question() + opt(ttl=1 << 24), parse_query(header() + question(), UDP))
def test_any_octets_are_what_parse_reply_says(octets: bytes, query: Query) -> None:
    """Whether asked for by what the octets themselves ask or by anything else."""
    asked = [query]
    with contextlib.suppress(WireError):
        asked.append(parse_query(header() + octets[12:], TCP))
    for one in asked:
        try:
            expected = parse_reply(octets)
        except WireError:
            expected = None
        try:
            found = read_packed(octets, one)
        except WireError:
            assert expected is None
            continue
        assert expected is not None
        assert lower(found.sections) == lower(expected.sections)


@given(st.lists(records(), min_size=1, max_size=40), queries())
def test_pointers_stay_where_they_were(made: list[RR], query: Query) -> None:
    """The octets of a compressed message go out as they came in."""
    octets = Reply(made).octets(again(query, TCP))
    end = len(octets) - (11 if query.edns else 0)
    start = 12 + len(query.question)
    if query.edns is None or not query.edns.options:
        assert read_packed(octets, query).body(query).octets == octets[start:end]
