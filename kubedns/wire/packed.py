"""A reply kept as the octets in which it came, for what is passed on or kept and seldom looked into.

The body stands behind the question of whoever asks: a pointer into the question finds the same name there, in that
client's own letters. So the octets go out as they are, but for TTLs, which all stand at known places.
"""

from collections.abc import Sequence
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception, named as one
from typing import Self, TypeVar

from kubedns.wire.compose import AT_QUESTION, QUESTION_FIXED, Body, compose
from kubedns.wire.edns import Edns
from kubedns.wire.errors import WireError
from kubedns.wire.numbers import CD, HEADER_SIZE, MINIMUM_UDP_SIZE, OPCODE_MASK, QR, RCODE_MASK
from kubedns.wire.parse import KEPT_FLAGS, parse_reply, read_record
from kubedns.wire.query import Query
from kubedns.wire.records import RR, write_serial
from kubedns.wire.reply import COPIED, HIGHEST_HEADER_RCODE, Reply
from kubedns.wire.validity import NEVER, Tally, Validity
from kubedns.wire.walk import LONE, Layout, Unpackable, Walk, plain

HEADER = Struct("!2x5H")  # flags and the four counts
TTL_SIZE = 4
SHORT = MINIMUM_UDP_SIZE - 64  # a message of so many octets fits every client, its OPT record included

Packed = TypeVar("Packed", bound="PackedReply")


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

    def types(self, section: int) -> Sequence[int]:
        """As a Reply's."""
        return self._layout.types[section]

    def starts_with(self, type_and_class: bytes) -> bool:
        """Tell whether the first record of the answer is of that type and class and the question's own name."""
        return self._packed.startswith(AT_QUESTION + type_and_class) and self._layout.counts[0] > 0

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
            return b"".join((query.id, flags, self._layout.head, question, packed))
        return b"".join((query.id, flags, self._layout.head_and_opt, question, packed, self._opt(edns)))

    def is_like(self, ttl: int, flags: int) -> bool:
        """Tell whether with_ttl would change nothing, of a reply with a record or none."""
        least = self.least
        return (
            flags == self.flags
            and (least is None or (least == ttl and len(self._layout.ttls) == 1))
            and self.edns is None
            and self.serial is None
            and self.validity is NEVER
        )

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
        walk = Walk(octets, start, counts)
    except Unpackable:
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
    """Return the commonest replies at once: at most an address of the question's own name and a plain OPT record."""
    counts, end = octets[4:HEADER_SIZE], start
    if layout.ends:
        end += layout.ends[0]
    edns = None
    if counts == layout.head_and_opt:
        edns = plain.get(octets[end:])
        if edns is None:
            return None
    elif counts != layout.head or len(octets) != end:
        return None
    packed = octets[start:end]
    if octets[HEADER_SIZE:start] != query.question or (packed and (packed[10] or packed[11] != end - start - 12)):
        return None
    return UpstreamReply(
        packed,
        layout,
        query.name,
        least=int.from_bytes(packed[6:10], "big") if packed else None,
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
    return Walk(octets, len(octets) - len(body.octets), body.counts, composed=True).layout()
