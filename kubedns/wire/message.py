"""The whole message as dnslib sees it, for plugins and tools that want it; made only when asked for.

The only import of dnslib: reading and writing a message with it costs twenty times what answering a query does.
"""

from dnslib import DNSError, DNSRecord

from kubedns.wire.edns import Edns, read_options
from kubedns.wire.errors import WireError
from kubedns.wire.name import read_name
from kubedns.wire.numbers import AA, AD, HEADER_SIZE, RA, RCODE_MASK, TC, RRType
from kubedns.wire.query import Query
from kubedns.wire.records import EXPANDED_NAMES, RR
from kubedns.wire.reply import Reply

KEPT_FLAGS = AA | TC | RA | AD


def message(octets: bytes) -> DNSRecord:
    """Return a message's dnslib form; raise WireError where dnslib can't read it."""
    try:
        return DNSRecord.parse(octets)
    except (DNSError, ValueError, IndexError) as error:
        raise WireError(str(error)) from error


def query_message(query: Query) -> DNSRecord:
    """Return a query (header and question) as a dnslib message, from which `.reply()` makes an answer."""
    counts = b"\0\1\0\0\0\0\0\0"
    return message(query.id + query.flags.to_bytes(2, "big") + counts + query.question)


def reply_of(record: DNSRecord) -> Reply:
    """Return the Reply that says what a dnslib message says."""
    return parse_reply(bytes(record.pack()))


def parse_reply(octets: bytes) -> Reply:
    """Return the Reply in a message's octets, its names uncompressed; raise WireError where it can't be read."""
    if len(octets) < HEADER_SIZE:
        raise WireError("shorter than a header")
    flags = int.from_bytes(octets[2:4], "big")
    questions, *counts = (int.from_bytes(octets[at : at + 2], "big") for at in (4, 6, 8, 10))
    at = HEADER_SIZE
    for _ in range(questions):
        at = read_name(octets, at)[1] + 4
    sections: list[list[RR]] = []
    for count in counts:
        records = []
        for _ in range(count):
            rr, at = _read_record(octets, at)
            records.append(rr)
        sections.append(records)
    edns = None
    rcode = flags & RCODE_MASK
    for rr in [rr for rr in sections[2] if rr.rrtype == RRType.OPT]:
        sections[2].remove(rr)
        edns = Edns(rr.rrclass, rr.ttl >> 16 & 0xFF, rr.ttl & 0xFFFF, read_options(rr.rdata))
        rcode = flags & RCODE_MASK | rr.ttl >> 24 << 4
    return Reply(*sections, rcode=rcode, flags=flags & KEPT_FLAGS, edns=edns)


def _read_record(octets: bytes, at: int) -> tuple[RR, int]:
    owner, at = read_name(octets, at)
    head = octets[at : at + 10]
    size = int.from_bytes(head[8:], "big")
    start, end = at + 10, at + 10 + size
    if len(head) < 10 or end > len(octets):  # noqa: PLR2004 - TYPE to RDLENGTH
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
