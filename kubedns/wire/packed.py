"""A reply kept as the octets in which it came, for what is passed on or kept and seldom looked into.

The body stands behind the question of whoever asks: a pointer into the question finds the same name there, in that
client's own letters. So the octets go out as they are, but for TTLs, which all stand at known places.
"""

# ruff: noqa: SLF001 - replies are made by functions of this file

from collections.abc import Sequence
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception, named as one

from kubedns.wire.compose import AT_QUESTION, POINTER_BITS, QUESTION_FIXED, Body, compose, pieces
from kubedns.wire.errors import WireError
from kubedns.wire.name import POINTER
from kubedns.wire.numbers import CD, HEADER_SIZE, MINIMUM_UDP_SIZE, OPCODE_MASK, QR, RCODE_MASK, RRType
from kubedns.wire.parse import KEPT_FLAGS, parse_reply, read_record
from kubedns.wire.query import Query
from kubedns.wire.records import RR, write_serial
from kubedns.wire.reply import COPIED, HIGHEST_HEADER_RCODE, Reply
from kubedns.wire.validity import NEVER, Tally, Validity
from kubedns.wire.walk import LONE, Layout, Unpackable, Walk, plain

HEADER = Struct("!2x5H")  # flags and the four counts
FLAGS_AND_COUNTS = Struct("!2xH8s")
TTL_AND_SIZE = Struct("!IH")
CNAME = RRType.CNAME.to_bytes(2, "big")
TTL_SIZE = 4
TTL_AT, RDATA_AT = 6, 12  # in a record whose owner is a pointer
COPIED_FROM_UPSTREAM = COPIED & ~CD
SHORT = MINIMUM_UDP_SIZE - 64  # a message of so many octets fits every client, its OPT record included

Sections = tuple[tuple[RR, ...], tuple[RR, ...], tuple[RR, ...]]


class PackedReply(Reply):
    """A Reply for one name, `name`; its `sections` are read from the octets when somebody wants them.

    `_packed` are the three sections behind a question for `name`, `layout` their places; `least` is the least TTL of
    all records, None where there are none; `_tight` says that no names in them can be shorter; `copied` are the flags
    of a query that come back: one that an upstream sent says itself whether CD does.

    There is one class for both: where objects of two come by turns, CPython 3.11 specializes no access to attributes.
    """

    __slots__ = ("_packed", "_sections", "_tight", "copied", "layout", "least", "name")

    _packed: bytes
    _sections: Sections | None
    _tight: bool
    copied: int
    layout: Layout
    name: bytes
    least: int | None

    @property
    def sections(self) -> Sections:
        """Read the sections the first time that they are asked for."""
        if self._sections is None:
            self._sections = self.read_sections()
        return self._sections

    @sections.setter
    def sections(self, sections: Sections) -> None:
        self._sections = sections

    @property
    def counts(self) -> tuple[int, int, int]:
        """The records of each section."""
        return self.layout.counts

    def read_sections(self) -> Sections:
        """Return the sections, without keeping them."""
        octets = bytes(HEADER_SIZE) + self.name + bytes(QUESTION_FIXED) + self._packed
        at = len(octets) - len(self._packed)
        sections: list[tuple[RR, ...]] = []
        for count in self.layout.counts:
            records = []
            for _ in range(count):
                rr, at = read_record(octets, at)
                records.append(rr)
            sections.append(tuple(records))
        answer, authority, additional = sections
        return answer, authority, additional

    def types(self, section: int) -> Sequence[int]:
        """As a Reply's."""
        return self.layout.types[section]

    def starts_with(self, type_and_class: bytes) -> bool:
        """Tell whether the first record of the answer is of that type and class and the question's own name."""
        return self._packed.startswith(AT_QUESTION + type_and_class) and self.layout.counts[0] > 0

    def leads_to(self, kind: bytes) -> bool:
        """Tell whether CNAMEs, each of the name before it, lead from the question's own to records of a type and class.

        It is sure if it does, and nothing else is in the answer, all owners pointers; else the answer has to be read.
        """
        packed, start = self._packed, HEADER_SIZE + len(self.name) + QUESTION_FIXED
        owner, alias, at = AT_QUESTION, CNAME + kind[2:], 0
        passed: list[bytes] = []
        led = False
        for end in self.layout.ends[: self.layout.counts[0]]:
            led = packed.startswith(owner + kind, at)
            if packed.startswith(owner + alias, at) and owner not in passed:
                passed.append(owner)
                target = at + RDATA_AT
                pointed = packed[target] >= POINTER
                owner = packed[target:end] if pointed else (POINTER_BITS | start + target).to_bytes(2, "big")
            elif not led:
                return False
            at = end
        return led

    def octets(self, query: Query) -> bytes:
        """As a Reply's; what is short and for the name itself leaves as it came."""
        packed, question, edns = self._packed, query.question, query.edns
        if (
            (edns is not None and (edns.options or self.edns is not None))
            or HEADER_SIZE + len(question) + len(packed) > SHORT
            or query.name != self.name
            or self.rcode > HIGHEST_HEADER_RCODE
            or query.flags & OPCODE_MASK
        ):
            return super().octets(query)
        flags = (QR | self.flags | self.rcode | query.flags & self.copied).to_bytes(2, "big")
        if edns is None:
            return b"".join((query.id, flags, self.layout.head, question, packed))
        return b"".join((query.id, flags, self.layout.head_and_opt, question, packed, self._opt(edns)))

    def is_like(self, ttl: int, flags: int) -> bool:
        """Tell whether with_ttl would change nothing, of a reply with a record or none."""
        least = self.least
        return (
            flags == self.flags
            and (least is None or (least == ttl and len(self.layout.ttls) == 1))
            and self.edns is None
            and self.serial is None
            and self.validity is NEVER
        )

    def with_ttl(
        self, ttl: int, flags: int, validity: Validity = NEVER, tallies: tuple[Tally, ...] = ()
    ) -> "PackedReply":
        """Return the same records, all with one TTL in seconds, and with the serial that there is now."""
        packed = self._packed
        octets, places = ttl.to_bytes(TTL_SIZE, "big"), self.layout.ttls
        if len(places) == 1 and self.serial is None:
            [place] = places
            packed = packed[:place] + octets + packed[place + TTL_SIZE :]
        elif places:
            changed = bytearray(packed)
            for place in places:
                changed[place : place + TTL_SIZE] = octets
            if self.serial is not None:
                write_serial(changed, self.layout.ends[-1], self.serial.value)
            packed = bytes(changed)
        made = _made(packed, self.layout, self.name, None if self.least is None else ttl, self.rcode, flags)
        made.validity, made.tallies, made.serial, made._tight = validity, tallies, self.serial, self._tight
        return made

    def replaced(self, *, validity: Validity | None = None, denies: bytes | None = None) -> "PackedReply":
        """As a Reply's; nothing is read from the octets for it."""
        made = _made(self._packed, self.layout, self.name, self.least, self.rcode, self.flags)
        made.edns, made.tallies, made._tight, made.copied = self.edns, self.tallies, self._tight, self.copied
        made.validity = self.validity if validity is None else validity
        made.denies = self.denies if denies is None else denies
        made.siblings = self.siblings
        if validity is None:
            made.expires, made.anew = self.expires, self.anew
        made.serial = self.serial
        return made

    def reordered(self, places: Sequence[int]) -> "PackedReply":
        """Return the same reply, its records in another order.

        Those that change places are to be of one size, and to hold no name, their owners pointers, so that pointers
        lead where they did.
        """
        made = self.replaced()
        made._packed = b"".join(pieces(self._packed, self.layout.ends, places))
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
        layout = self.layout
        return Body(self._packed, layout.counts, layout.ends)

    def _tighten(self) -> None:
        """What the reply says does not change by this."""
        body = compose(self.read_sections(), self.name, len(self.name))
        if len(body.octets) < len(self._packed):
            self._packed, self.layout = body.octets, _layout_of(body, self.name)
        self._tight = True


def read_packed(octets: bytes, query: Query) -> PackedReply:
    """Return the reply in a message's octets to a query; raise WireError where it can't be read.

    A message that can't stand behind the query's question as it is (another question, pointers to what is no name, an
    OPT record before others, targets compressed that must not be) is read and composed anew.
    """
    start = HEADER_SIZE + len(query.question)
    lone = LONE.get(octets[start : start + 6])
    try:
        if lone is not None:
            reply = _lone(octets, start, query, lone)
            if reply is not None:
                return reply
        flags, questions, *counts = HEADER.unpack_from(octets)
        if questions != 1 or not _echoes(octets[HEADER_SIZE:start], query):
            return _recomposed(octets, query)
        walk = Walk(octets, start, counts)
    except Unpackable:
        return _recomposed(octets, query)
    except (IndexError, StructError):
        raise WireError("cut short") from None
    packed, rcode = octets[start : walk.end], flags & RCODE_MASK | walk.rcode
    made = _made(packed, walk.layout(), query.name, walk.least, rcode, flags & (KEPT_FLAGS | CD))
    made.edns, made.copied = walk.edns, COPIED_FROM_UPSTREAM
    return made


def pack(reply: Reply, query: Query) -> PackedReply:
    """Return a Reply's octets and their places; it is for the query's name alone.

    Raises WireError for a record that no message can hold.
    """
    if isinstance(reply, PackedReply):
        return reply
    try:
        body = compose(reply.sections, query.name, len(query.name))
    except OverflowError as error:
        raise WireError(str(error)) from error
    least = min((rr.ttl for section in reply.sections for rr in section), default=None)
    made = _made(body.octets, _layout_of(body, query.name), query.name, least, reply.rcode, reply.flags)
    made.edns, made.validity, made.tallies, made._tight = reply.edns, reply.validity, reply.tallies, True
    made.serial = reply.serial
    return made


def _lone(octets: bytes, start: int, query: Query, layout: Layout) -> PackedReply | None:
    """Return the commonest replies at once: at most an address of the question's own name and a plain OPT record."""
    flags, counts = FLAGS_AND_COUNTS.unpack_from(octets)
    size = layout.ends[0] if layout.ends else 0
    end, edns, least = start + size, None, None
    if counts == layout.head_and_opt:
        edns = plain.get(octets[end:])
        if edns is None:
            return None
    elif counts != layout.head or len(octets) != end:
        return None
    if not octets.startswith(query.question, HEADER_SIZE):
        return None
    if size:
        least, rdata_size = TTL_AND_SIZE.unpack_from(octets, start + TTL_AT)
        if rdata_size != size - RDATA_AT:
            return None
    made = _made(octets[start:end], layout, query.name, least, flags & RCODE_MASK, flags & (KEPT_FLAGS | CD))
    made.edns, made._tight, made.copied = edns, True, COPIED_FROM_UPSTREAM
    return made


def _made(  # noqa: PLR0913 - what each has of its own
    packed: bytes, layout: Layout, name: bytes, least: int | None, rcode: int, flags: int
) -> PackedReply:
    """Return a reply of which the rest is as it mostly is: one is made for each query, in half the time of a call."""
    made = PackedReply.__new__(PackedReply)
    made._packed = packed
    made.layout = layout
    made._tight = False
    made._sections = None
    made.copied = COPIED
    made.name = name
    made.least = least
    made.rcode = rcode
    made.flags = flags
    made.edns = made.suffix = made.siblings = made.serial = made.anew = None
    made.validity = NEVER
    made.zone = made.denies = b""
    made.tallies = ()
    made.expires = 0.0
    return made


def _recomposed(octets: bytes, query: Query) -> PackedReply:
    made = pack(parse_reply(octets), query)
    made.flags |= octets[3] & CD
    made.copied = COPIED_FROM_UPSTREAM
    return made


def _echoes(echoed: bytes, query: Query) -> bool:
    """Tell whether a message's question is the query's, letter case aside."""
    question = query.question
    return echoed == question or (echoed[-4:] == question[-4:] and echoed[:-4].lower() == query.name)


def _layout_of(body: Body, name: bytes) -> Layout:
    """Return the places in a body that was composed for a name."""
    octets = bytes(HEADER_SIZE) + name + bytes(QUESTION_FIXED) + body.octets
    return Walk(octets, len(octets) - len(body.octets), body.counts, composed=True).layout()
