"""TCP's framing: the same table whole, octet by octet, and with more behind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedns.listeners.tcp import HEADER_SIZE, Framer
from tests.listeners.running import framed

A, B, LONG = b"a" * 12, b"b" * 33, b"l" * 65535

TABLE = [
    pytest.param(b"", [], 0, id="nothing"),
    pytest.param(b"\0", [], 0, id="half a length"),
    pytest.param(b"\0\x0c", [], 0, id="a length alone"),
    pytest.param(framed(A)[:-1], [], 0, id="one octet short"),
    pytest.param(framed(A), [A], 1, id="a header alone"),
    pytest.param(framed(A, B), [A, B], 2, id="two"),
    pytest.param(framed(LONG), [LONG], 1, id="as long as can be"),
    pytest.param(framed(b""), [], 1, id="length 0"),
    pytest.param(framed(b"", b"", A), [A], 3, id="length 0 twice, then a message"),
    pytest.param(framed(b"x" * 11), [], 1, id="shorter than a header"),
    pytest.param(framed(A, b"x" * 11, B), [A, B], 3, id="a short one between"),
]


def messages_of(framer: Framer) -> list[bytes]:
    return list(iter(framer.next_message, None))


@pytest.mark.parametrize(("octets", "messages", "complete"), TABLE)
def test_whole(octets: bytes, messages: list[bytes], complete: int) -> None:
    framer = Framer()
    framer.feed(octets)
    assert messages_of(framer) == messages
    assert framer.complete == complete


@pytest.mark.parametrize(("octets", "messages", "complete"), [row for row in TABLE if row.id != "as long as can be"])
def test_octet_by_octet(octets: bytes, messages: list[bytes], complete: int) -> None:
    framer, got = Framer(), []
    for octet in octets:
        framer.feed(bytes([octet]))
        got += messages_of(framer)
    assert (got, framer.complete) == (messages, complete)


@pytest.mark.parametrize(("octets", "messages", "complete"), [row for row in TABLE if row.values[2]])
def test_with_more_behind(octets: bytes, messages: list[bytes], complete: int) -> None:
    framer, behind = Framer(), framed(B)
    framer.feed(octets + behind[:5])
    assert (messages_of(framer), framer.complete) == (messages, complete)
    framer.feed(behind[5:])
    assert (messages_of(framer), framer.complete) == ([B], complete + 1)


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(min_value=1, max_value=60)), st.binary(max_size=1))
def test_however_it_is_cut_the_same_messages_come_out(messages: list[bytes], cuts: list[int], rest: bytes) -> None:
    octets, framer, got = framed(*messages) + rest, Framer(), []
    for cut in [*cuts, len(octets)]:
        framer.feed(octets[:cut])
        octets = octets[cut:]
        got += messages_of(framer)
    assert got == [message for message in messages if len(message) >= HEADER_SIZE]
    assert framer.complete == len(messages)


@given(st.lists(st.binary(max_size=200)))
def test_any_octets_give_messages_and_nothing_else(pieces: list[bytes]) -> None:
    framer = Framer()
    for piece in pieces:
        framer.feed(piece)
        assert all(len(message) >= HEADER_SIZE for message in messages_of(framer))
