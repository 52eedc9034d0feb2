"""Sections to body: names compressed against the question and each other (RFC 1035 §4.1.4).

Names in the RDATA of types newer than RFC 1035 are written out (RFC 3597 §4), but later names may point into an
SRV record's target, as CoreDNS's do: so the same records fit into the same number of octets.
"""

from collections.abc import Sequence
from typing import NamedTuple

from kubedns.wire.name import ROOT
from kubedns.wire.numbers import HEADER_SIZE, RRType
from kubedns.wire.records import COMPRESSED_NAMES, RR, SRV_FIXED

LARGEST_POINTER = 0x3FFF
POINTER_BITS = 0xC000


class Body(NamedTuple):
    """The three sections as octets, and where each record ends, counted from the body's first octet."""

    octets: bytes
    counts: tuple[int, int, int]
    ends: tuple[int, ...]


def compose(sections: Sequence[Sequence[RR]], suffix: bytes, question_name_size: int, spelling: bytes = b"") -> Body:
    """Return the body that stands behind a question whose name ends in `suffix` (often the whole name).

    The body holds no octet of the question's name but for pointers, so it fits every name of that size and suffix.
    `spelling` is the zone in the letters that the client used: the SRV targets that end in it carry them.
    """
    body = bytearray()
    start = HEADER_SIZE + question_name_size + 4
    known: dict[bytes, int] = {}
    _remember(known, suffix, HEADER_SIZE + question_name_size - len(suffix))
    ends = []
    zone = spelling.lower()
    for section in sections:
        for rr in section:
            _write_name(body, rr.owner, known, start)
            body += (rr.rrtype << 48 | rr.rrclass << 32 | rr.ttl).to_bytes(8, "big")
            place = len(body)
            body += b"\0\0"
            rdata = rr.rdata
            if rr.rrtype == RRType.SRV:
                target = rdata[SRV_FIXED:]
                if zone and target.endswith(zone):
                    rdata = rdata[: -len(zone)] + spelling
                _remember(known, target.lower(), start + place + 2 + SRV_FIXED)
                body += rdata
            elif (names := COMPRESSED_NAMES.get(rr.rrtype)) is not None:
                _write_rdata(body, rdata, names, known, start)
            else:
                body += rdata
            body[place : place + 2] = (len(body) - place - 2).to_bytes(2, "big")
            ends.append(len(body))
    answer, authority, additional = sections
    return Body(bytes(body), (len(answer), len(authority), len(additional)), tuple(ends))


def cut(body: Body, room: int) -> Body:
    """Return as much of a body as fits into `room` octets: whole records, none behind the first that does not fit."""
    kept = 0
    for end in body.ends:
        if end > room:
            break
        kept += 1
        if end == room:
            break
    counts = []
    left = kept
    for count in body.counts:
        counts.append(min(count, left))
        left -= counts[-1]
    size = body.ends[kept - 1] if kept else 0
    return Body(body.octets[:size], (counts[0], counts[1], counts[2]), body.ends[:kept])


def _write_rdata(body: bytearray, rdata: bytes, names: tuple[int, int], known: dict[bytes, int], start: int) -> None:
    at, count = names
    body += rdata[:at]
    for _ in range(count):
        end = at
        while size := rdata[end]:
            end += size + 1
        _write_name(body, rdata[at : end + 1], known, start)
        at = end + 1
    body += rdata[at:]


def _write_name(body: bytearray, wire: bytes, known: dict[bytes, int], start: int) -> None:
    """Append a name: as many labels as are new, then a pointer to the longest suffix seen before."""
    at = 0
    key = wire.lower()
    while size := wire[at]:
        pointer = known.get(key[at:])
        if pointer is not None:
            body += (POINTER_BITS | pointer).to_bytes(2, "big")
            return
        offset = start + len(body)
        if offset <= LARGEST_POINTER:
            known[key[at:]] = offset
        body += wire[at : at + size + 1]
        at += size + 1
    body += ROOT


def _remember(known: dict[bytes, int], wire: bytes, offset: int) -> None:
    """Note where each suffix of a (lower-case) name stands that was written out in full, unless one stands earlier."""
    at = 0
    while size := wire[at]:
        if offset + at <= LARGEST_POINTER:
            known.setdefault(wire[at:], offset + at)
        at += size + 1
