"""Resource records as values, their RDATA as wire octets (RFC 1035 §3.2.1, §3.3)."""

from typing import NamedTuple

from kubedns.wire.numbers import RRClass, RRType

SRV_FIXED = 6  # octets of priority, weight and port; the target behind them is not compressed (RFC 2782)

EXPIRATION, INCEPTION = slice(8, 12), slice(12, 16)  # of an RRSIG's RDATA (RFC 4034 §3.1)
BEHIND_SERIAL = 20  # octets of an SOA's RDATA from its serial on: five numbers (RFC 1035 §3.3.13)
HALF = 2**31  # serial number arithmetic of 32 bits (RFC 1982)

# Where names stand in RDATA: the octets before the first, and how many there are, one behind the other.
COMPRESSED_NAMES: dict[int, tuple[int, int]] = {
    RRType.NS: (0, 1),
    RRType.CNAME: (0, 1),
    RRType.SOA: (0, 2),
    RRType.PTR: (0, 1),
    RRType.MX: (2, 1),
}
# Where a pointer may come in besides, though none goes out (RFC 3597 §4): not everyone reads one in the rarer types.
EXPANDED_NAMES: dict[int, tuple[int, int]] = COMPRESSED_NAMES | {
    **dict.fromkeys((3, 4, 7, 8, 9), (0, 1)),  # MD, MF, MB, MG, MR
    14: (0, 2),  # MINFO
    RRType.SRV: (SRV_FIXED, 1),
    RRType.DNAME: (0, 1),
    17: (0, 2),  # RP
    18: (2, 1),  # AFSDB
    21: (2, 1),  # RT
    26: (2, 2),  # PX
    36: (2, 1),  # KX
}


class RR(NamedTuple):
    """One record. `owner` and the names in `rdata` are uncompressed wire octets; `ttl` is in seconds."""

    owner: bytes
    rrtype: int
    rrclass: int
    ttl: int
    rdata: bytes


def address(owner: bytes, packed: bytes, ttl: int, rrclass: int = RRClass.IN) -> RR:
    """Return an A record of 4 octets or an AAAA record of 16 (RFC 1035 §3.4.1, RFC 3596 §2.2)."""
    return RR(owner, RRType.A if len(packed) == 4 else RRType.AAAA, rrclass, ttl, packed)  # noqa: PLR2004 - as said


def cname(owner: bytes, target: bytes, ttl: int) -> RR:
    """Return a CNAME record (RFC 1035 §3.3.1)."""
    return RR(owner, RRType.CNAME, RRClass.IN, ttl, target)


def ns(owner: bytes, target: bytes, ttl: int) -> RR:
    """Return an NS record (RFC 1035 §3.3.11)."""
    return RR(owner, RRType.NS, RRClass.IN, ttl, target)


def ptr(owner: bytes, target: bytes, ttl: int) -> RR:
    """Return a PTR record (RFC 1035 §3.3.12)."""
    return RR(owner, RRType.PTR, RRClass.IN, ttl, target)


def srv(  # noqa: PLR0913 - the record's own fields
    owner: bytes, target: bytes, ttl: int, *, weight: int, port: int, priority: int = 0, rrclass: int = RRClass.IN
) -> RR:
    """Return an SRV record (RFC 2782)."""
    fields = (priority << 32 | weight << 16 | port).to_bytes(6, "big")
    return RR(owner, RRType.SRV, rrclass, ttl, fields + target)


def txt(owner: bytes, text: str, ttl: int, rrclass: int = RRClass.IN) -> RR:
    """Return a TXT record of one character-string, cut to its 255 octets (RFC 1035 §3.3.14)."""
    octets = text.encode()[:255]
    return RR(owner, RRType.TXT, rrclass, ttl, bytes((len(octets),)) + octets)


def soa(owner: bytes, mname: bytes, rname: bytes, ttl: int, *, serial: int, times: tuple[int, int, int, int]) -> RR:  # noqa: PLR0913 - the record's own fields
    """Return an SOA record; `times` are refresh, retry, expire and minimum, in seconds (RFC 1035 §3.3.13)."""
    numbers = b"".join([number.to_bytes(4, "big") for number in (serial & 0xFFFFFFFF, *times)])
    return RR(owner, RRType.SOA, RRClass.IN, ttl, mname + rname + numbers)


def write_serial(octets: bytearray, end: int, serial: int) -> None:
    """Write a serial over where an SOA record ends at that place."""
    start = end - BEHIND_SERIAL
    octets[start : start + 4] = (serial & 0xFFFFFFFF).to_bytes(4, "big")


def in_force(rdata: bytes, now: int) -> bool:
    """Tell whether an RRSIG's inception has come and its expiration has not passed (RFC 4034 §3.1.5).

    `now` is in seconds since 1970.
    """
    expiration, inception = int.from_bytes(rdata[EXPIRATION], "big"), int.from_bytes(rdata[INCEPTION], "big")
    return (now - inception) % 2**32 < HALF and (expiration - now) % 2**32 < HALF
