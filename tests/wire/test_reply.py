"""The reply's header, question, OPT and size, as CoreDNS builds them (but always compressed)."""

import struct

import dns.flags
import dns.message
import pytest

from kubedns.wire.client import Peer
from kubedns.wire.edns import Edns
from kubedns.wire.numbers import Rcode
from kubedns.wire.query import parse_query
from kubedns.wire.records import RR, address, ns, soa, srv, txt
from kubedns.wire.reply import Reply, bad_version
from tests.wire.asking import (
    AA,
    AD,
    CD,
    NOTIFY,
    QR,
    RA,
    RD,
    TC,
    TCP,
    UDP,
    UDP6,
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

OWNER = wire("example.org.")
IPV4 = b"\x0a\0\0\1"
ONE = Reply([address(OWNER, IPV4, 5)], flags=AA)
ONE_OCTETS = record(b"\xc0\x0c", 1, IPV4, ttl=5)
ALL = AA | TC | RD | RA | Z | AD | CD


def flags_of(octets: bytes) -> int:
    return int.from_bytes(octets[2:4], "big")


def counts_of(octets: bytes) -> tuple[int, ...]:
    return struct.unpack("!4H", octets[4:12])


FLAGS = {
    "AA of a plugin, RD of the client": (ONE, RD, QR | AA | RD),
    "no RD": (ONE, 0, QR | AA),
    "every flag of a query": (ONE, ALL, QR | AA | RD | CD),
    "RCODE of a query": (ONE, RD | 5, QR | AA | RD),
    "nothing set": (Reply(), 0, QR),
    "NXDOMAIN": (Reply(rcode=Rcode.NXDOMAIN, flags=AA), RD, QR | AA | RD | 3),
    "REFUSED": (Reply(rcode=Rcode.REFUSED), RD, QR | RD | 5),
    "what an upstream sets": (Reply(flags=TC | RA | AD), RD, QR | TC | RD | RA | AD),
    "NOTIFY has neither RD nor CD": (ONE, NOTIFY | RD | CD, QR | NOTIFY | AA),
}


@pytest.mark.parametrize(("reply", "asked", "flags"), FLAGS.values(), ids=FLAGS)
def test_flags(reply: Reply, asked: int, flags: int) -> None:
    assert flags_of(reply.octets(query(flags=asked))) == flags


def test_whole_message() -> None:
    assert ONE.octets(query()) == header(QR | AA | RD, (1, 1, 0, 0)) + question() + ONE_OCTETS


def test_question_is_echoed_as_typed_and_owners_point_at_it() -> None:
    octets = ONE.octets(query("ExAmPle.oRg."))
    assert octets == header(QR | AA | RD, (1, 1, 0, 0)) + question("ExAmPle.oRg.") + ONE_OCTETS


def test_class_and_type_are_echoed() -> None:
    asked = parse_query(datagram("version.bind.", 16, 3), UDP)
    octets = Reply([txt(asked.name, "x", 0, 3)]).octets(asked)
    assert octets == header(QR | RD, (1, 1, 0, 0)) + question("version.bind.", 16, 3) + record(
        b"\xc0\x0c", 16, b"\1x", 3
    )


def test_question_cut_behind_its_name() -> None:
    asked = parse_query(header() + OWNER, UDP)
    assert Reply(rcode=5).octets(asked) == header(QR | RD | 5) + question(rrtype=0, rrclass=0)


OPTS = {
    "size comes back": (opt(1232), opt(1232)),
    "size of 100": (opt(100), opt(100)),
    "size of 0": (opt(0), opt(0)),
    "size of 65535": (opt(65535), opt(65535)),
    "low eight flag bits do not": (opt(1232, 0xFFFF), opt(1232, 0xFF00)),
    "DO": (opt(4096, 0x8000), opt(4096, 0x8000)),
    "extended RCODE is dropped": (opt(1232, 7 << 24), opt(1232)),
    "NSID empty": (opt(options=option(3)), opt(options=option(3))),
    "NSID": (opt(options=option(3, b"ab")), opt(options=option(3, b"ab"))),
    "COOKIE": (opt(options=option(10, b"8octets.")), opt(options=option(10, b"8octets."))),
    "COOKIE of 3": (opt(options=option(10, b"abc")), opt(options=option(10, b"abc"))),
    "EXPIRE": (opt(options=option(9)), opt(options=option(9))),
    "TCP-KEEPALIVE": (opt(options=option(11, b"\0\1")), opt(options=option(11, b"\0\1"))),
    "PADDING": (opt(options=option(12, bytes(5))), opt(options=option(12, bytes(5)))),
    "ECS": (opt(options=option(8, b"\0\1\x18\0\xc0\0\2")), opt()),
    "EDE": (opt(options=option(15, b"\0\1")), opt()),
    "DAU": (opt(options=option(5, b"\x08")), opt()),
    "UL": (opt(options=option(2, bytes(4))), opt()),
    "unknown": (opt(options=option(65001, b"x")), opt()),
    "two OPTs": (opt(1232) + opt(4096, 0x8000), opt(4096, 0x8000)),
}


@pytest.mark.parametrize(("asked", "answered"), OPTS.values(), ids=OPTS)
def test_opt(asked: bytes, answered: bytes) -> None:
    message = with_opt(datagram(), asked)
    if asked.startswith(opt(1232) + b"\0"):
        message = with_opt(datagram(), opt(1232), asked.removeprefix(opt(1232)))
    expected = header(QR | AA | RD, (1, 1, 0, 1)) + question() + ONE_OCTETS + answered
    assert ONE.octets(parse_query(message, UDP)) == expected


def test_opt_is_last() -> None:
    reply = Reply([], [ns(OWNER, OWNER, 0)], [address(OWNER, IPV4, 5)])
    octets = reply.octets(edns_query())
    assert counts_of(octets) == (1, 0, 1, 2)
    assert octets.endswith(ONE_OCTETS + opt(1232))


OWN_OPTS = {
    "options are the reply's own": (Edns(512, 0, 0, ((3, b"me"),)), opt(4096), opt(4096, 0, option(3, b"me"))),
    "the client's options are not added": (Edns(512, 0, 0, ()), opt(4096, 0, option(10, b"8octets.")), opt(4096)),
    "DO if the client set it": (Edns(512, 0, 0, ()), opt(4096, 0x8000), opt(4096, 0x8000)),
    "DO if the reply set it": (Edns(512, 0, 0x8000, ()), opt(4096), opt(4096, 0x8000)),
    "low eight flag bits are cleared": (Edns(512, 0, 0x40FF, ()), opt(4096), opt(4096, 0x4000)),
    "version 0": (Edns(512, 1, 0, ()), opt(4096), opt(4096)),
    "none without EDNS": (Edns(512, 0, 0, ()), b"", b""),
}


@pytest.mark.parametrize(("own", "asked", "answered"), OWN_OPTS.values(), ids=OWN_OPTS)
def test_opt_of_the_answering_party(own: Edns, asked: bytes, answered: bytes) -> None:
    asked_query = edns_query(record=asked) if asked else query()
    octets = Reply(ONE.answer, edns=own).octets(asked_query)
    assert octets == header(QR | RD, (1, 1, 0, int(bool(answered)))) + question() + ONE_OCTETS + answered


def test_rcode_above_15_is_split() -> None:
    octets = Reply(rcode=23).octets(edns_query())
    assert flags_of(octets) == QR | RD | 7
    assert octets.endswith(opt(1232, 1 << 24))


def test_rcode_above_15_needs_an_opt() -> None:
    assert Reply(ONE.answer, rcode=23).octets(query()) == header(QR | RD | 2) + question()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(ALL, QR | RD | CD), (0, QR), (NOTIFY | RD, QR | NOTIFY)],
    ids=["every flag", "no flag", "NOTIFY"],
)
def test_bad_version(flags: int, expected: int) -> None:
    asked = parse_query(with_opt(datagram("ExAmPle.oRg.", flags=flags), opt(1232, 1 << 16 | 0x8000, option(3))), UDP)
    octets = bad_version(asked)
    assert octets == header(expected, (1, 0, 0, 1)) + question("ExAmPle.oRg.") + opt(0, 1 << 24)


def texts(name: str, number: int) -> Reply:
    return Reply([txt(wire(name), f"{count:03d}".ljust(100, "x"), 5) for count in range(number)])


SIXTY = texts("big.test.", 60)
TRUNCATED = {
    "UDP": (UDP, b"", 4, 478),
    "UDP over IPv6": (UDP6, b"", 4, 478),
    "UDP of 400": (UDP, opt(400), 4, 489),
    "UDP of 1232": (UDP, opt(1232), 10, 1167),
    "UDP of 4096": (UDP, opt(4096), 35, 3992),
}


@pytest.mark.parametrize(("client", "opts", "kept", "size"), TRUNCATED.values(), ids=TRUNCATED)
def test_truncated(client: Peer, opts: bytes, kept: int, size: int) -> None:
    asked = edns_query("big.test.", 16, client=client, record=opts) if opts else query("big.test.", 16, client=client)
    octets = SIXTY.octets(asked)
    assert (counts_of(octets)[1], len(octets), flags_of(octets) & TC) == (kept, size, TC)
    parsed = dns.message.from_wire(octets)
    assert parsed.flags & dns.flags.TC
    assert sum(len(rrset) for rrset in parsed.answer) == kept
    assert octets.endswith(opts)


WHOLE = {
    "TCP": (SIXTY, "big.test.", TCP, b"", 60, 26 + 60 * 113),
    "14 of them, UDP of 4096": (texts("x.test.", 14), "x.test.", UDP, opt(4096), 14, 1617),
    "14 of them, TCP": (texts("x.test.", 14), "x.test.", TCP, b"", 14, 1606),
}


@pytest.mark.parametrize(("reply", "name", "client", "opts", "kept", "size"), WHOLE.values(), ids=WHOLE)
def test_not_truncated(reply: Reply, name: str, client: Peer, opts: bytes, kept: int, size: int) -> None:
    asked = edns_query(name, 16, client=client, record=opts) if opts else query(name, 16, client=client)
    octets = reply.octets(asked)
    assert (counts_of(octets)[1], len(octets), flags_of(octets) & TC) == (kept, size, 0)


def filled(size: int, *more: RR) -> Reply:
    """Return a reply of that many octets to a query for example.org without EDNS, with `more` in the next section."""
    rdata = bytes(size - 12 - len(question()) - 12)
    return Reply([RR(OWNER, 65280, 1, 0, rdata)], more)


LIMIT_CASES = {
    "UDP, exactly": (UDP, 512, False),
    "UDP, one more": (UDP, 513, True),
    "TCP, exactly": (TCP, 65535, False),
    "TCP, one more": (TCP, 65536, True),
}


@pytest.mark.parametrize(("client", "size", "cut"), LIMIT_CASES.values(), ids=LIMIT_CASES)
def test_limit(client: Peer, size: int, cut: bool) -> None:
    octets = filled(size).octets(query(client=client))
    assert (flags_of(octets) & TC, counts_of(octets)[1]) == ((TC, 0) if cut else (0, 1))
    assert len(octets) == (29 if cut else size)


def test_the_walk_ends_where_the_size_is_hit_exactly() -> None:
    octets = filled(512, address(OWNER, IPV4, 0)).octets(query())
    assert (len(octets), counts_of(octets), flags_of(octets) & TC) == (512, (1, 1, 0, 0), TC)


def test_room_for_the_opt_is_kept() -> None:
    octets = filled(512).octets(edns_query(record=opt(512)))
    assert (counts_of(octets), flags_of(octets) & TC) == ((1, 0, 0, 1), TC)
    assert octets.endswith(opt(512))
    fits = filled(501).octets(edns_query(record=opt(512)))
    assert (len(fits), flags_of(fits) & TC) == (512, 0)


def test_many_records_over_tcp() -> None:
    octets = texts("big.test.", 600).octets(query("big.test.", 16, client=TCP))
    assert (counts_of(octets)[1], len(octets), flags_of(octets) & TC) == (579, 26 + 579 * 113, TC)


def test_dropped_additional_records_alone_set_tc() -> None:
    reply = Reply(texts("big.test.", 4).answer, (), [txt(wire("a.test."), "x" * 100, 0)])
    octets = reply.octets(query("big.test.", 16))
    assert (counts_of(octets), flags_of(octets) & TC) == ((1, 4, 0, 0), TC)


def test_own_options_give_way_where_they_alone_are_too_large() -> None:
    reply = Reply(edns=Edns(512, 0, 0, ((15, bytes(600)),)))
    octets = reply.octets(edns_query(record=opt(512, 0x8000)))
    assert octets == header(QR | TC | RD, (1, 0, 0, 1)) + question() + opt(512, 0x8000)


def test_echoed_options_give_way_to_a_question_that_a_pointer_made_longer() -> None:
    long = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"b" * 61 + b"\0"
    start = 12 + 6 + 11 + 4
    message = with_opt(header() + (0xC000 | start).to_bytes(2, "big") + b"\0\1\0\1", opt(512, 0, option(12, long)))
    octets = Reply(rcode=5).octets(parse_query(message, UDP))
    assert octets == header(QR | TC | RD | 5, (1, 0, 0, 1)) + question(long) + opt(512)


ZONE = wire("cluster.local.")
NXDOMAIN = Reply(
    (),
    [soa(ZONE, b"\2ns\3dns" + ZONE, b"\x0ahostmaster" + ZONE, 5, serial=1, times=(1, 1, 1, 5))],
    rcode=Rcode.NXDOMAIN,
    suffix=ZONE,
)


@pytest.mark.parametrize("turn", range(2), ids=["first", "again"])
@pytest.mark.parametrize("below", ["", "a.", "b.", "aa.", "a.a.", "X.", f"{'a' * 63}.{'b' * 63}.{'c' * 63}."])
def test_one_reply_serves_all_names_of_a_zone(below: str, turn: int) -> None:
    asked = query(f"{below}cluster.local.")
    octets = NXDOMAIN.octets(asked)
    parsed = dns.message.from_wire(octets)
    assert octets[12 : 12 + len(asked.question)] == asked.question
    soa_text = f"cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 1 1 1 5 {turn}"
    assert f"{parsed.authority[0].to_text()} {turn}" == soa_text
    fresh = Reply(*NXDOMAIN.sections, rcode=Rcode.NXDOMAIN, suffix=ZONE)
    assert fresh.octets(asked) == octets


def test_one_reply_of_the_root_serves_every_name() -> None:
    refused = Reply(rcode=Rcode.REFUSED, suffix=b"\0")
    for name in (".", "org.", "a.b.c.example.org."):
        assert refused.octets(query(name)) == header(QR | RD | 5) + question(name)


WEB = wire("web.default.svc.cluster.local.")
PORT = b"\5_http\4_tcp" + WEB
SERVICE = Reply([srv(PORT, WEB, 5, weight=100, port=80)], (), [address(WEB, IPV4, 5)], zone=ZONE)
SPELLINGS = {
    "as the Corefile has it": ("_http._tcp.web.default.svc.cluster.local.", WEB),
    "all capitals": ("_HTTP._TCP.WEB.DEFAULT.SVC.CLUSTER.LOCAL.", wire("web.default.svc.CLUSTER.LOCAL.")),
    "mixed": ("_http._tcp.web.default.svc.ClUsTeR.local.", wire("web.default.svc.ClUsTeR.local.")),
    "capitals before the zone": ("_HTTP._tcp.WEB.default.svc.cluster.local.", WEB),
}


@pytest.mark.parametrize(("name", "target"), SPELLINGS.values(), ids=SPELLINGS)
def test_srv_targets_end_in_the_zone_as_typed(name: str, target: bytes) -> None:
    octets = SERVICE.octets(query(name, 33))
    assert octets[12:].startswith(question(name, 33))
    answer = record(b"\xc0\x0c", 33, b"\0\0\0\x64\0\x50" + target, ttl=5)
    glue = record((0xC000 | 12 + 11).to_bytes(2, "big"), 1, IPV4, ttl=5)
    assert octets[12 + len(question(name, 33)) :] == answer + glue
    assert SERVICE.octets(query(SPELLINGS["as the Corefile has it"][0], 33)).endswith(
        record(b"\xc0\x0c", 33, b"\0\0\0\x64\0\x50" + WEB, ttl=5) + glue
    )


def test_sections() -> None:
    reply = Reply([address(OWNER, IPV4, 1)], [ns(OWNER, OWNER, 2)], [address(OWNER, IPV4, 3)])
    assert [section[0].ttl for section in (reply.answer, reply.authority, reply.additional)] == [1, 2, 3]


def test_replaced_takes_over_every_field() -> None:
    reply = Reply()
    for field in Reply.__slots__:
        setattr(reply, field, field)
    made = reply.replaced()
    assert made is not reply
    assert [getattr(made, field) for field in Reply.__slots__] == list(Reply.__slots__)
