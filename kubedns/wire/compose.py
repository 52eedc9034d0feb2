"""Sections to body: names compressed against the question and each other (RFC 1035 §4.1.4).

Names in the RDATA of types newer than RFC 1035 are written out (RFC 3597 §4), but later names may point into an
SRV record's target, as CoreDNS's do: so the same records fit into the same number of octets.
"""

from collections.abc import Sequence
from typing import NamedTuple

from kubedns.wire.name import POINTER, ROOT
from kubedns.wire.numbers import HEADER_SIZE, RRType
from kubedns.wire.records import COMPRESSED_NAMES, RR, SRV_FIXED

SRV, PTR = int(RRType.SRV), int(RRType.PTR)
ADDRESSES = (int(RRType.A), int(RRType.AAAA))
# Type, and octets of the whole record, its owner a pointer.
MOVABLE = {(RRType.A.to_bytes(2, "big"), 16), (RRType.AAAA.to_bytes(2, "big"), 28)}
AT_QUESTION = b"\xc0\x0c"  # a pointer to the question's name, which stands right behind the header
QUESTION_FIXED = 4  # QTYPE and QCLASS
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
    answer, authority, additional = sections
    if len(answer) == 1 and not (authority or additional) and question_name_size == len(suffix) > len(ROOT):
        alone = _alone(answer[0], suffix)
        if alone is not None:
            return alone
    names = _Names(suffix, question_name_size)
    body = names.body
    ends = []
    zone = spelling.lower()
    for section in sections:
        for rr in section:
            names.write(rr.owner)
            body += (rr.rrtype << 48 | rr.rrclass << 32 | rr.ttl).to_bytes(8, "big")
            place = len(body)
            body += b"\0\0"
            rdata = rr.rdata
            if rr.rrtype == SRV:
                target = rdata[SRV_FIXED:]
                if zone and target.endswith(zone):
                    rdata = rdata[: -len(zone)] + spelling
                names.remember(target.lower(), place + 2 + SRV_FIXED)
                body += rdata
            elif rr.rrtype in COMPRESSED_NAMES:
                names.write_rdata(rdata, *COMPRESSED_NAMES[rr.rrtype])
            else:
                body += rdata
            body[place : place + 2] = (len(body) - place - 2).to_bytes(2, "big")
            ends.append(len(body))
    return Body(bytes(body), (len(answer), len(authority), len(additional)), tuple(ends))


def pieces(octets: bytes, ends: Sequence[int], places: Sequence[int]) -> list[bytes]:
    """Return the octets of records, which end where `ends` says, in the order of these places."""
    ends = (*ends, 0)  # the first begins where the last of these says
    return [octets[ends[place - 1] : ends[place]] for place in places]


def can_move(record: bytes) -> bool:
    """Tell whether a record is the same at each place: an address, its owner a pointer."""
    return record[0] >= POINTER and (record[2:4], len(record)) in MOVABLE


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


def _alone(rr: RR, name: bytes) -> Body | None:
    """Return the commonest body, one record at the question's own name, or None where that needs more thought.

    A name in its RDATA is written out if it can have no suffix in common with the question's: another last letter.
    """
    rdata = rr.rdata
    if rr.owner != name or not (rr.rrtype in ADDRESSES or (rr.rrtype == PTR and rdata[-2:] != name[-2:])):
        return None
    fixed = (rr.rrtype << 64 | rr.rrclass << 48 | rr.ttl << 16 | len(rdata)).to_bytes(10, "big")
    octets = AT_QUESTION + fixed + rdata
    return Body(octets, (1, 0, 0), (len(octets),))


class _Names:
    """A body being written, and where in the message each name stands that later ones may point at."""

    __slots__ = ("_known", "_start", "_suffix", "_suffix_at", "_suffix_pointer", "body")

    def __init__(self, suffix: bytes, question_name_size: int) -> None:
        self.body = bytearray()
        self._start = HEADER_SIZE + question_name_size + QUESTION_FIXED
        self._suffix = suffix
        self._suffix_at = HEADER_SIZE + question_name_size - len(suffix)
        self._suffix_pointer = (POINTER_BITS | self._suffix_at).to_bytes(2, "big")
        self._known: dict[bytes, int] = {}  # the suffix's own come in once a name needs them: most replies have none

    def write(self, wire: bytes) -> None:
        """Append a name: as many labels as are new, then a pointer to the longest suffix seen before."""
        body = self.body
        if wire == self._suffix and wire != ROOT:
            body += self._suffix_pointer
            return
        known, start, at = self._all_known(), self._start, 0
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

    def write_rdata(self, rdata: bytes, fixed: int, count: int) -> None:
        """Append RDATA that has names behind its first octets, one behind the other."""
        at = fixed
        self.body += rdata[:at]
        for _ in range(count):
            end = at
            while size := rdata[end]:
                end += size + 1
            self.write(rdata[at : end + 1])
            at = end + 1
        self.body += rdata[at:]

    def remember(self, wire: bytes, place: int) -> None:
        """Note where each suffix of a name stands that is written out in full, unless one stands earlier."""
        _note(self._all_known(), wire, self._start + place)

    def _all_known(self) -> dict[bytes, int]:
        if not self._known:
            _note(self._known, self._suffix, self._suffix_at)
        return self._known


def _note(known: dict[bytes, int], wire: bytes, offset: int) -> None:
    at = 0
    while size := wire[at]:
        if offset + at <= LARGEST_POINTER:
            known.setdefault(wire[at:], offset + at)
        at += size + 1
