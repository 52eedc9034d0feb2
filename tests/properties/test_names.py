from __future__ import annotations

from typing import SupportsIndex

import dns.name
from hypothesis import given
from hypothesis import strategies as st

from kubedns.wire.errors import WireError
from kubedns.wire.name import (
    MAXIMUM_POINTERS,
    from_labels,
    is_within,
    labels,
    name,
    read_name,
    spelled_name,
    suffixes,
    text,
)
from tests.properties.made import any_names, names

MOST_LOOKS = 4 * (MAXIMUM_POINTERS + 128)  # twice for each label and each pointer, as an index and as a slice


class Counted(bytes):
    """Octets that count how often they are looked at."""

    looks = 0

    def __getitem__(self, key: SupportsIndex | slice) -> int | bytes:  # type: ignore[override]
        self.looks += 1
        return super().__getitem__(key)


@given(any_names)
def test_text_and_back(wire: bytes) -> None:
    assert spelled_name(text(wire)) == wire
    assert name(text(wire)) == wire.lower()


@given(any_names)
def test_text_is_what_dnspython_reads(wire: bytes) -> None:
    assert dns.name.from_text(text(wire)).to_wire() == wire


@given(st.text(max_size=300) | st.text(alphabet="a.\\0123459", max_size=300))
def test_any_text_is_a_name_or_a_wire_error(presented: str) -> None:
    try:
        wire = name(presented)
    except WireError:
        return
    assert wire == wire.lower()
    assert read_name(wire, 0) == (wire, len(wire))
    assert name(text(wire)) == wire


@given(any_names)
def test_parts(wire: bytes) -> None:
    assert from_labels(labels(wire)) == wire
    assert all(is_within(wire, suffix) for suffix in suffixes(wire))
    assert len(list(suffixes(wire))) == len(labels(wire)) + 1


@given(names, names)
def test_is_within_is_label_by_label(inner: bytes, zone: bytes) -> None:
    count = len(labels(zone))
    expected = count == 0 or labels(inner)[-count:] == labels(zone)
    assert is_within(inner, zone) is expected


pointers = st.integers(0, 0x3FFF).map(lambda offset: (0xC000 | offset).to_bytes(2, "big"))
near = st.integers(0, 60).map(lambda offset: (0xC000 | offset).to_bytes(2, "big"))
pieces = st.one_of(pointers, near, near, st.binary(max_size=3), st.just(b"\1a"), st.just(b"\x3f" + b"a" * 63))


@given(st.lists(pieces, max_size=60).map(b"".join), st.integers(0, 60))
def test_read_name_ends_soon_whatever_the_pointers(message: bytes, start: int) -> None:
    counted = Counted(message)
    try:
        wire, behind = read_name(counted, start)
    except WireError:
        pass
    else:
        assert len(wire) <= 255
        assert labels(wire) is not None
        assert start < behind <= len(message)
    assert counted.looks <= MOST_LOOKS


@given(st.integers(1, 8191), st.integers(0, 8190))
def test_read_name_ends_soon_in_a_message_of_pointers(count: int, shift: int) -> None:
    """Each points to another one of them: long chains, and circles."""
    message = b"".join((0xC000 | 2 * ((place + shift) % count)).to_bytes(2, "big") for place in range(count))
    counted = Counted(message)
    try:
        read_name(counted, 0)
    except WireError:
        assert counted.looks <= MOST_LOOKS
    else:
        raise AssertionError
