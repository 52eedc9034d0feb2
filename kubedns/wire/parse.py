"""The octets of a reply that came in, as a Reply (RFC 1035 §4.1)."""

from struct import Struct

from kubedns.wire.compose import Body
from kubedns.wire.edns import Edns, read_options
from kubedns.wire.errors import WireError
from kubedns.wire.name import POINTER, read_name
from kubedns.wire.numbers import AA, AD, HEADER_SIZE, RA, RCODE_MASK, TC, RRType
from kubedns.wire.records import EXPANDED_NAMES, RR
from kubedns.wire.reply import Reply

COUNTS = Struct("!6x3H")  # of records, in a header
OPT = int(RRType.OPT)
KEPT_FLAGS = AA | TC | RA | AD


def parse_reply(octets: bytes) -> Reply:
    """Return the Reply in a message's octets, its names uncompressed; raise WireError where it can't be read."""
    if len(octets) < HEADER_SIZE:
        raise WireError("shorter than a header")
    flags = int.from_bytes(octets[2:4], "big")
    questions, *counts = (int.from_bytes(octets[at : at + 2], "big") for at in (4, 6, 8, 10))
    at = HEADER_SIZE
    for _ in range(questions):
        at = read_name(octets, at)[1] + 4
    if at > len(octets):
        raise WireError("question cut short")
    sections: list[list[RR]] = []
    for count in counts:
        records = []
        for _ in range(count):
            rr, at = read_record(octets, at)
            records.append(rr)
        sections.append(records)
    edns = None
    rcode = flags & RCODE_MASK
    additional = sections[2]
    sections[2] = [rr for rr in additional if rr.rrtype != RRType.OPT]
    for rr in additional if len(sections[2]) < len(additional) else ():
        if rr.rrtype != RRType.OPT:
            continue
        edns = Edns(rr.rrclass, rr.ttl >> 16 & 0xFF, rr.ttl & 0xFFFF, read_options(rr.rdata))
        rcode = flags & RCODE_MASK | rr.ttl >> 24 << 4
    return Reply(*sections, rcode=rcode, flags=flags & KEPT_FLAGS, edns=edns)


def ttl_places(octets: bytes) -> tuple[int, ...]:
    """Return where in a message of ours, with one question, the TTL of each record stands but for the OPT record's."""
    return _places(octets, *_records(octets))[0]


def ttl_places_in(body: Body) -> tuple[int, ...]:
    """Return where in a body the TTL of each record stands."""
    return _places(body.octets, 0, len(body.ends))[0]


def last_end(octets: bytes) -> int:
    """Return where in a message of ours, with one question, the last record ends but for the OPT record."""
    return _places(octets, *_records(octets))[1]


def _records(octets: bytes) -> tuple[int, int]:
    """Return where the records of a message begin, and how many there are."""
    return _behind_name(octets, HEADER_SIZE) + 4, sum(COUNTS.unpack_from(octets))


def _places(octets: bytes, at: int, records: int) -> tuple[tuple[int, ...], int]:
    """Return where TTLs of so many records stand, and where the last one ends."""
    end = at
    places = []
    for _ in range(records):
        at = at + 2 if octets[at] >= POINTER else _behind_name(octets, at)
        behind = at + 10 + (octets[at + 8] << 8 | octets[at + 9])
        if octets[at + 1] != OPT or octets[at]:
            places.append(at + 4)
            end = behind
        at = behind
    return tuple(places), end


def _behind_name(octets: bytes, at: int) -> int:
    """Return where a name ends, without a look at what it says."""
    while size := octets[at]:
        if size >= POINTER:
            return at + 2
        at += 1 + size
    return at + 1


def read_record(octets: bytes, at: int) -> tuple[RR, int]:
    owner, at = read_name(octets, at)
    head = octets[at : at + 10]
    size = int.from_bytes(head[8:], "big")
    start, end = at + 10, at + 10 + size
    if end > len(octets):
        raise WireError("record cut short")
    rrtype = int.from_bytes(head[:2], "big")
    rdata = _expand(octets, start, end, rrtype)
    ttl = int.from_bytes(head[4:8], "big")
    return RR(owner, rrtype, int.from_bytes(head[2:4], "big"), ttl, rdata), end


def _expand(octets: bytes, start: int, end: int, rrtype: int) -> bytes:
    """Return RDATA with the names in it uncompressed."""
    names = EXPANDED_NAMES.get(rrtype)
    if names is None:
        return octets[start:end]
    fixed, count = names
    rdata = octets[start : start + fixed]
    at = start + fixed
    for _ in range(count):
        wire, at = read_name(octets, at)
        rdata += wire
    if at > end:
        raise WireError("name runs out of its record")
    return rdata + octets[at:end]
