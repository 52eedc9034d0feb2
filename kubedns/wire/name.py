r"""Domain names as lower-case wire octets: b"\3web\7default\0" (RFC 1035 §3.1).

`bytes.lower()` is safe on such a name: a length octet is at most 63, below every capital letter.
"""

from collections.abc import Iterator

from kubedns.wire.errors import WireError

ROOT = b"\0"
MAXIMUM_LABEL = 63
MAXIMUM_NAME = 255  # octets on the wire, root included (RFC 1035 §2.3.4)
MAXIMUM_POINTERS = 126  # as many as labels can follow one another in 255 octets
POINTER = 0xC0

LENGTHS = tuple(bytes((size,)) for size in range(MAXIMUM_LABEL + 1))  # the octet before a label

PRINTABLE = range(0x21, 0x7F)  # ASCII that presentation form shows as it is
# What presentation form escapes by a backslash alone (RFC 1035 §5.1, and the set of CoreDNS's DNS library).
SPECIAL = frozenset(b".\"\\;()@' ")
ORDINARY = b"-_0123456789abcdefghijklmnopqrstuvwxyz"  # what names are made of, most often; there are others that stay


def name(text: str) -> bytes:
    r"""Return a presentation-form name (`web.default`, escapes `\.` and `\032`) as lower-case wire octets.

    A missing final dot is supplied. Raises WireError for an empty label, a label over 63 or a name over 255 octets.
    """
    return spelled_name(text).lower()


def spelled_name(text: str) -> bytes:
    """Return a presentation-form name as wire octets in the letter case given; raises as `name` does."""
    if text in {"", "."}:
        return ROOT
    octets = text.encode()
    parts = list(_unescape(octets, text)) if b"\\" in octets else octets.removesuffix(b".").split(b".")
    if b"" in parts:
        raise WireError(f"empty label in {text!r}")
    if len(octets) > MAXIMUM_LABEL and max(map(len, parts)) > MAXIMUM_LABEL:
        raise WireError(f"label of more than {MAXIMUM_LABEL} octets in {text!r}")
    wire = from_labels(parts)
    if len(wire) > MAXIMUM_NAME:
        raise WireError(f"name of more than {MAXIMUM_NAME} octets: {text!r}")
    return wire


def _unescape(octets: bytes, text: str) -> Iterator[bytes]:
    r"""Yield the labels of a name with escapes in it; the final dot yields nothing, `\.` does not split."""
    label = bytearray()
    i = 0
    while i < len(octets):
        octet = octets[i]
        i += 1
        if octet == ord("."):
            yield bytes(label)
            label.clear()
            if i == len(octets):
                return
        elif octet == ord("\\"):
            code = octets[i : i + 3]
            if len(code) == 3 and code.isdigit() and int(code) <= 255:  # noqa: PLR2004 - \DDD is three digits, one octet
                label.append(int(code))
                i += 3
            elif code:
                label.append(code[0])
                i += 1
            else:
                raise WireError(f"name ends in a backslash: {text!r}")
        else:
            label.append(octet)
    yield bytes(label)


def text(wire: bytes) -> str:
    r"""Return a wire name in presentation form, absolute; octets outside printable ASCII as \DDD."""
    if wire == ROOT:
        return "."
    parts = labels(wire)
    if not b"".join(parts).translate(None, ORDINARY):
        return (b".".join(parts) + b".").decode("ascii")
    return "".join(label_text(label) + "." for label in parts)


def label_text(label: bytes) -> str:
    r"""Return one label in presentation form, without a dot behind it."""
    if label.isalnum():
        return label.decode("ascii")
    return "".join(
        f"\\{chr(octet)}" if octet in SPECIAL else chr(octet) if octet in PRINTABLE else f"\\{octet:03d}"
        for octet in label
    )


def labels(wire: bytes) -> list[bytes]:
    """Return a wire name's labels, leftmost first, without the root's."""
    found = []
    start = 0
    while size := wire[start]:
        end = start + 1 + size
        found.append(wire[start + 1 : end])
        start = end
    return found


def from_labels(parts: list[bytes] | tuple[bytes, ...]) -> bytes:
    """Return the wire name of labels, leftmost first; each is 1 to 63 octets long."""
    return b"".join([LENGTHS[len(part)] + part for part in parts]) + ROOT


def suffixes(wire: bytes) -> Iterator[bytes]:
    """Yield the name, its parent, and so on; the root last."""
    start = 0
    while size := wire[start]:
        yield wire[start:]
        start += 1 + size
    yield ROOT


def is_within(wire: bytes, zone: bytes) -> bool:
    """Tell whether a name is the zone's apex or below it; `notexample.org` is not within `example.org`."""
    if not wire.endswith(zone):
        return False
    apex, start = len(wire) - len(zone), 0
    while start < apex:
        start += 1 + wire[start]
    return start == apex


def read_name(message: bytes, start: int) -> tuple[bytes, int]:
    """Read a name at an offset of a message, following pointers (RFC 1035 §4.1.4), letter case kept.

    Returns the name uncompressed and the offset behind it. Raises WireError when it is cut short, too long, has
    a label type unknown, or more pointers than a name can need: what can loop can't get far.
    """
    parts: list[bytes] = []
    size = 1
    pointers = 0
    at, behind = start, 0
    try:
        while length := message[at]:
            if length <= MAXIMUM_LABEL:
                size += length + 1
                if size > MAXIMUM_NAME:
                    raise WireError("name of more than 255 octets")
                part = message[at : at + 1 + length]
                if len(part) <= length:
                    raise WireError("label cut short")
                parts.append(part)
                at += 1 + length
            elif length >= POINTER:
                pointers += 1
                if pointers > MAXIMUM_POINTERS:
                    raise WireError("too many compression pointers")
                target = (length & 0x3F) << 8 | message[at + 1]
                behind = behind or at + 2
                at = target
            else:
                raise WireError("unknown label type")
    except IndexError:
        raise WireError("name cut short") from None
    parts.append(ROOT)
    return b"".join(parts), behind or at + 1
