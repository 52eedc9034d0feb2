"""Formats of log lines: text with placeholders in braces, prepared once for all queries."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from kubedns.wire.name import text
from kubedns.wire.numbers import AA, AD, CD, HEADER_SIZE, QR, RA, RD, TC, Z, class_text, rcode_text, type_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubedns.wire.query import Query
    from kubedns.wire.reply import Reply

    Part = Callable[["Exchange"], str | int]

COMMON = (
    '{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}"'
    " {rcode} {>rflags} {rsize} {duration}"
)
COMBINED = COMMON + ' "{>opcode}"'

FLAGS = ((QR, "qr"), (AA, "aa"), (TC, "tc"), (RD, "rd"), (RA, "ra"), (Z, "z"), (AD, "ad"), (CD, "cd"))
BRACES = re.compile(r"(\{[^{}]*\})")
RR_FIXED = 10  # octets of a record beside its owner and RDATA (RFC 1035 §3.2.1)
OPT_FIXED, OPTION_FIXED = 11, 4  # octets of an OPT record, and of each option (RFC 6891 §6.1.2)


class Exchange:
    """A query and what came of it; `started` is time.perf_counter_ns() when it came."""

    __slots__ = ("query", "remote", "reply", "took")

    def __init__(self, query: Query, reply: Reply, started: int) -> None:
        self.query = query
        self.remote = query.client.remote()
        self.reply = reply
        self.took = time.perf_counter_ns() - started


class Format:
    """A format whose placeholders have been found."""

    def __init__(self, spelled: str) -> None:
        """`{common}` and `{combined}` stand for those formats; unknown words in braces stay as they are."""
        pieces = BRACES.split(spelled.replace("{common}", COMMON).replace("{combined}", COMBINED))
        self._template = "".join("%s" if piece in PLACEHOLDERS else _literal(piece) for piece in pieces)
        self._parts = tuple(PLACEHOLDERS[piece] for piece in pieces if piece in PLACEHOLDERS)

    def line(self, exchange: Exchange) -> str:
        return self._template % tuple([part(exchange) for part in self._parts])


def _literal(piece: str) -> str:
    """Return a piece of a format that is the same in each line, as a piece of a template."""
    if piece.startswith("{/") and piece.endswith("}"):
        return "-"  # a metadata label: there is no plugin yet that sets any
    return piece.replace("%", "%%")


def _flags(exchange: Exchange) -> str:
    """The flags are those of the message as it goes out: TC where it had to be cut."""
    header = exchange.reply.octets(exchange.query)
    flags = header[2] << 8 | header[3]
    return ",".join([word for bit, word in FLAGS if flags & bit])


def _reply_size(exchange: Exchange) -> int:
    """The whole reply uncompressed; its OPT record counts only where an upstream's or a plugin's is passed on."""
    reply = exchange.reply
    size = HEADER_SIZE + len(exchange.query.question)
    size += sum(len(rr.owner) + RR_FIXED + len(rr.rdata) for section in reply.sections for rr in section)
    if reply.edns is not None:
        size += OPT_FIXED + sum(OPTION_FIXED + len(data) for _, data in reply.edns.options)
    return size


def seconds(nanoseconds: int) -> str:
    """Return nanoseconds as decimal seconds with no more digits than needed: `0.000015033s`."""
    whole, fraction = divmod(nanoseconds, 10**9)
    return f"{whole}.{fraction:09d}".rstrip("0").rstrip(".") + "s"


def host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


PLACEHOLDERS: dict[str, Part] = {
    "{type}": lambda exchange: type_text(exchange.query.rrtype),
    "{class}": lambda exchange: class_text(exchange.query.rrclass),
    "{name}": lambda exchange: text(exchange.query.name),
    "{proto}": lambda exchange: exchange.query.client.transport,
    "{remote}": lambda exchange: host(exchange.remote[0]),
    "{local}": lambda exchange: host(exchange.query.client.local()[0]),
    "{port}": lambda exchange: exchange.remote[1],
    "{size}": lambda exchange: exchange.query.size,
    "{>id}": lambda exchange: int.from_bytes(exchange.query.id, "big"),
    "{>opcode}": lambda exchange: exchange.query.opcode,
    "{>do}": lambda exchange: "true" if exchange.query.do else "false",
    "{>bufsize}": lambda exchange: exchange.query.limit,
    "{rcode}": lambda exchange: rcode_text(exchange.reply.rcode),
    "{>rflags}": _flags,
    "{rsize}": _reply_size,
    "{duration}": lambda exchange: seconds(exchange.took),
}
