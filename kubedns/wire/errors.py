"""What is wrong with octets that came in, and what they deserve for it."""

from kubedns.wire.numbers import AA, AD, CD, HEADER_SIZE, OPCODE_MASK, QR, RA, RCODE_MASK, RD, TC, Rcode, Z


class WireError(Exception):
    """Octets that are no DNS message (or no name, no record)."""


class QueryError(WireError):
    """A datagram that is refused before any server block sees it."""

    def __init__(self, rcode: Rcode | None, text: str, question: bytes = b"") -> None:
        """`rcode` None means silence; `question` is the raw question, where it was read before the error."""
        super().__init__(text)
        self.rcode = rcode
        self.question = question

    def reply_to(self, datagram: bytes) -> bytes | None:
        """Return the reply's octets: the header echoed but for AA and Z, no OPT; None for silence.

        The flags are those CoreDNS sends: FORMERR forgets the opcode, NOTIMP echoes it.
        """
        if self.rcode is None or len(datagram) < HEADER_SIZE:
            return None
        flags = int.from_bytes(datagram[2:4], "big") & ~(AA | Z | RCODE_MASK) | QR | self.rcode
        if self.rcode is Rcode.FORMERR:
            flags &= ~OPCODE_MASK
        elif self.rcode is Rcode.SERVFAIL:
            flags &= ~(TC | RA | AD)  # a message without its question is answered like a query, by a fresh header
            if flags & OPCODE_MASK:
                flags &= ~(RD | CD)  # those are a query's, and this is a NOTIFY
        count = b"\0\1" if self.question else b"\0\0"
        return datagram[:2] + flags.to_bytes(2, "big") + count + b"\0\0\0\0\0\0" + self.question
