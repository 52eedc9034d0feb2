"""Where the records of a message stand: one way through its octets, nothing built of them."""

from dataclasses import dataclass
from struct import Struct

from kubedns.wire.compose import AT_QUESTION, POINTER_BITS
from kubedns.wire.edns import Edns, read_options
from kubedns.wire.errors import WireError
from kubedns.wire.name import MAXIMUM_LABEL, MAXIMUM_NAME, POINTER
from kubedns.wire.numbers import HEADER_SIZE, RRType
from kubedns.wire.records import COMPRESSED_NAMES, EXPANDED_NAMES

OPT = int(RRType.OPT)
FIXED = Struct("!2HIH")  # TYPE, CLASS, TTL, RDLENGTH
FIXED_SIZE = 10
TYPE_BEFORE = 4  # octets from a record's TYPE to its TTL
MOST_LAYOUTS = 4096
SHARED_RECORDS = 16
MOST_PLAIN = 256


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where the records of a body end, and where their TTLs stand, counted from the body's first octet.

    `types` are those of each section's records. `head` is a message's four counts as octets, `head_and_opt` those of
    one with an OPT record besides.
    """

    counts: tuple[int, int, int]
    ends: tuple[int, ...]
    ttls: tuple[int, ...]
    types: tuple[tuple[int, ...], ...]
    head: bytes
    head_and_opt: bytes


def layout_of(
    counts: tuple[int, int, int], ends: tuple[int, ...], ttls: tuple[int, ...], types: tuple[int, ...]
) -> Layout:
    """Return a layout; replies have few shapes, and those of short ones are shared."""
    places = (counts, ends, ttls, types)  # a plain tuple finds its equal, and takes a third of the time to make
    shared = _layouts.get(places)
    if shared is not None:
        return shared
    answer, authority, additional = counts
    behind = answer + authority
    head = 1 << 48 | answer << 32 | authority << 16 | additional
    layout = Layout(
        counts,
        ends,
        ttls,
        (types[:answer], types[answer:behind], types[behind:]),
        head.to_bytes(8, "big"),
        (head + 1).to_bytes(8, "big"),
    )
    if len(ends) <= SHARED_RECORDS and len(_layouts) < MOST_LAYOUTS:
        _layouts[places] = layout
    return layout


_layouts: dict[tuple[object, ...], Layout] = {}
# What is behind most questions, by its first octets: nothing, or an address of the question's own name (pointer, TYPE,
# CLASS).
LONE = {
    b"": layout_of((0, 0, 0), (), (), ()),
    AT_QUESTION + b"\0\1\0\1": layout_of((1, 0, 0), (16,), (6,), (1,)),  # A
    AT_QUESTION + b"\0\x1c\0\1": layout_of((1, 0, 0), (28,), (6,), (28,)),  # AAAA
}
plain: dict[bytes, Edns] = {}  # OPT records without options and upper bits of an RCODE; upstreams send a few kinds


class Unpackable(Exception):  # noqa: N818 - no error: such a message is read record by record
    """A message whose octets can't stand behind another question as they are."""


class Walk:
    """One way through the records of a message, every octet of a name looked at, nothing built."""

    __slots__ = ("_counts", "_ends", "_known", "_octets", "_ttls", "_types", "edns", "end", "least", "rcode")

    def __init__(
        self, octets: bytes, start: int, counts: "list[int] | tuple[int, ...]", *, composed: bool = False
    ) -> None:
        """`end` is where the last record ends but for an OPT record; `rcode` the upper bits that one tells.

        Raises IndexError or StructError where the message is cut short, WireError where it is otherwise wrong.
        """
        answer, authority, additional = counts
        self._octets = octets
        self._known: dict[int, int] | None = None
        self._ends: list[int] = []
        self._ttls: list[int] = []
        self._types: list[int] = []
        self.edns: Edns | None = None
        self.rcode = 0
        ends, ttls, types = self._ends, self._ttls, self._types
        total = answer + authority + additional
        least = 1 << 32
        at = start
        for place in range(total):
            owner = at
            if octets[at] == POINTER and octets[at + 1] == HEADER_SIZE:
                at += 2
            else:
                at = self._pass_name(at, pointers=True)
            rrtype, rrclass, ttl, size = FIXED.unpack_from(octets, at)
            end = at + FIXED_SIZE + size
            if end > len(octets):
                raise WireError("record cut short")
            if rrtype == OPT and place >= answer + authority and not composed:
                if place < total - 1:
                    raise Unpackable
                self._read_opt(octets[owner:end], at - owner, rrclass, ttl)
                additional -= 1
                at = owner
                break
            if rrtype in EXPANDED_NAMES:
                self._pass_rdata(at + FIXED_SIZE, end, rrtype)
            types.append(rrtype)
            ttls.append(at + TYPE_BEFORE - start)
            ends.append(end - start)
            least = min(least, ttl)
            at = end
        self._counts = (answer, authority, additional)
        self.end = at
        self.least = least if ends else None

    def layout(self) -> Layout:
        """Return the places of the records that were passed."""
        return layout_of(self._counts, tuple(self._ends), tuple(self._ttls), tuple(self._types))

    def _read_opt(self, record: bytes, owner_size: int, size: int, ttl: int) -> None:
        self.rcode = ttl >> 24 << 4
        edns = plain.get(record)
        if edns is None:
            options = read_options(record[owner_size + FIXED_SIZE :])
            edns = Edns(size, ttl >> 16 & 0xFF, ttl & 0xFFFF, options)
            if not (options or self.rcode) and owner_size == 1 and len(plain) < MOST_PLAIN:
                plain[record] = edns
        self.edns = edns

    def _pass_rdata(self, at: int, end: int, rrtype: int) -> None:
        """Check the names in RDATA; where only some resolvers would follow a pointer it is not to go out."""
        fixed, count = EXPANDED_NAMES[rrtype]
        at += fixed
        for _ in range(count):
            at = self._pass_name(at, pointers=rrtype in COMPRESSED_NAMES)
        if at > end:
            raise WireError("name runs out of its record")

    def _pass_name(self, at: int, *, pointers: bool) -> int:
        """Return the offset behind a name, and note where its labels start: only there a pointer may lead.

        Anything else it might lead to can change: header, TTLs, what stands behind.
        """
        octets, known = self._octets, self._known
        if known is None:
            known = self._known = self._question()
        start, rest = at, 1
        starts = []
        while length := octets[at]:
            if length <= MAXIMUM_LABEL:
                starts.append(at)
                at += length + 1
            elif length >= POINTER:
                found = known.get((length << 8 | octets[at + 1]) ^ POINTER_BITS)
                if found is None or not pointers:
                    raise Unpackable
                rest = found
                break
            else:
                raise WireError("unknown label type")
        if at - start + rest > MAXIMUM_NAME:
            raise WireError("name of more than 255 octets")
        for label in starts:
            known[label] = at - label + rest
        return at + 2 if length else at + 1

    def _question(self) -> dict[int, int]:
        """Return the octets of the name that starts at each label of the question's name."""
        octets, at = self._octets, HEADER_SIZE
        starts = [at]
        while length := octets[at]:
            at += length + 1
            starts.append(at)
        return {start: at + 1 - start for start in starts}
