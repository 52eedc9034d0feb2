"""Messages as a client writes them, octet by octet, without a line of the code under test."""

import struct

import dns.name

from kubedns.wire.client import Peer
from kubedns.wire.query import Query, parse_query

UDP = Peer("udp", ("192.0.2.1", 53000), ("192.0.2.53", 53))
UDP6 = Peer("udp", ("2001:db8::1", 53000), ("2001:db8::53", 53))
TCP = Peer("tcp", ("192.0.2.1", 53000), ("192.0.2.53", 53))
IDENT = 0x1234

QR, AA, TC, RD, RA, Z, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0040, 0x0020, 0x0010
NOTIFY, UPDATE = 4 << 11, 5 << 11


def wire(text: str) -> bytes:
    """Return a name's octets in the letter case given."""
    octets = dns.name.from_text(text).to_wire()
    assert octets is not None
    return octets


def header(flags: int = RD, counts: tuple[int, int, int, int] = (1, 0, 0, 0)) -> bytes:
    return struct.pack("!6H", IDENT, flags, *counts)


def question(name: str | bytes = "example.org.", rrtype: int = 1, rrclass: int = 1) -> bytes:
    octets = wire(name) if isinstance(name, str) else name
    return octets + struct.pack("!2H", rrtype, rrclass)


def record(owner: bytes, rrtype: int, rdata: bytes, rrclass: int = 1, ttl: int = 0) -> bytes:
    return owner + struct.pack("!2HIH", rrtype, rrclass, ttl, len(rdata)) + rdata


def opt(size: int = 1232, ttl: int = 0, options: bytes = b"") -> bytes:
    """Return an OPT record; `ttl` is extended RCODE, version and flags."""
    return record(b"\0", 41, options, size, ttl)


def option(code: int, data: bytes = b"") -> bytes:
    return struct.pack("!2H", code, len(data)) + data


def datagram(name: str | bytes = "example.org.", rrtype: int = 1, rrclass: int = 1, *, flags: int = RD) -> bytes:
    return header(flags) + question(name, rrtype, rrclass)


def with_opt(message: bytes, *records: bytes) -> bytes:
    """Return a query with records in its additional section."""
    return message[:10] + struct.pack("!H", len(records)) + message[12:] + b"".join(records)


def query(name: str | bytes = "example.org.", rrtype: int = 1, *, client: Peer = UDP, flags: int = RD) -> Query:
    """Return a query without EDNS."""
    return parse_query(datagram(name, rrtype, flags=flags), client)


def edns_query(
    name: str | bytes = "example.org.", rrtype: int = 1, *, client: Peer = UDP, record: bytes = b""
) -> Query:
    """Return a query with an OPT record, by default of 1232 octets."""
    return parse_query(with_opt(datagram(name, rrtype), record or opt()), client)
