"""A reply kept as the octets in which it came, for what is passed on or kept and seldom looked into.

The body stands behind the question of whoever asks: a pointer into the question finds the same name there, in that
client's own letters. So the octets go out as they are, but for TTLs, which all stand at known places.
"""

from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception, named as one
from typing import NamedTuple, Self, TypeVar

from kubedns.wire.compose import AT_QUESTION, POINTER_BITS, QUESTION_FIXED, Body, compose
from kubedns.wire.edns import Edns, read_options
from kubedns.wire.errors import WireError
from kubedns.wire.name import MAXIMUM_LABEL, MAXIMUM_NAME, POINTER
from kubedns.wire.numbers import CD, HEADER_SIZE, MINIMUM_UDP_SIZE, RCODE_MASK, RRType
from kubedns.wire.parse import KEPT_FLAGS, parse_reply, read_record
from kubedns.wire.query import Query
from kubedns.wire.records import COMPRESSED_NAMES, EXPANDED_NAMES, RR, write_serial
from kubedns.wire.reply import COPIED, Reply
from kubedns.wire.validity import NEVER, Tally, Validity

ONE_RECORD = b"\0\1\0\1\0\0\0\0"  # the counts: a question, an answer
ONE_AND_OPT = b"\0\1\0\1\0\0\0\1"
OPT = int(RRType.OPT)
HEADER = Struct("!2x5H")  # flags and the four counts
FIXED = Struct("!2HIH")  # TYPE, CLASS, TTL, RDLENGTH
FIXED_SIZE = 10
TTL_SIZE = 4
TYPE_BEFORE = 4  # octets from a record's TYPE to its TTL
SHORT = MINIMUM_UDP_SIZE - 64  # a message of so many octets fits every client, its OPT record included
MOST_LAYOUTS = 4096
SHARED_RECORDS = 16
MOST_PLAIN = 256


Packed = TypeVar("Packed", bound="PackedReply")


class Layout(NamedTuple):
    """Where the records of a body end, and where their TTLs stand, counted from the body's first octet."""

    counts: tuple[int, int, int]
    ends: tuple[int, ...]
    ttls: tuple[int, ...]


# Records of the question's own name, by their first octets: pointer, TYPE, CLASS.
LONE = {
    AT_QUESTION + b"\0\1\0\1": Layout((1, 0, 0), (16,), (6,)),  # A
    AT_QUESTION + b"\0\x1c\0\1": Layout((1, 0, 0), (28,), (6,)),  # AAAA
}
_layouts: dict[tuple[object, ...], Layout] = {}  # replies have few shapes: those of short ones are shared
_plain: dict[bytes, Edns] = {}  # OPT records without options and upper bits of an RCODE; upstreams send a few kinds


class _Unpackable(Exception):  # noqa: N818 - no error: such a message is read record by record
    """A message whose octets can't stand behind another question as they are."""


class PackedReply(Reply):
    """A Reply for one name, `name`; its `sections` are read from the octets when somebody wants them.

    `least` is the least TTL of all records, None where there are none.
    """

    __slots__ = ("_layout", "_packed", "_tight", "least", "name")

    def __init__(  # noqa: PLR0913 - one argument for each thing a reply says
        self,
        packed: bytes,
        layout: Layout,
        name: bytes,
        *,
        least: int | None,
        rcode: int,
        flags: int,
        edns: Edns | None = None,
        validity: Validity = NEVER,
        tallies: tuple[Tally, ...] = (),
        tight: bool = False,
    ) -> None:
        """`packed` are the three sections behind a question for `name`; `tight`: no names in them can be shorter.

        Reply's own `sections` is left unset: __getattr__ sees to it.
        """
        self._packed = packed
        self._layout = layout
        self._tight = tight
        self.name = name
        self.least = least
        self.rcode = rcode
        self.flags = flags
        self.edns = edns
        self.validity = validity
        self.suffix = None
        self.zone = b""
        self.tallies = tallies
        self.denies = b""
        self.siblings = None
        self.expires = 0.0
        self.serial = None

    def __getattr__(self, attribute: str) -> tuple[tuple[RR, ...], ...]:
        """Read the sections the first time that they are asked for."""
        if attribute != "sections":
            raise AttributeError(attribute)
        self.sections = self.read_sections()
        return self.sections

    @property
    def counts(self) -> tuple[int, int, int]:
        """The records of each section."""
        return self._layout.counts

    def read_sections(self) -> tuple[tuple[RR, ...], tuple[RR, ...], tuple[RR, ...]]:
        """Return the sections, without keeping them."""
        octets = bytes(HEADER_SIZE) + self.name + bytes(QUESTION_FIXED) + self._packed
        at = len(octets) - len(self._packed)
        sections: list[tuple[RR, ...]] = []
        for count in self._layout.counts:
            records = []
            for _ in range(count):
                rr, at = read_record(octets, at)
                records.append(rr)
            sections.append(tuple(records))
        answer, authority, additional = sections
        return answer, authority, additional

    def types(self, section: int) -> list[int]:
        """Return the types of a section's records, in order; answer is 0, authority 1, additional 2."""
        packed, counts = self._packed, self._layout.counts
        first = sum(counts[:section])
        return [
            packed[place - TYPE_BEFORE] << 8 | packed[place - TYPE_BEFORE + 1]
            for place in self._layout.ttls[first : first + counts[section]]
        ]

    def starts_with(self, rrtype: int, rrclass: int) -> bool:
        """Tell whether the first record of the answer is of that type and class and the question's own name."""
        head = AT_QUESTION + rrtype.to_bytes(2, "big") + rrclass.to_bytes(2, "big")
        return self._layout.counts[0] > 0 and self._packed.startswith(head)

    def with_ttl(
        self,
        ttl: int,
        *,
        flags: int,
        edns: Edns | None = None,
        validity: Validity = NEVER,
        tallies: tuple[Tally, ...] = (),
    ) -> "PackedReply":
        """Return the same records, all with one TTL in seconds, and with the serial that there is now."""
        octets = ttl.to_bytes(TTL_SIZE, "big")
        packed = bytearray(self._packed)
        for place in self._layout.ttls:
            packed[place : place + TTL_SIZE] = octets
        if self.serial is not None:
            write_serial(packed, self._layout.ends[-1], self.serial.value)
        made = PackedReply(
            bytes(packed),
            self._layout,
            self.name,
            least=None if self.least is None else ttl,
            rcode=self.rcode,
            flags=flags,
            edns=edns,
            validity=validity,
            tallies=tallies,
            tight=self._tight,
        )
        made.serial = self.serial
        return made

    def replaced(self, *, validity: Validity | None = None, denies: bytes | None = None) -> Self:
        """As a Reply's; nothing is read from the octets for it."""
        made = type(self)(
            self._packed,
            self._layout,
            self.name,
            least=self.least,
            rcode=self.rcode,
            flags=self.flags,
            edns=self.edns,
            validity=self.validity if validity is None else validity,
            tallies=self.tallies,
            tight=self._tight,
        )
        made.denies = self.denies if denies is None else denies
        made.siblings = self.siblings
        made.expires = self.expires
        made.serial = self.serial
        return made

    @property
    def size(self) -> int:
        """The octets of the records."""
        return len(self._packed)

    def body(self, query: Query) -> Body:
        """Return the octets as they came; compressed anew for a client that would not take them all."""
        if query.name != self.name:  # a plugin asked for another name than its client did
            return compose(self.sections, query.name, len(query.name))
        size = HEADER_SIZE + len(query.question) + len(self._packed)
        if size > SHORT and not self._tight:
            room = query.limit if query.edns is None else query.limit - len(self._opt(query.edns))
            if size > room:
                self._tighten()
        layout = self._layout
        return Body(self._packed, layout.counts, layout.ends)

    def _tighten(self) -> None:
        """What the reply says does not change by this."""
        body = compose(self.read_sections(), self.name, len(self.name))
        if len(body.octets) < len(self._packed):
            self._packed, self._layout = body.octets, _layout_of(body, self.name)
        self._tight = True


class UpstreamReply(PackedReply):
    """A reply as an upstream sent it: it says itself whether CD comes back."""

    copied = COPIED & ~CD

    __slots__ = ()


def read_packed(octets: bytes, query: Query) -> UpstreamReply:
    """Return the reply in a message's octets to a query; raise WireError where it can't be read.

    A message that can't stand behind the query's question as it is (another question, pointers to what is no name, an
    OPT record before others, targets compressed that must not be) is read and composed anew.
    """
    start = HEADER_SIZE + len(query.question)
    lone = LONE.get(octets[start : start + 6])
    if lone is not None:
        reply = _lone(octets, start, query, lone)
        if reply is not None:
            return reply
    try:
        flags, questions, *counts = HEADER.unpack_from(octets)
        if questions != 1 or not _echoes(octets[HEADER_SIZE:start], query):
            return _recomposed(octets, query)
        walk = _Walk(octets, start, counts)
    except _Unpackable:
        return _recomposed(octets, query)
    except (IndexError, StructError):
        raise WireError("cut short") from None
    return UpstreamReply(
        octets[start : walk.end],
        walk.layout(),
        query.name,
        least=walk.least,
        rcode=flags & RCODE_MASK | walk.rcode,
        flags=flags & (KEPT_FLAGS | CD),
        edns=walk.edns,
    )


def pack(reply: Reply, query: Query) -> PackedReply:
    """Return a Reply's octets and their places; it is for the query's name alone.

    Raises WireError for a record that no message can hold.
    """
    return reply if isinstance(reply, PackedReply) else _pack(reply, query, PackedReply)


def _pack(reply: Reply, query: Query, kind: type[Packed]) -> Packed:
    try:
        body = compose(reply.sections, query.name, len(query.name))
    except OverflowError as error:
        raise WireError(str(error)) from error
    made = kind(
        body.octets,
        _layout_of(body, query.name),
        query.name,
        least=min((rr.ttl for section in reply.sections for rr in section), default=None),
        rcode=reply.rcode,
        flags=reply.flags,
        edns=reply.edns,
        validity=reply.validity,
        tallies=reply.tallies,
        tight=True,
    )
    made.serial = reply.serial
    return made


def _lone(octets: bytes, start: int, query: Query, layout: Layout) -> UpstreamReply | None:
    """Return the commonest reply at once: an address of the question's own name and at most a plain OPT record."""
    counts, end = octets[4:HEADER_SIZE], start + layout.ends[0]
    edns = None
    if counts == ONE_AND_OPT:
        edns = _plain.get(octets[end:])
        if edns is None:
            return None
    elif counts != ONE_RECORD or len(octets) != end:
        return None
    packed = octets[start:end]
    if octets[HEADER_SIZE:start] != query.question or packed[10] or packed[11] != end - start - 12:
        return None
    return UpstreamReply(
        packed,
        layout,
        query.name,
        least=int.from_bytes(packed[6:10], "big"),
        rcode=octets[3] & RCODE_MASK,
        flags=(octets[2] << 8 | octets[3]) & (KEPT_FLAGS | CD),
        edns=edns,
        tight=True,
    )


def _recomposed(octets: bytes, query: Query) -> UpstreamReply:
    made = _pack(parse_reply(octets), query, UpstreamReply)
    made.flags |= octets[3] & CD
    return made


def _echoes(echoed: bytes, query: Query) -> bool:
    """Tell whether a message's question is the query's, letter case aside."""
    question = query.question
    return echoed == question or (echoed[-4:] == question[-4:] and echoed[:-4].lower() == query.name)


def _layout_of(body: Body, name: bytes) -> Layout:
    """Return the places in a body that was composed for a name."""
    octets = bytes(HEADER_SIZE) + name + bytes(QUESTION_FIXED) + body.octets
    return _Walk(octets, len(octets) - len(body.octets), body.counts, composed=True).layout()


class _Walk:
    """One way through the records of a message, every octet of a name looked at, nothing built."""

    __slots__ = ("_counts", "_ends", "_known", "_octets", "_ttls", "edns", "end", "least", "rcode")

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
        self.edns: Edns | None = None
        self.rcode = 0
        ends, ttls = self._ends, self._ttls
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
                    raise _Unpackable
                self._read_opt(octets[owner:end], at - owner, rrclass, ttl)
                additional -= 1
                at = owner
                break
            if rrtype in EXPANDED_NAMES:
                self._pass_rdata(at + FIXED_SIZE, end, rrtype)
            ttls.append(at + TYPE_BEFORE - start)
            ends.append(end - start)
            least = min(least, ttl)
            at = end
        self._counts = (answer, authority, additional)
        self.end = at
        self.least = least if ends else None

    def layout(self) -> Layout:
        """Return the places of the records that were passed."""
        places = (self._counts, tuple(self._ends), tuple(self._ttls))
        shared = _layouts.get(places)  # a plain tuple finds its equal, and takes a third of the time to make
        if shared is not None:
            return shared
        layout = Layout(*places)
        if len(layout.ends) <= SHARED_RECORDS and len(_layouts) < MOST_LAYOUTS:
            _layouts[layout] = layout
        return layout

    def _read_opt(self, record: bytes, owner_size: int, size: int, ttl: int) -> None:
        self.rcode = ttl >> 24 << 4
        edns = _plain.get(record)
        if edns is None:
            options = read_options(record[owner_size + FIXED_SIZE :])
            edns = Edns(size, ttl >> 16 & 0xFF, ttl & 0xFFFF, options)
            if not (options or self.rcode) and owner_size == 1 and len(_plain) < MOST_PLAIN:
                _plain[record] = edns
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
                    raise _Unpackable
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
