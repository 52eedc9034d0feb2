"""What is asked, and what is refused before any server block sees it; the rows are in CoreDNS's order of checks."""

import struct

import pytest

from kubedns.wire.client import Peer
from kubedns.wire.errors import QueryError
from kubedns.wire.numbers import Rcode
from kubedns.wire.query import parse_query
from tests.wire.asking import (
    AA,
    AD,
    CD,
    IDENT,
    NOTIFY,
    QR,
    RA,
    RD,
    TC,
    TCP,
    UDP,
    UPDATE,
    Z,
    datagram,
    edns_query,
    header,
    opt,
    option,
    query,
    question,
    record,
    wire,
    with_opt,
)

ALL = AA | TC | RD | RA | Z | AD | CD
LONG = (b"\x3f" + b"a" * 63) * 3
SOA = record(b"\xc0\x0c", 6, b"\0\0" + bytes(20))


def refused(message: bytes) -> bytes | None:
    with pytest.raises(QueryError) as caught:
        parse_query(message, UDP)
    return caught.value.reply_to(message)


SILENCE = {
    "nothing": b"",
    "11 octets": header()[:11],
    "a response": datagram(flags=QR | RD),
    "a response of another opcode": datagram(flags=QR | UPDATE),
    "a response without question": header(QR, (0, 0, 0, 0)),
}


@pytest.mark.parametrize("message", SILENCE.values(), ids=SILENCE)
def test_silence(message: bytes) -> None:
    assert refused(message) is None


HEADERS = {
    "UPDATE": (header(UPDATE | RD | AD | CD) + question(), QR | UPDATE | RD | AD | CD | 4),
    "every flag with UPDATE": (header(UPDATE | ALL | 5) + question(), QR | UPDATE | TC | RD | RA | AD | CD | 4),
    **{
        f"opcode {opcode}": (header(opcode << 11) + question(), QR | opcode << 11 | 4)
        for opcode in (1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    },
    "opcode before QDCOUNT": (header(UPDATE, (0, 0, 0, 0)), QR | UPDATE | 4),
    "no question": (header(ALL, (0, 0, 0, 0)), QR | TC | RD | RA | AD | CD | 1),
    "two questions": (header(RD, (2, 0, 0, 0)) + question() * 2, QR | RD | 1),
    "65535 questions": (header(RD, (65535, 0, 0, 0)) + question(), QR | RD | 1),
    "NOTIFY without question loses its opcode": (header(NOTIFY | RD, (0, 0, 0, 0)), QR | RD | 1),
    "two answers": (header(RD, (1, 2, 0, 0)) + question(), QR | RD | 1),
    "two in authority": (header(RD, (1, 0, 2, 0)) + question(), QR | RD | 1),
    "three additional": (header(RD, (1, 0, 0, 3)) + question(), QR | RD | 1),
    "256 answers": (header(RD, (1, 256, 0, 0)) + question(), QR | RD | 1),
    "RCODE of a query": (header(RD | 5, (0, 0, 0, 0)), QR | RD | 1),
    "label of 255 octets": (datagram(b"\xff" + b"a" * 300 + b"\0"), QR | RD | 1),
    "label type 10": (datagram(b"\x80a\0"), QR | RD | 1),
    "label type 01": (datagram(b"\x41a\0"), QR | RD | 1),
    "name of 256 octets": (datagram(LONG + b"\x3e" + b"b" * 62 + b"\0"), QR | RD | 1),
    "name of 256 octets, cut": ((header() + LONG + b"\x3e" + b"b" * 62), QR | RD | 1),
    "name cut": (header() + b"\7exam", QR | RD | 1),
    "root missing": (header() + b"\7example", QR | RD | 1),
    "pointer to itself": (datagram(b"\xc0\x0c"), QR | RD | 1),
    "pointer beyond the end": (datagram(b"\xc3\xff"), QR | RD | 1),
    "half a type": (header() + wire("example.org.") + b"\0", QR | RD | 1),
    "half a class": (header() + wire("example.org.") + b"\0\1\0", QR | RD | 1),
    "question announced and missing": (header(), QR | RD | 2),
    "question missing, every flag": (header(ALL), QR | RD | CD | 2),
    "question missing of a NOTIFY": (header(NOTIFY | ALL), QR | NOTIFY | 2),
    "question missing, additional records announced": (header(RD, (1, 0, 0, 1)), QR | RD | 2),
}


@pytest.mark.parametrize(("message", "flags"), HEADERS.values(), ids=HEADERS)
def test_header_alone(message: bytes, flags: int) -> None:
    assert refused(message) == struct.pack("!6H", IDENT, flags, 0, 0, 0, 0)


WITH_QUESTION = {
    "LLQ without data": opt(options=option(1)),
    "UL of 3 octets": opt(options=option(2, b"abc")),
    "ECS of 3 octets": opt(options=option(8, b"\0\1\x18")),
    "option cut": opt(options=option(10, b"8octets.")[:-1]),
    "option's length cut": opt(options=b"\0\x0a\0"),
    "RDATA cut": opt(options=bytes(9))[:-1],
    "RDLENGTH cut": opt()[:-1],
    "owner alone": b"\0",
    "owner cut": b"\3ab",
    "owner that is a loop": b"\xc0\x1d" + opt()[1:],
}


@pytest.mark.parametrize("behind", WITH_QUESTION.values(), ids=WITH_QUESTION)
def test_question_comes_back_where_it_was_read(behind: bytes) -> None:
    message = with_opt(datagram("ExAmPle.oRg."), behind)
    assert refused(message) == header(QR | RD | 1) + question("ExAmPle.oRg.")


def test_udp_reads_512_octets_whatever_edns_says() -> None:
    def padded(size: int) -> bytes:
        bare = with_opt(datagram(), opt(4096, options=option(12)))
        return with_opt(datagram(), opt(4096, options=option(12, bytes(size - len(bare)))))

    assert len(padded(512)) == 512
    assert parse_query(padded(512), UDP).size == 512
    assert refused(padded(513)[:512]) == header(QR | RD | 1) + question()
    assert parse_query(padded(2000), TCP).size == 2000


ACCEPTED = {
    "plain": (datagram(), "example.org.", 1, 1),
    "every flag": (datagram(flags=ALL), "example.org.", 1, 1),
    "RCODE 5": (datagram(flags=RD | 5), "example.org.", 1, 1),
    "root": (datagram("."), ".", 1, 1),
    "highest type": (datagram(rrtype=65535), "example.org.", 65535, 1),
    "class ANY": (datagram(rrclass=255), "example.org.", 1, 255),
    "class 0": (datagram(rrclass=0), "example.org.", 1, 0),
    "name of 255 octets": (datagram(LONG + b"\x3d" + b"b" * 61 + b"\0"), "", 1, 1),
    "name alone": (header() + wire("example.org."), "example.org.", 0, 0),
    "name and type": (header() + wire("example.org.") + b"\0\x1c", "example.org.", 28, 0),
    "an answer announced and missing": (header(RD, (1, 1, 0, 0)) + question(), "example.org.", 1, 1),
    "all that may be announced, and missing": (header(RD, (1, 1, 1, 2)) + question(), "example.org.", 1, 1),
    "junk behind the question": (datagram() + b"junk!!", "example.org.", 1, 1),
    "junk behind the OPT": (with_opt(datagram(), opt()) + b"junk!!", "example.org.", 1, 1),
    "NOTIFY with its SOA": (header(NOTIFY | AA, (1, 1, 0, 0)) + question(rrtype=6) + SOA, "example.org.", 6, 1),
    "IXFR with its SOA": (header(0, (1, 0, 1, 0)) + question(rrtype=251) + SOA, "example.org.", 251, 1),
}


@pytest.mark.parametrize("client", [UDP, TCP], ids=["UDP", "TCP"])
@pytest.mark.parametrize(("message", "name", "rrtype", "rrclass"), ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(message: bytes, name: str, rrtype: int, rrclass: int, client: Peer) -> None:
    parsed = parse_query(message, client)
    octets = wire(name) if name else message[12:-4]
    assert (parsed.name, parsed.rrtype, parsed.rrclass) == (octets, rrtype, rrclass)
    assert parsed.question == octets + struct.pack("!2H", rrtype, rrclass)
    assert parsed.id == message[:2]
    assert parsed.flags == int.from_bytes(message[2:4], "big")
    assert (parsed.size, parsed.client) == (len(message), client)


def test_letter_case() -> None:
    asked = query("ExAmPle.oRg.")
    assert asked.name == b"\7example\3org\0"
    assert asked.spelled == b"\7ExAmPle\3oRg\0"
    assert asked.question == b"\7ExAmPle\3oRg\0\0\1\0\1"
    assert asked.labels == [b"example", b"org"]


def test_name_by_pointer_is_echoed_written_out() -> None:
    message = header() + b"\xc0\x12\0\1\0\1" + b"\1a\0"
    assert parse_query(message, UDP).question == b"\1a\0\0\1\0\1"


@pytest.mark.parametrize(
    ("message", "opcode"), [(datagram(), 0), (datagram(flags=NOTIFY | AA), 4)], ids=["QUERY", "NOTIFY"]
)
def test_opcode(message: bytes, opcode: int) -> None:
    assert parse_query(message, UDP).opcode == opcode


def test_no_edns() -> None:
    asked = query()
    assert asked.edns is None
    assert not asked.do


def test_edns() -> None:
    options = option(3) + option(10, b"8octets.") + option(65001, b"x")
    edns = edns_query(record=opt(4096, 7 << 24 | 1 << 16 | 0x8001, options)).edns
    assert edns is not None
    assert (edns.size, edns.version, edns.flags, edns.do) == (4096, 1, 0x8001, True)
    assert edns.options == ((3, b""), (10, b"8octets."), (65001, b"x"))
    assert edns.option(10) == b"8octets."
    assert edns.option(12) is None


def test_last_of_two_opts_counts() -> None:
    asked = parse_query(with_opt(datagram(), opt(1232), opt(4096, 0x8000)), UDP)
    assert asked.edns is not None
    assert asked.edns.size == 4096
    assert asked.do


def test_opt_counts_among_additional_records_alone() -> None:
    message = header(RD, (1, 1, 0, 0)) + question() + opt(4096)
    assert parse_query(message, UDP).edns is None


def test_opt_in_front_of_tsig() -> None:
    tsig = record(wire("key."), 250, bytes(32), 255)
    asked = parse_query(with_opt(datagram(), opt(4096), tsig), UDP)
    assert asked.edns is not None
    assert asked.edns.size == 4096


LIMITS = {
    "UDP without EDNS": (UDP, b"", 512),
    "UDP of 0": (UDP, opt(0), 512),
    "UDP of 511": (UDP, opt(511), 512),
    "UDP of 512": (UDP, opt(512), 512),
    "UDP of 1232": (UDP, opt(1232), 1232),
    "UDP of 65535": (UDP, opt(65535), 65535),
    "TCP without EDNS": (TCP, b"", 65535),
    "TCP of 512": (TCP, opt(512), 65535),
}


@pytest.mark.parametrize(("client", "opts", "limit"), LIMITS.values(), ids=LIMITS)
def test_limit(client: Peer, opts: bytes, limit: int) -> None:
    message = with_opt(datagram(), opts) if opts else datagram()
    assert parse_query(message, client).limit == limit


def test_ask_for_another_name() -> None:
    first = edns_query("ExAmPle.oRg.", client=TCP)

    async def lookup(_: object) -> None:
        pass

    first.lookup = lookup  # type: ignore[assignment]
    second = first.ask(wire("Web.example."), 28)
    assert (second.name, second.rrtype, second.rrclass) == (wire("web.example."), 28, 1)
    assert second.spelled == wire("Web.example.")
    assert (second.id, second.flags, second.client, second.edns) == (first.id, first.flags, TCP, first.edns)
    assert second.lookup is lookup  # type: ignore[comparison-overlap]


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(QueryError, match="not one question") as caught:
        parse_query(header(RD, (0, 0, 0, 0)), UDP)
    assert caught.value.rcode is Rcode.FORMERR
