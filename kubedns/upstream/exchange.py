"""A query on its way to a name server, and which of the messages that come back belongs to it (RFC 5452 §9)."""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from kubedns.wire.numbers import HEADER_SIZE

ONE = b"\0\1"  # QDCOUNT
QR_SET = 0x80  # in the header's third octet
MOST_PENDING = 10_000  # queries that wait for one name server over UDP, and over TCP: some 3 KiB each
QUESTION_FIXED = 4  # QTYPE and QCLASS


class UpstreamError(Exception):
    """Why a name server gave no reply, in the words that Go's net package has for it."""


class BusyError(UpstreamError):
    """A query that is not sent: too many wait for that name server already, or it is not used any more.

    This says nothing of the name server's health.
    """


class Exchange(Protocol):
    """One query, with one name server at a time.

    `message` is what is sent behind the ID; `question` is the question section in it; `udp` says that it may go over
    UDP; `deadline` (monotonic seconds) is set by whoever sends it. Exactly one of the three methods is called for each
    time that it is sent, never before the call that sent it has returned.
    """

    message: bytes
    question: bytes
    udp: bool
    deadline: float

    def answered(self, octets: bytes) -> None:
        """Take the reply: a message with this query's ID and question, whatever else is in it."""

    def misanswered(self) -> None:
        """Take notice of a message with this query's ID that has no question, or several, or is no reply."""

    def failed(self, error: UpstreamError) -> None:
        """Take notice that there will be no reply."""


class Match(Enum):
    """What a message with a query's ID is to that query."""

    REPLY = auto()
    ODD = auto()  # not one question, or QR is not set
    OTHER = auto()  # another question's: nothing of ours, and the wait goes on


def match(octets: bytes, question: bytes) -> Match:
    """Compare a message of at least a header with the question that was asked; names compare without case."""
    if octets[4:6] != ONE:
        return Match.ODD
    if not octets.startswith(question, HEADER_SIZE):
        end = HEADER_SIZE + len(question)
        name_end = end - QUESTION_FIXED
        if (
            octets[HEADER_SIZE:name_end].lower() != question[:-QUESTION_FIXED].lower()
            or octets[name_end:end] != question[-QUESTION_FIXED:]
        ):
            return Match.OTHER
    return Match.REPLY if octets[2] & QR_SET else Match.ODD
