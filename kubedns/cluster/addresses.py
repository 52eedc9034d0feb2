"""IP addresses as octets, and back to the one spelling that Go's net.IP prints."""

from __future__ import annotations

import socket
from ipaddress import IPv6Address

IPV4_SIZE, IPV6_SIZE = 4, 16  # octets of an address
_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, which net.IP.To4 takes for IPv4 (RFC 4291 §2.5.5.2)


def pack_address(text: str) -> bytes | None:
    """Return an address's 4 or 16 octets, 4 for an IPv4-mapped one; None where the text is no IP address."""
    try:
        if ":" not in text:
            return socket.inet_pton(socket.AF_INET, text)
        octets = socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):  # ValueError: a NUL or a letter beyond ASCII
        return None
    return octets[12:] if octets.startswith(_MAPPED) else octets


def address_text(octets: bytes) -> str:
    """Return the canonical text (RFC 5952) of 4 or 16 octets."""
    if len(octets) == IPV4_SIZE:
        return socket.inet_ntop(socket.AF_INET, octets)
    text = socket.inet_ntop(socket.AF_INET6, octets)
    # libc prints ::/96 with a dotted tail, Go does not.
    return text if "." not in text else IPv6Address(octets).compressed
