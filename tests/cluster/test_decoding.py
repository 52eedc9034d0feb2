from __future__ import annotations

import pytest
from msgspec import Raw

from kubedns.cluster.decoding import Lines, read_event, read_identity, read_page, read_status
from kubedns.cluster.failures import Malformed

TEXT = b'{"a":1}\n\n{"b":2}\n{"c":3}\n{"rest'
WHOLE = [b'{"a":1}', b'{"b":2}', b'{"c":3}']


@pytest.mark.parametrize("step", [1, 2, 7, 8, 9, 10, len(TEXT)])
def test_lines_come_whole_however_they_are_cut(step: int) -> None:
    lines = Lines(100)
    found = [line for start in range(0, len(TEXT), step) for line in lines.feed(TEXT[start : start + step])]
    assert found == WHOLE
    assert lines.unfinished
    assert lines.feed(b'":4}\n') == [b'{"rest":4}']
    assert not lines.unfinished


def test_a_line_has_a_bound() -> None:
    lines = Lines(10)
    lines.feed(b"x" * 10)
    with pytest.raises(Malformed, match="a line of more than"):
        lines.feed(b"x")


def test_an_event() -> None:
    event = read_event(b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"7"}},"more":[]}')
    assert event.type == "ADDED"
    metadata = read_identity(event.object).metadata
    assert metadata is not None
    assert (metadata.name, metadata.resourceVersion) == ("a", "7")


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"type":1}', b'{"object":{}}', b"\xff", b"{}x", b"[" * 100_000])
def test_no_event(line: bytes) -> None:
    with pytest.raises(Malformed):
        read_event(line)


def test_the_end_of_the_initial_events() -> None:
    text = b'{"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true","x":"y"}}}'
    metadata = read_identity(Raw(text)).metadata
    assert metadata is not None
    assert metadata.annotations is not None
    assert metadata.annotations.initial_events_end == "true"


def test_a_page() -> None:
    page = read_page(b'{"kind":"ServiceList","metadata":{"resourceVersion":"4","continue":"t"},"items":[{"a":1},{}]}')
    assert page.metadata is not None
    assert (page.metadata.resourceVersion, page.metadata.token) == ("4", "t")
    assert [bytes(item) for item in page.items or ()] == [b'{"a":1}', b"{}"]


@pytest.mark.parametrize("text", [b"", b"<html>", b'{"items":{}}', b'{"items":[}', b'{"metadata":{"continue":1}}'])
def test_no_page(text: bytes) -> None:
    with pytest.raises(Malformed):
        read_page(text)


@pytest.mark.parametrize(
    ("text", "code", "after", "gone"),
    [
        (b'{"kind":"Status","message":"m","reason":"Expired","code":410}', 410, 0.0, True),
        (b'{"kind":"Status","message":"m","details":{"retryAfterSeconds":3},"code":429}', 429, 3.0, False),
        (b"<html>Bad Gateway</html>", 502, 0.0, False),
        (b"", 0, 0.0, False),
        (b'{"code":"x"}', 500, 0.0, False),
    ],
)
def test_a_status(text: bytes, code: int, after: float, *, gone: bool) -> None:
    refused = read_status(text, code)
    assert (refused.code, refused.retry_after, refused.gone) == (code, after, gone)
    assert f"({code})" in str(refused)
