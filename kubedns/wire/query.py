"""A query, read once and in place: ID, flags, question, EDNS (RFC 1035 §4.1, RFC 6891)."""

from struct import Struct
from typing import TYPE_CHECKING, Any, Protocol

from kubedns.wire.client import Client
from kubedns.wire.edns import DO, Edns, read_options
from kubedns.wire.errors import QueryError, WireError
from kubedns.wire.name import MAXIMUM_LABEL, labels, read_name
from kubedns.wire.numbers import (
    HEADER_SIZE,
    MAXIMUM_SIZE,
    MINIMUM_UDP_SIZE,
    OPCODE_MASK,
    OPCODE_SHIFT,
    QR,
    Opcode,
    Rcode,
    RRType,
)

if TYPE_CHECKING:
    from kubedns.wire.reply import Reply

ONE_QUESTION = b"\0\1\0\0\0\0\0\0"  # QDCOUNT 1 and nothing else, as stub resolvers ask
QUESTION_AND_OPT = b"\0\1\0\0\0\0\0\1"
HEADER = Struct("!2sH8s")  # ID, flags, counts
TYPE_AND_CLASS = Struct("!HH")
PLAIN_OPT_SIZE = 11  # octets of an OPT record without options
MOST_PLAIN = 256
_plain: dict[bytes, Edns] = {}  # such records as they come; clients send a few kinds
UNDERSTOOD = (Opcode.QUERY, Opcode.NOTIFY)
MOST_RECORDS = (1, 1, 2)  # answer, authority (an IXFR's SOA, RFC 1995 §3), additional (OPT and TSIG)


class Lookup(Protocol):
    """The whole server, asked from inside; failures come back as replies."""

    async def __call__(self, query: "Query", /) -> "Reply":
        """Answer a query as if its client had sent it."""
        ...


class Query:
    """One question as the plugins see it.

    `name` is lower-case wire octets; `question` is the question section as it came, to be echoed, and `kind` its type
    and class; `flags` is the header's second word; `edns` is None where no OPT record came. A plugin that changes a
    query makes another one. `lookup` asks the server that the query came to once more, for another name. `adds` are
    header bits that other servers are to see beside the client's own, `key` is what a cache knows the question by, once
    it has been asked. `notes` are what plugins remember from a query's way in to its reply's way back, by plugin.
    """

    __slots__ = (
        "_labels",
        "adds",
        "client",
        "edns",
        "flags",
        "id",
        "key",
        "kind",
        "lookup",
        "name",
        "notes",
        "question",
        "rrclass",
        "rrtype",
        "size",
    )

    def __init__(  # noqa: PLR0913 - one argument for each thing a message says
        self,
        ident: bytes,
        flags: int,
        question: bytes,
        client: Client,
        edns: Edns | None = None,
        size: int = 0,
    ) -> None:
        """`ident` is the ID's two octets, `size` the message's own."""
        self.id = ident
        self.flags = flags
        self.question = question
        self.name = question[:-4].lower()
        self.kind = kind = question[-4:]
        self.rrtype, self.rrclass = TYPE_AND_CLASS.unpack(kind)
        self.client = client
        self.edns = edns
        self.size = size
        self._labels: list[bytes] | None = None
        self.lookup: Lookup | None = None
        self.adds = 0
        self.key = b""
        self.notes: dict[object, Any] | None = None

    @property
    def opcode(self) -> int:
        """QUERY or NOTIFY: nothing else comes this far."""
        return (self.flags & OPCODE_MASK) >> OPCODE_SHIFT

    @property
    def labels(self) -> list[bytes]:
        """The name's labels, lower-case, leftmost first; not to be changed."""
        if self._labels is None:
            self._labels = labels(self.name)
        return self._labels

    @property
    def spelled(self) -> bytes:
        """The name in the letter case that the client used."""
        return self.question[:-4]

    @property
    def do(self) -> bool:
        """Whether the client wants DNSSEC's records."""
        return self.edns is not None and bool(self.edns.flags & DO)

    @property
    def limit(self) -> int:
        """The octets that a reply may have (RFC 1035 §4.2, RFC 6891 §6.2.3)."""
        if self.client.transport != "udp":
            return MAXIMUM_SIZE
        if self.edns is None or self.edns.size < MINIMUM_UDP_SIZE:
            return MINIMUM_UDP_SIZE
        return self.edns.size

    def note(self, plugin: object, what: Any) -> None:
        """Remember something for a plugin, until its reply comes."""
        if self.notes is None:
            self.notes = {}
        self.notes[plugin] = what

    def noted(self, plugin: object) -> Any:
        """Return what a plugin had remembered, None if it had nothing, and forget it."""
        return None if self.notes is None else self.notes.pop(plugin, None)

    def with_flags(self, flags: int, client: Client | None = None) -> "Query":
        """Return the same question with other header bits, and by another client if that is given."""
        asked = Query.__new__(Query)
        asked.id, asked.flags, asked.question, asked.name = self.id, flags, self.question, self.name
        asked.kind, asked.rrtype, asked.rrclass, asked.client = (
            self.kind,
            self.rrtype,
            self.rrclass,
            client or self.client,
        )
        asked.edns, asked.size, asked.lookup = self.edns, self.size, self.lookup
        asked.key, asked.notes = b"", None
        asked._labels, asked.adds = self._labels, self.adds  # noqa: SLF001 - one of its own kind
        return asked

    def ask(self, wire: bytes, rrtype: int, rrclass: int | None = None) -> "Query":
        """Return the same client's query for another name and type, of the same EDNS, and class if none is given."""
        question = wire + rrtype.to_bytes(2, "big") + (rrclass or self.rrclass).to_bytes(2, "big")
        asked = Query(self.id, self.flags, question, self.client, self.edns, self.size)
        asked.lookup = self.lookup
        return asked


def parse_query(datagram: bytes, client: Client) -> Query:
    """Return the query in a datagram, or raise QueryError: the checks of RFC 1035 in the order CoreDNS makes them."""
    if len(datagram) < HEADER_SIZE:
        raise QueryError(None, "shorter than a header")
    ident, flags, counts = HEADER.unpack_from(datagram)
    if flags & (QR | OPCODE_MASK) or counts not in (ONE_QUESTION, QUESTION_AND_OPT):
        _check_header(flags, counts)
    at = HEADER_SIZE
    try:
        while length := datagram[at]:
            if length > MAXIMUM_LABEL:  # a pointer, or a label type nobody knows
                return _parse_odd(datagram, flags, counts, client)
            at += length + 1
        if at > HEADER_SIZE + 254:
            raise QueryError(Rcode.FORMERR, "name of more than 255 octets")
        datagram[at + 4]  # the question is whole, or IndexError
    except IndexError:
        return _parse_odd(datagram, flags, counts, client)
    at += 5
    question = datagram[HEADER_SIZE:at]
    edns = None if counts == ONE_QUESTION else _read_edns(datagram, at, counts, question)
    return Query(ident, flags, question, client, edns, len(datagram))


def _read_edns(datagram: bytes, at: int, counts: bytes, question: bytes) -> Edns | None:
    """As _read_records; but an OPT record without options is read once, then known by its octets."""
    records = datagram[at:]
    if counts != QUESTION_AND_OPT or len(records) != PLAIN_OPT_SIZE:
        return _read_records(datagram, at, counts, question)
    edns = _plain.get(records)
    if edns is None:
        edns = _read_records(datagram, at, counts, question)
        if edns is not None and len(_plain) < MOST_PLAIN:
            _plain[records] = edns
    return edns


def _check_header(flags: int, counts: bytes) -> None:
    if flags & QR:
        raise QueryError(None, "a response")
    if (flags & OPCODE_MASK) >> OPCODE_SHIFT not in UNDERSTOOD:
        raise QueryError(Rcode.NOTIMP, "opcode that no server of names needs")
    if counts[:2] != ONE_QUESTION[:2]:
        raise QueryError(Rcode.FORMERR, "not one question")
    given = (counts[2] << 8 | counts[3], counts[4] << 8 | counts[5], counts[6] << 8 | counts[7])
    if any(count > most for count, most in zip(given, MOST_RECORDS, strict=True)):
        raise QueryError(Rcode.FORMERR, "more records than a query has")


def _parse_odd(datagram: bytes, flags: int, counts: bytes, client: Client) -> Query:
    """Read a question that has pointers in its name, or ends early: a type or class cut away counts as 0."""
    if len(datagram) == HEADER_SIZE:
        raise QueryError(Rcode.SERVFAIL, "no question where one was announced")
    try:
        owner, at = read_name(datagram, HEADER_SIZE)
    except WireError as error:
        raise QueryError(Rcode.FORMERR, str(error)) from None
    rest = datagram[at : at + 4]
    if len(rest) % 2:
        raise QueryError(Rcode.FORMERR, "question cut in the middle of a number")
    question = owner + rest.ljust(4, b"\0")
    edns = _read_records(datagram, at + len(rest), counts, question)
    return Query(datagram[:2], flags, question, client, edns, len(datagram))


def _read_records(datagram: bytes, at: int, counts: bytes, question: bytes) -> Edns | None:
    """Read past every record behind the question; return the last OPT among the additional ones.

    Counts may lie upwards: records missing at the very end are no error, nor is what follows the last one.
    """
    edns = None
    additional = counts[7]
    try:
        for left in range(counts[3] + counts[5] + additional, 0, -1):
            if at == len(datagram):
                break
            _, at = read_name(datagram, at)
            head = datagram[at : at + 10]
            start, end = at + 10, at + 10 + int.from_bytes(head[8:], "big")
            if end > len(datagram):
                raise WireError("record cut short")
            if left <= additional and int.from_bytes(head[:2], "big") == RRType.OPT:
                size, ttl = int.from_bytes(head[2:4], "big"), int.from_bytes(head[4:8], "big")
                edns = Edns(size, ttl >> 16 & 0xFF, ttl & 0xFFFF, read_options(datagram[start:end]))
            at = end
    except WireError as error:
        raise QueryError(Rcode.FORMERR, str(error), question) from None
    return edns
