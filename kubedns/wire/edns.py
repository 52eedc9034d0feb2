"""EDNS (RFC 6891): the OPT record of a query, and the one that its reply carries."""

from dataclasses import dataclass

from kubedns.wire.errors import WireError
from kubedns.wire.numbers import Option, RRType

DO = 0x8000
ECHOED_FLAGS = 0xFF00  # DO, CO and the next six bits come back, the low eight do not

# Options that a reply repeats with the client's data, as CoreDNS does.
ECHOED = frozenset({Option.NSID, Option.EXPIRE, Option.COOKIE, Option.TCP_KEEPALIVE, Option.PADDING})

# What an option's data must measure at least (RFC 8764 §1, draft-ietf-dnssd-dns-sd LLQ and UL, RFC 8914 §2).
LLQ_SIZE = 18
UL_SIZES = (4, 8)
EXPIRE_SIZES = (0, 4)  # and above four, which is read as four
KEEPALIVE_SIZES = (0, 2)
EDE_SIZE = 2

ADDRESS_BITS = {1: 32, 2: 128}  # ECS's FAMILY to the longest prefix (RFC 7871 §6)


@dataclass(frozen=True, slots=True)
class Edns:
    """An OPT record: `size` in octets, `flags` as the low sixteen bits of its TTL field, options in order."""

    size: int
    version: int
    flags: int
    options: tuple[tuple[int, bytes], ...]

    @property
    def do(self) -> bool:
        """DNSSEC OK (RFC 3225 §3)."""
        return bool(self.flags & DO)

    def option(self, code: int) -> bytes | None:
        """Return the data of the first option of that code, None where there is none."""
        return next((data for found, data in self.options if found == code), None)


def read_options(rdata: bytes) -> tuple[tuple[int, bytes], ...]:
    """Return an OPT record's options; raise WireError where one is cut short or of an impossible size."""
    options = []
    at = 0
    while at < len(rdata):
        code, size = int.from_bytes(rdata[at : at + 2], "big"), int.from_bytes(rdata[at + 2 : at + 4], "big")
        data = rdata[at + 4 : at + 4 + size]
        if at + 4 > len(rdata) or len(data) < size:
            raise WireError("EDNS option cut short")
        _check(code, data)
        options.append((code, data[: EXPIRE_SIZES[1]] if code == Option.EXPIRE else data))
        at += 4 + size
    return tuple(options)


def _check(code: int, data: bytes) -> None:
    size = len(data)
    wrong = (
        (code == Option.LLQ and size < LLQ_SIZE)
        or (code == Option.UL and size not in UL_SIZES)
        or (code == Option.EXPIRE and 0 < size < EXPIRE_SIZES[1])
        or (code == Option.TCP_KEEPALIVE and size not in KEEPALIVE_SIZES)
        or (code == Option.EDE and size < EDE_SIZE)
        or (code == Option.ECS and not _is_client_subnet(data))
    )
    if wrong:
        raise WireError(f"EDNS option {code} of {size} octets")


def _is_client_subnet(data: bytes) -> bool:
    """RFC 7871 §6; an address shorter than its prefix is let through, as everywhere."""
    if len(data) < 4:  # noqa: PLR2004 - FAMILY and two prefix lengths
        return False
    family, source, scope = int.from_bytes(data[:2], "big"), data[2], data[3]
    if family == 0:
        return source == 0
    bits = ADDRESS_BITS.get(family)
    return bits is not None and source <= bits and scope <= bits


def opt_record(size: int, rcode: int, flags: int, options: bytes = b"") -> bytes:
    """Return an OPT record of version 0 as octets, the upper eight bits of `rcode` in it (RFC 6891 §6.1.3)."""
    fields = size << 48 | rcode >> 4 << 40 | flags << 16 | len(options)
    return OPT_HEAD + fields.to_bytes(8, "big") + options


def write_options(options: tuple[tuple[int, bytes], ...]) -> bytes:
    """Return options as an OPT record's RDATA."""
    return b"".join([code.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data for code, data in options])


def echoed_options(edns: Edns) -> bytes:
    """Return, as RDATA, those of a query's options that its reply repeats."""
    if not edns.options:
        return b""
    return write_options(tuple(option for option in edns.options if option[0] in ECHOED))


OPT_HEAD = b"\0" + RRType.OPT.to_bytes(2, "big")
