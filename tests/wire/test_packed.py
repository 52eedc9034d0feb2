"""Replies kept as octets: which stay as they came, which are composed anew, and what is found in them."""

import pytest

from kubedns.wire.errors import WireError
from kubedns.wire.packed import read_packed
from kubedns.wire.records import RR
from kubedns.wire.reply import Reply
from kubedns.wire.validity import NEVER, UNTIL_RELOAD
from tests.wire.asking import AA, QR, RA, TC, TCP, edns_query, header, opt, option, query, question, record, wire

POINTER = b"\xc0\x0c"
NAME = wire("example.org.")
ADDRESS = record(POINTER, 1, b"\x0a\0\0\1", ttl=300)
KEPT = {
    "nothing": ((0, 0, 0), b""),
    "an address": ((1, 0, 0), ADDRESS),
    "an IPv6 address": ((1, 0, 0), record(POINTER, 28, bytes(16), ttl=5)),
    "two addresses": ((2, 0, 0), ADDRESS * 2),
    "no address by its size": ((1, 0, 0), record(POINTER, 1, bytes(300))),
    "a name written out": ((1, 0, 0), record(NAME, 1, bytes(4))),
    "a name half written out": ((1, 0, 0), record(b"\3www" + POINTER, 1, bytes(4))),
    "SOA": ((0, 1, 0), record(b"\xc0\x14", 6, b"\2ns" + POINTER + b"\4mail" + POINTER + bytes(20))),
    "an alias and its target": ((2, 0, 0), record(POINTER, 5, b"\3www" + POINTER) + record(b"\xc0\x29", 1, bytes(4))),
    "glue behind an SRV target": (
        (1, 0, 1),
        record(POINTER, 33, bytes(6) + b"\1a\0") + record(b"\xc0\x2f", 1, bytes(4)),
    ),
    "a type of tomorrow": ((1, 0, 0), record(POINTER, 65280, b"\xff" * 9)),
}


@pytest.mark.parametrize(("counts", "body"), KEPT.values(), ids=KEPT)
def test_octets_stay_as_they_came(counts: tuple[int, int, int], body: bytes) -> None:
    octets = header(QR | RA, (1, *counts)) + question() + body
    reply = read_packed(octets, query())
    assert reply.body(query()).octets == body
    assert reply.octets(query(client=TCP)) == header(QR | RA | 0x0100, (1, *counts)) + question() + body


OTHERS = {
    "pointer into the header": record(b"\xc0\x04", 1, bytes(4)),
    "pointer into a TTL": record(POINTER, 1, bytes(4), ttl=0x01610000) + record(b"\xc0\x23", 1, bytes(4)),
    "pointer to a pointer": ADDRESS + record(b"\xc0\x1d", 1, bytes(4)),
    "compressed SRV target": record(POINTER, 33, bytes(6) + POINTER),
    "compressed DNAME": record(POINTER, 39, POINTER),
}


@pytest.mark.parametrize("body", OTHERS.values(), ids=OTHERS)
def test_composed_anew(body: bytes) -> None:
    octets = header(QR, (1, 2 if len(body) > 40 else 1, 0, 0)) + question() + body
    reply = read_packed(octets, query())
    assert reply.body(query()).octets != body
    assert Reply(*reply.sections).body(query()) == reply.body(query())


def test_options_go_and_their_rcode_stays() -> None:
    octets = header(QR | 7, (1, 1, 0, 1)) + question() + ADDRESS + opt(1400, 1 << 24 | 0x8000, option(3, b"me"))
    reply = read_packed(octets, query())
    assert (reply.rcode, reply.counts, reply.body(query()).octets) == (23, (1, 0, 0), ADDRESS)
    assert reply.edns is not None
    assert (reply.edns.size, reply.edns.do, reply.edns.option(3)) == (1400, True, b"me")


def test_plain_options_twice() -> None:
    octets = header(QR, (1, 1, 0, 1)) + question() + ADDRESS + opt(1400)
    for reply in (read_packed(octets, query()), read_packed(octets, query())):
        assert (reply.counts, reply.body(query()).octets) == ((1, 0, 0), ADDRESS)
        assert (reply.edns is not None, reply.edns and reply.edns.size) == (True, 1400)
    assert read_packed(octets + b"more", query()).body(query()).octets == ADDRESS


def test_options_before_other_records() -> None:
    octets = header(QR, (1, 0, 0, 3)) + question() + opt(1000) + ADDRESS + opt(2000)
    reply = read_packed(octets, query())
    assert (reply.counts, reply.body(query()).octets) == ((0, 0, 1), ADDRESS)
    assert reply.edns is not None
    assert reply.edns.size == 2000


def test_another_question_is_no_name_for_pointers() -> None:
    octets = header(QR, (1, 1, 0, 0)) + question("example.net.") + ADDRESS
    assert read_packed(octets, query()).answer == (RR(wire("example.net."), 1, 1, 300, b"\x0a\0\0\1"),)


def test_question_in_other_letters() -> None:
    octets = header(QR, (1, 1, 0, 0)) + question("ExAmPlE.oRg.") + ADDRESS
    assert read_packed(octets, query()).body(query()).octets == ADDRESS


def test_what_is_asked_of_it() -> None:
    body = ADDRESS + record(b"\xc0\x14", 2, b"\2ns" + POINTER, ttl=60) + record(b"\xc0\x37", 28, bytes(16), ttl=900)
    reply = read_packed(header(QR | AA, (1, 1, 1, 1)) + question() + body, query())
    assert ([reply.types(section) for section in range(3)], reply.least) == ([(1,), (2,), (28,)], 60)
    assert tuple(reply.starts_with(kind) for kind in (b"\0\1\0\1", b"\0\x1c\0\1", b"\0\1\0\3")) == (True, False, False)
    assert (reply.answer[0].ttl, len(reply.authority), len(reply.additional)) == (300, 1, 1)


def test_with_ttl_is_another_reply() -> None:
    reply = read_packed(header(QR, (1, 2, 0, 1)) + question() + ADDRESS * 2 + opt(), query())
    other = reply.with_ttl(7, flags=AA)
    assert [rr.ttl for rr in other.answer] == [7, 7]
    assert (other.flags, other.edns, other.least) == (AA, None, 7)
    assert [rr.ttl for rr in reply.answer] == [300, 300]


def test_replaced_is_another_reply_of_the_same_octets() -> None:
    reply = read_packed(header(QR | RA, (1, 1, 0, 0)) + question() + ADDRESS, query())
    assert reply.denies == b""
    made = reply.replaced(validity=UNTIL_RELOAD, denies=NAME)
    assert (made.validity, made.denies, made.least, made.flags) == (UNTIL_RELOAD, NAME, 300, RA)
    assert made.octets(query()) == reply.octets(query())
    assert (reply.validity, reply.denies) == (NEVER, b"")
    kept = made.replaced()
    assert (kept.validity, kept.denies) == (UNTIL_RELOAD, NAME)


def test_compressed_for_a_client_that_takes_less() -> None:
    """40 addresses of a name written out each time: 1080 octets, 640 once compressed."""
    octets = header(QR, (1, 40, 0, 0)) + question() + record(NAME, 1, bytes(4)) * 40
    large = edns_query(record=opt(1232))
    reply = read_packed(octets, large)
    assert reply.body(large).octets == octets[29:]
    small = edns_query(record=opt(700))
    assert len(reply.octets(small)) == 29 + 40 * 16 + 11
    cut = reply.octets(query())
    assert (len(cut), cut[2] << 8 & TC) == (29 + 30 * 16, TC)
    assert len(reply.octets(large)) == 29 + 40 * 16 + 11


MALFORMED = {
    "no header": b"",
    "half a header": header(QR)[:9],
    "question cut": header(QR) + question()[:-3],
    "record cut": header(QR, (1, 1, 0, 0)) + question() + ADDRESS[:-1],
    "fields cut": header(QR, (1, 1, 0, 0)) + question() + ADDRESS[:7],
    "fewer records than announced": header(QR, (1, 2, 0, 0)) + question() + ADDRESS,
    "label cut": header(QR, (1, 1, 0, 0)) + question() + b"\x3fabc",
    "label type unknown": header(QR, (1, 1, 0, 0)) + question() + record(b"\x80", 1, bytes(4)),
    "pointer to itself": header(QR, (1, 1, 0, 0)) + question() + record(b"\xc0\x1d", 1, bytes(4)),
    "name too long": header(QR, (1, 1, 0, 0)) + question() + record((b"\x3f" + b"a" * 63) * 4 + b"\0", 1, b""),
    "too long by its pointer": header(QR, (1, 1, 0, 0))
    + question()
    + record((b"\x3f" + b"a" * 63) * 3 + b"\x32" + b"b" * 50 + POINTER, 1, bytes(4)),
    "name runs out of RDATA": header(QR, (1, 1, 0, 0)) + question() + record(POINTER, 2, b"\1a") + b"\0",
    "RDATA too short for a name": header(QR, (1, 1, 0, 0)) + question() + record(POINTER, 33, bytes(5)) + bytes(9),
    "option cut": header(QR, (1, 0, 0, 1)) + question() + opt(options=b"\0\x0a\0\x08"),
}


@pytest.mark.parametrize("octets", MALFORMED.values(), ids=MALFORMED)
def test_malformed(octets: bytes) -> None:
    with pytest.raises(WireError):
        read_packed(octets, query())


def test_record_that_no_message_can_hold() -> None:
    """Names written out make RDATA longer than 65,535 octets."""
    body = record(POINTER, 33, bytes(6) + POINTER + bytes(65510))
    octets = header(QR, (1, 1, 0, 0)) + question() + body
    assert read_packed(octets, query(client=TCP)).counts == (1, 0, 0)
    longer = "a" * 60 + "." + "b" * 60 + "."
    body = record(POINTER, 14, POINTER * 2 + bytes(65350))
    with pytest.raises(WireError, match="int too big"):
        read_packed(header(QR, (1, 1, 0, 0)) + question(longer) + body, query(longer))
