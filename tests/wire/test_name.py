import pytest

from kubedns.wire.errors import WireError
from kubedns.wire.name import (
    from_labels,
    is_within,
    label_text,
    labels,
    name,
    read_name,
    spelled_name,
    suffixes,
    text,
)

L63 = "a" * 63
LONGEST = ".".join([L63, L63, L63, "b" * 61])  # 255 octets on the wire

NAMES = {
    "root": (".", b"\0"),
    "empty is the root": ("", b"\0"),
    "absolute": ("example.org.", b"\7example\3org\0"),
    "final dot supplied": ("example.org", b"\7example\3org\0"),
    "letter case lost": ("ExAmPle.ORG.", b"\7example\3org\0"),
    "underscores": ("_dns._udp.x.", b"\4_dns\4_udp\1x\0"),
    "escaped dot": (r"a\.b.c.", b"\3a.b\1c\0"),
    "escaped dot at the end": (r"a\.", b"\2a.\0"),
    "escaped backslash before the final dot": (r"a\\.", b"\2a\\\0"),
    "octet by number": (r"a\032b.", b"\3a b\0"),
    "highest octet": (r"\255.", b"\1\xff\0"),
    "more than an octet is a letter escaped": (r"\256.", b"\003256\0"),
    "two digits are letters escaped": (r"\12.", b"\00212\0"),
    "beyond ASCII as UTF-8": ("ü.", b"\2\xc3\xbc\0"),
    "longest label": (L63, b"\x3f" + b"a" * 63 + b"\0"),
    "longest name": (LONGEST, (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"b" * 61 + b"\0"),
}


@pytest.mark.parametrize(("presented", "octets"), NAMES.values(), ids=NAMES)
def test_name(presented: str, octets: bytes) -> None:
    assert name(presented) == octets


def test_spelled_name_keeps_letter_case() -> None:
    assert spelled_name("ExAmPle.oRg.") == b"\7ExAmPle\3oRg\0"


BAD_NAMES = {
    "two dots": ("a..b", "empty label"),
    "a dot first": (".a", "empty label"),
    "two dots at the end": ("a..", "empty label"),
    "only dots": ("..", "empty label"),
    "two dots behind an escape": (r"\097..b", "empty label"),
    "label of 64": ("a" * 64, "label of more than 63 octets"),
    "label of 64 escaped": (r"\097" * 64, "label of more than 63 octets"),
    "label of 64 in UTF-8": ("ü" * 32, "label of more than 63 octets"),
    "name of 256": (LONGEST + "b", "name of more than 255 octets"),
    "backslash last": ("a\\", "ends in a backslash"),
}


@pytest.mark.parametrize(("presented", "error"), BAD_NAMES.values(), ids=BAD_NAMES)
def test_no_name(presented: str, error: str) -> None:
    with pytest.raises(WireError, match=error):
        name(presented)


TEXTS = {
    "root": (b"\0", "."),
    "plain": (b"\3web\7default\0", "web.default."),
    "letter case kept": (b"\3WeB\0", "WeB."),
    "hyphen and underscore": (b"\5_a-b_\0", "_a-b_."),
    "dot in a label": (b"\3a.b\0", r"a\.b."),
    "each special octet": (b"\x09 \"'();@\\.\0", r"\ \"\'\(\)\;\@\\\.."),
    "dollar is not special": (b"\1$\0", "$."),
    "control octets": (b"\3\0\x1f\x7f\0", r"\000\031\127."),
    "high octets": (b"\2\x80\xff\0", r"\128\255."),
}


@pytest.mark.parametrize(("octets", "presented"), TEXTS.values(), ids=TEXTS)
def test_text(octets: bytes, presented: str) -> None:
    assert text(octets) == presented
    assert spelled_name(presented) == octets


def test_label_text_has_no_final_dot() -> None:
    assert label_text(b"a.b") == r"a\.b"


def test_parts_of_a_name() -> None:
    wire = b"\3web\7default\3svc\0"
    assert labels(wire) == [b"web", b"default", b"svc"]
    assert from_labels(labels(wire)) == wire
    assert list(suffixes(wire)) == [wire, b"\7default\3svc\0", b"\3svc\0", b"\0"]
    assert labels(b"\0") == []
    assert from_labels([]) == b"\0"
    assert list(suffixes(b"\0")) == [b"\0"]


WITHIN = {
    "apex": ("example.org.", "example.org.", True),
    "below": ("a.b.example.org.", "example.org.", True),
    "everything is within the root": ("org.", ".", True),
    "the root is within itself": (".", ".", True),
    "above": ("org.", "example.org.", False),
    "the same letters in a longer label": ("notexample.org.", "example.org.", False),
    "beside": ("example.net.", "example.org.", False),
    "the zone inside a label": (r"a\007example\003org.", "example.org.", False),
}


@pytest.mark.parametrize(("inner", "zone", "expected"), WITHIN.values(), ids=WITHIN)
def test_is_within(inner: str, zone: str, expected: bool) -> None:
    assert is_within(name(inner), name(zone)) is expected


def chain(pointers: int) -> bytes:
    """Return a message of so many pointers, each to the one before it, the first to a root."""
    return b"\0\0" + b"".join((0xC000 | 2 * i).to_bytes(2, "big") for i in range(pointers))


READ = {
    "plain": (b"\1a\0rest", 0, b"\1a\0", 3),
    "letter case kept": (b"\1A\0", 0, b"\1A\0", 3),
    "root": (b"\0", 0, b"\0", 1),
    "pointer back": (b"\3org\0\1a\xc0\0rest", 5, b"\1a\3org\0", 9),
    "pointer forward": (b"\xc0\3x\1a\0", 0, b"\1a\0", 2),
    "pointer to a pointer": (b"\1a\0\1b\xc0\0\1c\xc0\3", 7, b"\1c\1b\1a\0", 11),
    "126 pointers": (chain(126), 2 * 126, b"\0", 2 * 127),
    "255 octets": ((b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"b" * 61 + b"\0", 0, None, 255),
}


@pytest.mark.parametrize(("message", "start", "octets", "behind"), READ.values(), ids=READ)
def test_read_name(message: bytes, start: int, octets: bytes | None, behind: int) -> None:
    assert read_name(message, start) == (message if octets is None else octets, behind)


UNREADABLE = {
    "nothing": (b"", 0, "cut short"),
    "no root": (b"\1a", 0, "cut short"),
    "label cut short": (b"\3ab", 0, "cut short"),
    "pointer cut short": (b"\xc0", 0, "cut short"),
    "pointer beyond the end": (b"\xc0\xff", 0, "cut short"),
    "pointer to itself": (b"\xc0\0", 0, "pointers"),
    "two pointers to each other": (b"\xc0\2\xc0\0", 0, "pointers"),
    "pointer to a label before it": (b"\1a\xc0\0", 0, "more than 255|pointers"),
    "127 pointers": (chain(127), 2 * 127, "pointers"),
    "label type 01": (b"\x41a\0", 0, "label type"),
    "label type 10": (b"\x80a\0", 0, "label type"),
    "256 octets": ((b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"b" * 62 + b"\0", 0, "more than 255"),
}


@pytest.mark.parametrize(("message", "start", "error"), UNREADABLE.values(), ids=UNREADABLE)
def test_read_name_refuses(message: bytes, start: int, error: str) -> None:
    with pytest.raises(WireError, match=error):
        read_name(message, start)
