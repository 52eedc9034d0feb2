"""A reply as a value, and its octets for one query: header, question, body, OPT (RFC 1035 §4.1)."""

from collections.abc import Sequence
from copy import copy
from typing import Self

from kubedns.wire.compose import Body, compose, cut
from kubedns.wire.edns import DO, ECHOED_FLAGS, Edns, echoed_options, opt_record, write_options
from kubedns.wire.numbers import CD, HEADER_SIZE, OPCODE_MASK, QR, RD, TC, Rcode
from kubedns.wire.query import Query
from kubedns.wire.records import RR
from kubedns.wire.validity import NEVER, Anew, Serial, Siblings, Tally, Validity

COPIED = OPCODE_MASK | RD | CD
COPIED_NOTIFY = OPCODE_MASK  # RD and CD are a query's
OPT_SIZE = 11  # without options
HIGHEST_HEADER_RCODE = 15


class Reply:
    """RCODE, flags and three sections: the same value answers every client that asks, and nobody changes it.

    `flags` are header bits such as AA; `edns` is an OPT record of the answering party's own. `suffix`, a zone, says
    that this value answers many names below that zone, so that names may only be compressed against the zone's
    labels; None: it answers one name alone. `zone` is spelled as the client spells it in SRV targets. `tallies` are
    what the plugin that made the reply counts each time that it is given again without asking the plugin. `denies`,
    where it is not empty, is the question's parent, and says that the reply is that of every name right below it,
    for the same type: nothing is there (RFC 8020). `siblings`, where it is not None, answers other names right below
    that parent, for the same type, with replies that differ from this one in their only record; that holds while the
    tokens of `lasting` do, whatever its `until`. `expires`, where it is not 0, is the moment (monotonic seconds) to
    which all its TTLs, equal ones, count down: but for them it is the same reply until then, and for longer
    where `anew`, if it is not None, lets them begin again: it has the question, in lower case, for which it may.
    `serial`, where it is not None, is what the last of its records, an SOA, has: with another value it is the same
    reply but for that number.
    """

    copied = COPIED  # of a query's flags, those that come back

    __slots__ = (
        "_bodies",
        "_body",
        "_size",
        "anew",
        "denies",
        "edns",
        "expires",
        "flags",
        "rcode",
        "sections",
        "serial",
        "siblings",
        "suffix",
        "tallies",
        "validity",
        "zone",
    )

    def __init__(  # noqa: PLR0913 - one argument for each thing a reply says
        self,
        answer: Sequence[RR] = (),
        authority: Sequence[RR] = (),
        additional: Sequence[RR] = (),
        *,
        rcode: int = Rcode.NOERROR,
        flags: int = 0,
        edns: Edns | None = None,
        validity: Validity = NEVER,
        suffix: bytes | None = None,
        zone: bytes = b"",
        tallies: tuple[Tally, ...] = (),
    ) -> None:
        """Sections are in the order in which they go out."""
        self.sections = (tuple(answer), tuple(authority), tuple(additional))
        self.rcode = int(rcode)
        self.flags = flags
        self.edns = edns
        self.validity = validity
        self.suffix = suffix
        self.zone = zone
        self.tallies = tallies
        self.denies = b""
        self.siblings: Siblings | None = None
        self.expires = 0.0
        self.anew: tuple[bytes, Anew] | None = None
        self.serial: Serial | None = None
        self._bodies: dict[int, Body] | None = None if suffix is None else {}  # by the size of the question's name
        self._body: Body | None = None  # for the only name that it answers, of so many octets
        self._size = 0

    @property
    def spans(self) -> Sequence[tuple[int, int]]:
        """From which record to before which, counted through all sections, any order is as good as another.

        With more than one order its octets differ from one sending to the next.
        """
        return ()

    def is_movable(self, query: Query) -> bool:  # noqa: ARG002 - for one that turns
        """Tell whether records change places as the octets that they are in the body made for a query."""
        return True

    @property
    def lasting(self) -> Validity:
        """How long its records are true: as `validity`, but for a reply that turns, whose octets are for one client."""
        return self.validity

    @property
    def undated(self) -> tuple[Validity, Serial | None]:
        """How long its records are true whatever the serial is, which is to be told then; None: it is a record as any.

        `validity` ends with the value that the serial has, for those who keep a reply as it is.
        """
        lasting, serial = self.lasting, self.serial
        if serial is None or serial.token not in lasting.tokens:
            return lasting, None
        return Validity(lasting.until, tuple(token for token in lasting.tokens if token is not serial.token)), serial

    @property
    def speaks_for(self) -> bytes:
        """The parent whose names it says something of; empty where that is its own name alone."""
        return self.denies or (b"" if self.siblings is None else self.siblings.parent)

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many records each section has."""
        answer, authority, additional = self.sections
        return len(answer), len(authority), len(additional)

    @property
    def answer(self) -> tuple[RR, ...]:
        """The records that answer the question."""
        return self.sections[0]

    @property
    def authority(self) -> tuple[RR, ...]:
        """The SOA of a negative answer (RFC 2308 §3), or a referral's NS records."""
        return self.sections[1]

    @property
    def additional(self) -> tuple[RR, ...]:
        """Addresses of targets; never the OPT record, which is `edns`."""
        return self.sections[2]

    def types(self, section: int) -> Sequence[int]:
        """Return the types of a section's records, in order; answer is 0, authority 1, additional 2."""
        return [rr.rrtype for rr in self.sections[section]]

    def replaced(self, *, validity: Validity | None = None, denies: bytes | None = None) -> Self:
        """Return the same reply with another validity, which is all of it then, or denying other names."""
        kind = type(self)
        made = self._copy() if kind is Reply else copy(self)  # bodies are shared
        if validity is not None:
            made.validity = validity
            made.expires, made.anew = 0.0, None  # who says so may have meant a time, which those would outlast
        if denies is not None:
            made.denies = denies
        return made

    def _copy(self) -> Self:
        """Do what copy() does, in an eighth of its time: replies are copied on the way of every name's first query."""
        made = type(self).__new__(type(self))
        made.sections = self.sections
        made.rcode = self.rcode
        made.flags = self.flags
        made.edns = self.edns
        made.validity = self.validity
        made.suffix = self.suffix
        made.zone = self.zone
        made.tallies = self.tallies
        made.denies = self.denies
        made.siblings = self.siblings
        made.expires, made.anew = self.expires, self.anew
        made.serial = self.serial
        made._bodies, made._body, made._size = self._bodies, self._body, self._size  # noqa: SLF001 - of the same class
        return made

    def alone(self) -> Self:
        """Return the same reply, which says nothing of other names."""
        made = self.replaced(denies=b"")
        made.siblings = None
        return made

    def body(self, query: Query) -> Body:
        """Return the sections' octets as they stand behind this query's question; made once for each size of name."""
        size = len(query.name)
        if self.zone and query.question[-4 - len(self.zone) : -4] != self.zone:
            typed = query.question[-4 - len(self.zone) : -4]
            if typed.lower() == self.zone:  # an unusual spelling: not worth keeping
                return compose(self.sections, query.name, size, typed)
        if self._bodies is not None:
            body = self._bodies.get(size)
            if body is None:
                body = self._bodies[size] = compose(self.sections, self.suffix or query.name, size)
            return body
        if self._body is None or self._size != size:  # a dictionary for one name would be larger than the reply
            self._body, self._size = compose(self.sections, query.name, size), size
        return self._body

    def octets(self, query: Query) -> bytes:
        """Return the message for this query, cut to what its client takes; TC where a record was left out.

        An RCODE that only an OPT record can tell is SERVFAIL for a client that sent none (RFC 6891 §6.1.3).
        """
        if query.edns is None and self.rcode > HIGHEST_HEADER_RCODE:
            return Reply(rcode=Rcode.SERVFAIL, suffix=query.name).octets(query)
        body = self.body(query)
        edns = query.edns
        copied = self.copied if query.opcode == 0 else COPIED_NOTIFY
        flags = QR | self.flags | self.rcode & HIGHEST_HEADER_RCODE | query.flags & copied
        opt = self._opt(edns) if edns is not None else b""
        question = query.question
        size = HEADER_SIZE + len(question) + len(body.octets) + len(opt)
        if size > query.limit:
            room = query.limit - HEADER_SIZE - len(question)
            if room < len(opt):
                opt = opt[: OPT_SIZE - 2] + b"\0\0"  # its options alone are too large
            body = cut(body, room - len(opt))
            flags |= TC
        answer, authority, additional = body.counts
        counts = (1 << 48 | answer << 32 | authority << 16 | additional + bool(opt)).to_bytes(8, "big")
        return b"".join((query.id, flags.to_bytes(2, "big"), counts, question, body.octets, opt))

    def _opt(self, edns: Edns) -> bytes:
        """The reply's size is the client's own value; flags come back but for the low eight bits."""
        if self.edns is None:
            return opt_record(edns.size, self.rcode, edns.flags & ECHOED_FLAGS, echoed_options(edns))
        flags = self.edns.flags & ECHOED_FLAGS | edns.flags & DO
        return opt_record(edns.size, self.rcode, flags, write_options(self.edns.options))


def bad_version(query: Query) -> bytes:
    """Return the octets that tell a client that we speak version 0 of EDNS alone (RFC 6891 §6.1.3)."""
    flags = QR | query.flags & (COPIED if query.opcode == 0 else COPIED_NOTIFY)
    head = query.id + flags.to_bytes(2, "big") + b"\0\1\0\0\0\0\0\1"
    return head + query.question + opt_record(0, Rcode.BADVERS, 0)
