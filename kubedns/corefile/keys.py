"""Server block keys and plugins' zones: `[SCHEME://]ZONE[:PORT]`, reverse zones as CIDR."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from kubedns.corefile.errors import CorefileError, Kind, Step
from kubedns.corefile.numbers import INT64, quote
from kubedns.corefile.values import Key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kubedns.corefile.values import Word

PORTS = {"dns": None, "tls": 853, "quic": 853, "grpc": 443, "https3": 443, "https": 443, "unix": 0}
PREFIX = "error inspecting server blocks: "
LONGEST_TEXT = 255  # octets of a key's zone as written
LONGEST_LABEL = 63
LONGEST_NAME = 255  # octets on the wire, root included (RFC 1035 §2.3.4)
NUMBER = re.compile(r"[+-]?[0-9]{1,40}", re.ASCII)
DIGITS = re.compile(r"[0-9]{1,6}", re.ASCII)
ESCAPED_OCTET = re.compile(rb"[0-9]{3}")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ZoneError(ValueError):
    """A text that is no zone; says so in CoreDNS's words."""

    def __init__(self, text: str, cure: str = "") -> None:
        """`cure` is what to write instead."""
        super().__init__(text)
        self.cure = cure


def expand_keys(word: Word, default_port: str | int) -> tuple[Key, ...]:
    """Return the zones that a key asks for: one, or those that a CIDR amounts to, in ascending order.

    `default_port` is that of plain dns. Raises CorefileError.
    """
    transport, rest = _transport(word.text)
    try:
        zones, port = _zones(rest)
    except ZoneError as error:
        raise CorefileError(f"{PREFIX}{error}", word, error.cure, Kind.BARE, Step.KEYS) from None
    if port is None:
        port = PORTS[transport]
    if port is None:
        port = _default(default_port, word)
    return tuple(Key(transport, zone, port, word) for zone in zones)


def expand_zones(texts: Iterable[str]) -> tuple[str, ...]:
    """Return a plugin's zone arguments as absolute lower-case names; what is no zone is left out, as CoreDNS does."""
    found: list[str] = []
    for text in texts:
        try:
            found += _zones(_transport(text)[1])[0]
        except ZoneError:
            continue
    return tuple(found)


def _transport(text: str) -> tuple[str, str]:
    """Return transport and rest; what is no transport is part of the zone's name."""
    scheme, mark, rest = text.partition("://")
    return (scheme, rest) if mark and scheme in PORTS else ("dns", text)


def _default(port: str | int, word: Word) -> int:
    try:
        return int(port)
    except ValueError:
        cure = "-dns.port takes a number"
        raise CorefileError(f"lookup tcp/{port}: unknown port", word, cure, Kind.BARE, Step.SERVERS) from None


def _zones(text: str) -> tuple[tuple[str, ...], int | None]:
    """Return zones and port of a key without its scheme; raises ZoneError."""
    name, colon, last = text.rpartition(":")
    if colon and not last:
        raise ZoneError(f"expecting data after last colon: {quote(text)}", "leave out the ':', or write a port")
    port = None
    if colon and NUMBER.fullmatch(last) and int(last) in INT64:
        port, text = int(last), name
    cure = f"for every name write '.:{port}'" if not text and port is not None else ""
    _check_name(text, LONGEST_NAME + 2, cure)  # so lenient is CoreDNS while the final dot is missing
    network = _network(text)
    if network is None:
        absolute = _absolute(text)
        _check_name(absolute, LONGEST_NAME)
        return (absolute,), port
    if text[0] == ":" or (text[0] == "0" and ":" in text):
        raise ZoneError(f"invalid CIDR {text}", "write the reverse zone's name, as in 8.b.d.0.1.0.0.2.ip6.arpa")
    return tuple(_reverse(part) for part in _parts(network)), port


def _check_name(text: str, longest: int, cure: str = "") -> None:
    """Raise ZoneError for an empty name or label, a label over 63, a name over `longest` octets on the wire."""
    octets = text.encode("utf-8", "replace")
    if len(octets) > LONGEST_TEXT:
        raise ZoneError(f"specified zone is too long: {len(octets)} > {LONGEST_TEXT}", cure)
    if text == ".":
        return
    sizes = list(_label_sizes(octets.removesuffix(b".") if not octets.endswith(b"\\.") else octets))
    if 0 in sizes or max(sizes) > LONGEST_LABEL or sum(sizes) + len(sizes) + 1 > longest:
        raise ZoneError(f"zone is not a valid domain name: {text}", cure)


def _label_sizes(octets: bytes) -> Iterator[int]:
    r"""Yield the octets in each label; `\X` and `\DDD` are one. A backslash at the end makes an empty label."""
    size = at = 0
    while at < len(octets):
        if octets[at] == ord("."):
            yield size
            size, at = 0, at + 1
            continue
        if octets[at] == ord("\\"):
            if at + 1 == len(octets):
                yield 0
            at += 3 if ESCAPED_OCTET.match(octets, at + 1) else 1
        size, at = size + 1, at + 1
    yield size


def _absolute(text: str) -> str:
    """Return a name with its final dot, A to Z in lower case (RFC 4343)."""
    lower = "".join(character.lower() if character.isascii() else character for character in text)
    return lower if lower.endswith(".") and not lower.endswith("\\.") else f"{lower}."


def _network(text: str) -> Network | None:
    """Return a complete `address/prefix` as a network, host bits dropped."""
    address, slash, prefix = text.partition("/")
    if not slash or "%" in address or not DIGITS.fullmatch(prefix):
        return None
    try:
        return ipaddress.ip_network(f"{address}/{int(prefix)}", strict=False)
    except ValueError:
        return None


def _parts(network: Network) -> Iterator[Network]:
    """Yield the networks that it consists of at the next boundary of a label: 8 bits in IPv4, 4 in IPv6."""
    bits = 8 if isinstance(network, ipaddress.IPv4Network) else 4
    yield from network.subnets(new_prefix=-(-network.prefixlen // bits) * bits)


def _reverse(network: Network) -> str:
    """Return a network's reverse zone (RFC 1035 §3.5, RFC 3596 §2.5); its prefix ends at a label."""
    if isinstance(network, ipaddress.IPv4Network):
        labels = [str(octet) for octet in network.network_address.packed[: network.prefixlen // 8]]
        suffix = "in-addr.arpa."
    else:
        labels = list(network.network_address.packed.hex()[: network.prefixlen // 4])
        suffix = "ip6.arpa."
    return ".".join([*reversed(labels), suffix])
