import pytest

from kubedns.wire.compose import Body, compose, cut
from kubedns.wire.numbers import RRClass, RRType
from kubedns.wire.records import RR, address, cname, ns, ptr, soa, srv, txt
from tests.wire.asking import record, wire

ZONE = wire("cluster.local.")
WEB = wire("web.default.svc.cluster.local.")
START = 12  # where the question's name stands
IPV4 = b"\x0a\0\0\1"


def pointer(offset: int) -> bytes:
    return (0xC000 | offset).to_bytes(2, "big")


QUESTION = pointer(START)


def behind(name: bytes) -> int:
    """Return where the first record stands when that name is asked for."""
    return START + len(name) + 4


def body_of(*records: RR, suffix: bytes = WEB, size: int | None = None) -> bytes:
    return compose((records, (), ()), suffix, len(suffix) if size is None else size).octets


MX_RDATA = b"\0\x0a" + wire("mail.cluster.local.")
AT = behind(WEB)
IN_WEB = START + len(WEB) - len(ZONE)  # where "cluster.local." stands in the question

RECORDS = {
    "owner is the question": (address(WEB, IPV4, 5), record(QUESTION, 1, IPV4, ttl=5)),
    "owner in other letters": (
        address(wire("WeB.default.SVC.cluster.local."), IPV4, 5),
        record(QUESTION, 1, IPV4, ttl=5),
    ),
    "owner above the question": (address(ZONE, IPV4, 5), record(pointer(IN_WEB), 1, IPV4, ttl=5)),
    "owner below the question": (address(b"\1a" + WEB, IPV4, 5), record(b"\1a" + QUESTION, 1, IPV4, ttl=5)),
    "owner elsewhere": (address(wire("a.example."), IPV4, 5), record(wire("a.example."), 1, IPV4, ttl=5)),
    "owner is the root": (address(b"\0", IPV4, 5), record(b"\0", 1, IPV4, ttl=5)),
    "class and TTL": (RR(WEB, 1, RRClass.CH, 0xFFFFFFFF, IPV4), record(QUESTION, 1, IPV4, 3, 0xFFFFFFFF)),
    "AAAA": (address(WEB, bytes(16), 0), record(QUESTION, 28, bytes(16))),
    "TXT is no name": (txt(WEB, "x", 0), record(QUESTION, 16, b"\1x")),
    "unknown type": (RR(WEB, 65280, 1, 0, WEB), record(QUESTION, 65280, WEB)),
    "no RDATA": (RR(WEB, 65280, 1, 0, b""), record(QUESTION, 65280, b"")),
    "NS": (ns(ZONE, b"\2ns" + ZONE, 0), record(pointer(IN_WEB), 2, b"\2ns" + pointer(IN_WEB))),
    "CNAME": (cname(WEB, wire("a.example."), 0), record(QUESTION, 5, wire("a.example."))),
    "CNAME to itself": (cname(WEB, WEB, 0), record(QUESTION, 5, QUESTION)),
    "PTR": (ptr(WEB, ZONE, 0), record(QUESTION, 12, pointer(IN_WEB))),
    "MX": (RR(WEB, 15, 1, 0, MX_RDATA), record(QUESTION, 15, b"\0\x0a\4mail" + pointer(IN_WEB))),
    "MINFO's names are written out": (RR(WEB, 14, 1, 0, ZONE + ZONE), record(QUESTION, 14, ZONE + ZONE)),
    "SOA": (
        soa(ZONE, b"\2ns\3dns" + ZONE, b"\x0ahostmaster" + ZONE, 5, serial=1, times=(2, 3, 4, 5)),
        record(
            pointer(IN_WEB),
            6,
            b"\2ns\3dns"
            + pointer(IN_WEB)
            + b"\x0ahostmaster"
            + pointer(IN_WEB)
            + bytes.fromhex("00000001 00000002 00000003 00000004 00000005"),
            ttl=5,
        ),
    ),
    "SOA's second name points into its first": (
        soa(WEB, wire("ns.example."), wire("mail.ns.example."), 0, serial=0, times=(0, 0, 0, 0)),
        record(QUESTION, 6, wire("ns.example.") + b"\4mail" + pointer(AT + 12) + bytes(20)),
    ),
    "SRV's target is written out": (
        srv(WEB, WEB, 5, weight=100, port=80),
        record(QUESTION, 33, b"\0\0\0\x64\0\x50" + WEB, ttl=5),
    ),
    "DNAME's target is written out": (RR(WEB, RRType.DNAME, 1, 0, ZONE), record(QUESTION, 39, ZONE)),
}


@pytest.mark.parametrize(("rr", "octets"), RECORDS.values(), ids=RECORDS)
def test_record(rr: RR, octets: bytes) -> None:
    body = compose(((rr,), (), ()), WEB, len(WEB))
    assert body == Body(octets, (1, 0, 0), (len(octets),))


def test_names_point_to_each_other() -> None:
    first, second = wire("a.example."), wire("b.a.example.")
    assert body_of(address(first, IPV4, 0), address(second, IPV4, 0)) == record(first, 1, IPV4) + record(
        b"\1b" + pointer(AT), 1, IPV4
    )


@pytest.mark.parametrize("target", ["a.example.", "A.Example."], ids=["lower case", "mixed case"])
def test_later_names_point_into_an_srv_target(target: str) -> None:
    service, glue = srv(WEB, wire(target), 0, weight=0, port=0), address(wire(target), IPV4, 0)
    in_target = AT + 12 + 6
    expected = record(QUESTION, 33, bytes(6) + wire(target)) + record(pointer(in_target), 1, IPV4)
    assert body_of(service, glue) == expected


def test_earliest_of_equal_targets_is_pointed_at() -> None:
    service = srv(WEB, wire("a.example."), 0, weight=0, port=0)
    body = body_of(service, service, address(wire("a.example."), IPV4, 0))
    assert body.endswith(record(pointer(AT + 12 + 6), 1, IPV4))


def test_suffix_alone_is_pointed_at_when_a_body_serves_many_names() -> None:
    for size in (len(ZONE) + 4, 200, 255):
        body = body_of(address(WEB, IPV4, 0), ns(ZONE, ZONE, 0), suffix=ZONE, size=size)
        zone = pointer(START + size - len(ZONE))
        assert body == record(WEB.removesuffix(ZONE) + zone, 1, IPV4) + record(zone, 2, zone)


def test_targets_carry_the_zone_as_typed() -> None:
    typed = wire("ClUsTeR.lOcAl.")
    inside, outside = srv(WEB, WEB, 0, weight=0, port=0), srv(WEB, wire("a.example."), 0, weight=0, port=0)
    spelled = WEB.removesuffix(ZONE) + typed
    body = compose(((inside, outside), (), (address(WEB, IPV4, 0),)), WEB, len(WEB), typed)
    assert body.octets == (
        record(QUESTION, 33, bytes(6) + spelled)
        + record(QUESTION, 33, bytes(6) + wire("a.example."))
        + record(QUESTION, 1, IPV4)
    )
    assert len(body.octets) == len(compose(((inside, outside), (), (address(WEB, IPV4, 0),)), WEB, len(WEB)).octets)


@pytest.mark.parametrize(("offset", "pointed"), [(0x3FFF, True), (0x4000, False)], ids=["16383", "16384"])
def test_names_out_of_reach_of_a_pointer(offset: int, pointed: bool) -> None:
    """A pointer has fourteen bits (RFC 1035 §4.1.4)."""
    filler = RR(WEB, 16, 1, 0, bytes(offset - AT - 12))
    owner = wire("example.")
    assert AT + len(body_of(filler)) == offset
    body = body_of(filler, address(owner, IPV4, 0), address(owner, IPV4, 0))
    assert body.endswith(record(owner, 1, IPV4) + record(pointer(offset) if pointed else owner, 1, IPV4))


def test_srv_target_that_begins_in_reach_and_ends_out_of_it() -> None:
    filler = RR(WEB, 16, 1, 0, bytes(0x3FFE - AT - 12 - 18))
    target = wire("a.example.")
    body = body_of(
        filler, srv(WEB, target, 0, weight=0, port=0), address(target, IPV4, 0), address(target[2:], IPV4, 0)
    )
    assert body.endswith(record(pointer(0x3FFE), 1, IPV4) + record(target[2:], 1, IPV4))


def test_sections_are_counted() -> None:
    a = address(WEB, IPV4, 0)
    body = compose(((a, a), (ns(ZONE, ZONE, 0),), (a, a, a)), WEB, len(WEB))
    assert body.counts == (2, 1, 3)
    assert body.ends == (16, 32, 46, 62, 78, 94)


def test_nothing() -> None:
    assert compose(((), (), ()), WEB, len(WEB)) == Body(b"", (0, 0, 0), ())


BODY = compose(
    ((address(WEB, IPV4, 0),) * 2, (ns(ZONE, ZONE, 0),), (address(WEB, IPV4, 0),)), WEB, len(WEB)
)  # ends at 16, 32, 46, 62
CUTS = {
    "nothing fits": (15, (0, 0, 0), 0),
    "no room": (0, (0, 0, 0), 0),
    "less than no room": (-5, (0, 0, 0), 0),
    "first exactly": (16, (1, 0, 0), 16),
    "first and a half": (31, (1, 0, 0), 16),
    "answer exactly": (32, (2, 0, 0), 32),
    "into authority": (45, (2, 0, 0), 32),
    "authority exactly": (46, (2, 1, 0), 46),
    "one octet short of all": (61, (2, 1, 0), 46),
    "all exactly": (62, (2, 1, 1), 62),
    "more than all": (63, (2, 1, 1), 62),
}


@pytest.mark.parametrize(("room", "counts", "size"), CUTS.values(), ids=CUTS)
def test_cut(room: int, counts: tuple[int, int, int], size: int) -> None:
    rest = cut(BODY, room)
    assert rest == Body(BODY.octets[:size], counts, tuple(end for end in BODY.ends if end <= size))


def test_a_smaller_record_behind_one_that_does_not_fit_is_left_out() -> None:
    body = compose(((txt(WEB, "x" * 200, 0), address(WEB, IPV4, 0)), (), ()), WEB, len(WEB))
    assert cut(body, 100) == Body(b"", (0, 0, 0), ())
