"""Reverse names, and the addresses that they stand for (RFC 1035 §3.5, RFC 3596 §2.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubedns.cluster.addresses import pack_address

if TYPE_CHECKING:
    from collections.abc import Sequence

IN_ADDR_ARPA, IP6_ARPA = [b"in-addr", b"arpa"], [b"ip6", b"arpa"]
REVERSE = (IN_ADDR_ARPA, IP6_ARPA)
IPV4_LABELS, IPV6_LABELS = 4, 32
HEXADECIMAL = frozenset(bytes((digit,)) for digit in b"0123456789abcdef")


def reverse_address(labels: Sequence[bytes]) -> bytes | None:
    """Return the address of a whole reverse name's labels (RFC 1035 §3.5, RFC 3596 §2.5), None for another name.

    Left of 32 nibbles up to three more labels may stand, as CoreDNS reads such names.
    """
    left, zone = labels[:-2], list(labels[-2:])
    if zone == IN_ADDR_ARPA and len(left) == IPV4_LABELS:
        return pack_address(b".".join(reversed(left)).decode("latin-1"))
    nibbles = left[-IPV6_LABELS:]
    whole = IPV6_LABELS <= len(left) < IPV6_LABELS + 4
    if zone == IP6_ARPA and whole and HEXADECIMAL.issuperset(nibbles):
        digits = b"".join(reversed(nibbles)).decode()
        return pack_address(":".join(digits[at : at + 4] for at in range(0, IPV6_LABELS, 4)))
    return None


def is_reverse(labels: Sequence[bytes]) -> bool:
    """Tell whether a name, as labels, is below (not at) in-addr.arpa or ip6.arpa."""
    return len(labels) > len(IN_ADDR_ARPA) and list(labels[-2:]) in REVERSE
