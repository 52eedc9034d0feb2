"""Replies compared but for the order of their records."""

from __future__ import annotations

from kubedns.wire.parse import parse_reply

HEADER_SIZE = 12


def in_order(octets: object) -> tuple[object, ...]:
    """Return all that a reply says, its sections sorted; of one that is cut, their sizes."""
    assert isinstance(octets, bytes)
    reply = parse_reply(octets)
    cut = octets[2] & 2
    sections = [len(section) if cut else sorted(section) for section in reply.sections]
    return octets[:HEADER_SIZE], octets[HEADER_SIZE:][: octets[HEADER_SIZE:].index(0) + 5], reply.edns, *sections
