"""Whole messages: dnslib's form for whoever wants it, and replies read from octets."""

import dns.message
import dns.rrset
import dnslib
import pytest

from kubedns.wire.errors import WireError
from kubedns.wire.message import message, query_message, reply_of
from kubedns.wire.numbers import RRType
from kubedns.wire.parse import parse_reply
from kubedns.wire.records import RR
from tests.wire.asking import AA, AD, CD, QR, RA, RD, TC, Z, header, opt, option, query, question, record, wire


def test_query_as_dnslib_sees_it() -> None:
    seen = query_message(query("ExAmPle.oRg.", 28))
    assert (seen.header.id, seen.header.rd, str(seen.q.qname), seen.q.qtype) == (0x1234, 1, "ExAmPle.oRg.", 28)


def test_reply_from_dnslib() -> None:
    answer = query_message(query()).reply()
    answer.header.set_rcode(3)
    answer.add_answer(dnslib.RR("example.org.", dnslib.QTYPE.A, rdata=dnslib.A("10.0.0.1"), ttl=7))
    reply = reply_of(answer)
    assert reply.answer == (RR(wire("example.org."), 1, 1, 7, b"\x0a\0\0\1"),)
    assert (reply.rcode, reply.flags) == (3, AA | RA)


UNREADABLE = {
    "nothing": b"",
    "half a header": header()[:6],
    "no question": header(),
    "question cut": header() + b"\7exam",
    "pointer to itself": header() + b"\xc0\x0c\0\1\0\1",
    "answer cut": header(QR, (1, 1, 0, 0)) + question() + b"\xc0\x0c\0\1",
    "RDATA cut": header(QR, (1, 1, 0, 0)) + question() + record(b"\xc0\x0c", 1, bytes(4))[:-1],
}


@pytest.mark.parametrize("octets", UNREADABLE.values(), ids=UNREADABLE)
def test_dnslib_refuses(octets: bytes) -> None:
    with pytest.raises(WireError):
        message(octets)


@pytest.mark.parametrize("octets", UNREADABLE.values(), ids=UNREADABLE)
def test_parse_reply_refuses(octets: bytes) -> None:
    with pytest.raises(WireError):
        parse_reply(octets)


def test_dnslib_reads_what_it_wrote() -> None:
    assert isinstance(message(dnslib.DNSRecord.question("example.org").pack()), dnslib.DNSRecord)


PRESENTED = [
    "example.org. 5 IN A 10.0.0.1",
    "example.org. 5 IN AAAA 2001:db8::1",
    "example.org. 5 IN NS ns.example.org.",
    "example.org. 5 IN CNAME www.example.org.",
    "example.org. 5 IN SOA ns.example.org. hostmaster.example.org. 1 2 3 4 5",
    "example.org. 5 IN PTR www.example.org.",
    "example.org. 5 IN MX 10 mail.example.org.",
    "example.org. 5 IN SRV 1 2 3 www.example.org.",
    'example.org. 5 IN TXT "x" "y"',
    "example.org. 5 IN DNAME example.org.",
    'example.org. 5 IN CAA 0 issue "ca.example.org"',
    'example.org. 5 IN HTTPS 1 . alpn="h2"',
    'example.org. 5 IN NAPTR 1 1 "s" "SIP+D2U" "" _sip._udp.example.org.',
    "example.org. 5 IN RRSIG A 8 2 5 20300101000000 20200101000000 1 example.org. AAAA",
]


@pytest.mark.parametrize("presented", PRESENTED, ids=lambda presented: presented.split()[3])
def test_records_come_uncompressed(presented: str) -> None:
    """Whatever dnspython compresses comes out as its uncompressed (digestable) form has it."""
    sent = dns.message.from_text(f"id 1\nflags QR\n;QUESTION\nexample.org. IN ANY\n;ANSWER\n{presented}\n")
    rdata = sent.answer[0][0].to_wire()
    assert rdata is not None
    (rr,) = parse_reply(sent.to_wire()).answer
    assert rr == RR(wire("example.org."), sent.answer[0].rdtype, 1, 5, rdata)


POINTER = b"\xc0\x0c"
EXPANDED = {
    "NS": (2, POINTER, wire("example.org.")),
    "MX": (15, b"\0\1\1m" + POINTER, b"\0\1" + wire("m.example.org.")),
    "SOA": (6, POINTER * 2 + bytes(20), wire("example.org.") * 2 + bytes(20)),
    "SRV": (33, bytes(6) + POINTER, bytes(6) + wire("example.org.")),
    "DNAME": (39, POINTER, wire("example.org.")),
    "MINFO": (14, POINTER * 2, wire("example.org.") * 2),
    "RP": (17, POINTER * 2, wire("example.org.") * 2),
    "AFSDB": (18, b"\0\1" + POINTER, b"\0\1" + wire("example.org.")),
    "KX": (36, b"\0\1" + POINTER, b"\0\1" + wire("example.org.")),
    "TXT has no names": (16, POINTER, POINTER),
}


@pytest.mark.parametrize(("rrtype", "rdata", "expanded"), EXPANDED.values(), ids=EXPANDED)
def test_pointers_in_rdata(rrtype: int, rdata: bytes, expanded: bytes) -> None:
    octets = header(QR, (1, 1, 0, 0)) + question() + record(POINTER, rrtype, rdata)
    assert parse_reply(octets).answer == (RR(wire("example.org."), rrtype, 1, 0, expanded),)


def test_name_that_runs_out_of_its_record() -> None:
    octets = header(QR, (1, 1, 0, 0)) + question() + record(POINTER, 2, b"\1a") + b"\0"
    with pytest.raises(WireError, match="out of its record"):
        parse_reply(octets)


def test_sections_and_flags() -> None:
    octets = (
        header(QR | AA | TC | RD | RA | Z | AD | CD | 3, (1, 1, 1, 1))
        + question()
        + record(POINTER, 1, bytes(4), ttl=1)
        + record(POINTER, 2, POINTER, ttl=2)
        + record(POINTER, 1, bytes(4), ttl=3)
    )
    reply = parse_reply(octets)
    assert [rr.ttl for section in reply.sections for rr in section] == [1, 2, 3]
    assert reply.flags == AA | TC | RA | AD
    assert reply.rcode == 3
    assert reply.edns is None


def test_opt_of_an_upstream() -> None:
    octets = header(QR | 7, (1, 0, 0, 2)) + question() + opt(1400, 1 << 24 | 0x8000, option(3, b"me"))
    reply = parse_reply(octets + record(POINTER, 1, bytes(4)))
    assert reply.rcode == 23
    assert reply.edns is not None
    assert (reply.edns.size, reply.edns.do, reply.edns.option(3)) == (1400, True, b"me")
    assert [rr.rrtype for rr in reply.additional] == [RRType.A]


def test_reply_without_question() -> None:
    assert parse_reply(header(QR | 5, (0, 0, 0, 0))).rcode == 5


def test_letter_case_is_kept() -> None:
    octets = header(QR, (1, 1, 0, 0)) + question("ExAmPle.oRg.") + record(POINTER, 1, bytes(4))
    assert parse_reply(octets).answer[0].owner == wire("ExAmPle.oRg.")
