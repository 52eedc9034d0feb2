from __future__ import annotations

import dns.message
import dns.rdata
import dnslib
from hypothesis import example, given
from hypothesis import strategies as st

from kubedns.wire.compose import Body, compose, cut
from kubedns.wire.edns import Edns
from kubedns.wire.errors import WireError
from kubedns.wire.message import message
from kubedns.wire.name import labels
from kubedns.wire.numbers import Rcode
from kubedns.wire.parse import parse_reply
from kubedns.wire.query import Query, parse_query
from kubedns.wire.records import RR
from kubedns.wire.reply import Reply
from tests.properties.made import (
    any_octets,
    capitals,
    edns,
    joined,
    names,
    queries,
    records,
    sections,
    spelled,
    words,
)
from tests.wire.asking import TCP, UDP, header, opt, question, with_opt

Sections = tuple[list[RR], list[RR], list[RR]]
ZONE = b"\7cluster\5local\0"


def octets_of(rdata: dns.rdata.Rdata) -> bytes:
    octets = rdata.to_wire()
    assert octets is not None
    return octets


def lower(rrs: tuple[RR, ...] | list[RR]) -> list[RR]:
    """Pointers give a name the letters of where they point to; which letters a text has is not at stake either."""
    return [rr._replace(owner=rr.owner.lower(), rdata=rr.rdata.lower()) for rr in rrs]


def lower_case(made: Sections) -> Sections:
    first, second, third = ([rr._replace(owner=rr.owner.lower()) for rr in section] for section in made)
    return first, second, third


@given(sections, queries())
def test_composed_then_parsed_is_the_same(made: Sections, asked: Query) -> None:
    query = parse_query(header() + asked.question, TCP)
    parsed = parse_reply(Reply(*made).octets(query))
    assert [lower(section) for section in parsed.sections] == [lower(section) for section in made]


@given(sections, queries())
def test_dnspython_and_dnslib_read_what_is_composed(made: Sections, asked: Query) -> None:
    octets = Reply(*made).octets(parse_query(header() + asked.question, TCP))
    seen = dns.message.from_wire(octets, one_rr_per_rrset=True)
    for rrsets, rrs in zip((seen.answer, seen.authority, seen.additional), made, strict=True):
        found = [
            ((rrset.name.to_wire() or b"").lower(), int(rrset.rdtype), octets_of(rdata).lower())
            for rrset in rrsets
            for rdata in rrset
        ]
        assert found == [(rr.owner.lower(), rr.rrtype, rr.rdata.lower()) for rr in rrs]
    counts = dnslib.DNSRecord.parse(octets)
    assert [len(counts.rr), len(counts.auth), len(counts.ar)] == [len(section) for section in made]


@given(sections, names, st.integers(-10, 3000))
def test_cut_keeps_whole_records_within_its_room(made: Sections, name: bytes, room: int) -> None:
    body = compose(made, name.lower(), len(name))
    kept = cut(body, room)
    assert len(kept.octets) <= max(room, 0)
    assert body.octets.startswith(kept.octets)
    assert kept.ends == body.ends[: len(kept.ends)]
    assert len(kept.octets) == (kept.ends[-1] if kept.ends else 0)
    assert sum(kept.counts) == len(kept.ends)
    left = len(kept.ends)
    for count, most in zip(kept.counts, body.counts, strict=True):
        assert count == min(most, left)
        left -= count
    if len(kept.ends) < len(body.ends):
        assert body.ends[len(kept.ends)] > room
    assert cut(kept, room) == kept


@given(sections, queries(), edns | st.none(), st.integers(0, 4095))
@example(
    ([], [], []), parse_query(with_opt(header() + question(), opt(512)), UDP), Edns(0, 0, 0, ((3, bytes(600)),)), 0
)
def test_never_longer_than_the_client_takes(made: Sections, query: Query, own: Edns | None, rcode: int) -> None:
    octets = Reply(*made, edns=own, rcode=rcode).octets(query)
    assert len(octets) <= query.limit
    reply = parse_reply(octets)
    if rcode > 15 and query.edns is None:
        assert reply.rcode == Rcode.SERVFAIL
        return
    assert reply.rcode == rcode
    kept = [rr for section in reply.sections for rr in section]
    whole = [rr for section in made for rr in section]
    assert lower(kept) == lower(whole[: len(kept)])
    assert (len(kept) < len(whole)) <= bool(reply.flags & 0x0200)
    assert (reply.edns is None) == (query.edns is None)


below_zone = st.builds(
    lambda parts, bits: spelled(joined([*parts, b"cluster", b"local"]), bits), st.lists(words, max_size=4), capitals
)


@given(sections, st.lists(queries(below_zone), max_size=12))
def test_kept_bodies_are_fresh_ones(made: Sections, asked: list[Query]) -> None:
    """One value answers every name of a zone; what it keeps is not seen in what it says."""
    shared = Reply(*made, suffix=ZONE)
    spelling = Reply(*made, suffix=ZONE, zone=ZONE)
    for query in asked:
        assert shared.octets(query) == Reply(*made, suffix=ZONE).octets(query)
        assert spelling.octets(query) == Reply(*made, suffix=ZONE, zone=ZONE).octets(query)


@given(sections, queries(below_zone), capitals)
def test_letter_case_of_a_question_changes_the_question_alone(made: Sections, query: Query, bits: int) -> None:
    typed = spelled(query.name, bits)
    other = Query(query.id, query.flags, typed + query.question[-4:], query.client, query.edns)
    reply = Reply(*made)
    first, second = reply.octets(query), reply.octets(other)
    end = 12 + len(query.question)
    assert second[12:end] == other.question
    assert (first[:12], first[end:]) == (second[:12], second[end:])


@given(sections, queries(below_zone))
def test_srv_targets_in_the_zone_are_spelled_as_the_client_does(made: Sections, asked: Query) -> None:
    query = parse_query(header() + asked.question, TCP)
    reply = parse_reply(Reply(*lower_case(made), zone=ZONE).octets(query))
    typed = query.spelled[-len(ZONE) :]
    for rr, sent in zip(reply.answer, made[0], strict=True):
        if rr.rrtype != 33:
            continue
        inside = sent.rdata[6:].endswith(ZONE) and labels(sent.rdata[6:])[-2:] == [b"cluster", b"local"]
        assert rr.rdata == (sent.rdata[: -len(ZONE)] + typed if inside else sent.rdata)


@given(st.lists(records(), max_size=40), names)
def test_compressed_is_never_longer(made: list[RR], name: bytes) -> None:
    body = compose((made, (), ()), name.lower(), len(name))
    assert len(body.octets) <= sum(len(rr.owner) + 10 + len(rr.rdata) for rr in made)
    assert body == Body(body.octets, (len(made), 0, 0), body.ends)


@given(any_octets)
def test_any_octets_are_a_reply_or_a_wire_error(octets: bytes) -> None:
    try:
        parse_reply(octets)
    except WireError:
        return


@given(any_octets)
def test_any_octets_are_a_message_or_a_wire_error(octets: bytes) -> None:
    try:
        message(octets)
    except WireError:
        return
