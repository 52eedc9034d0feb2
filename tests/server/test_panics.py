from __future__ import annotations

from typing import TYPE_CHECKING

from kubedns import metrics
from kubedns.server.panics import MOST_KINDS, Panics

if TYPE_CHECKING:
    import pytest

HEAD = '[ERROR] Recovered from panic in server: "dns://:53" '


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def raised(text: str = "boom", kind: type[Exception] = ValueError, depth: int = 0) -> Exception:
    try:
        raise_in(depth, kind(text))
    except Exception as error:  # noqa: BLE001 - as the server catches it
        return error
    raise AssertionError


def raise_in(depth: int, error: Exception) -> None:
    if depth:
        raise_in(depth - 1, error)
    raise error


def counted() -> float:
    return metrics.registry.get_sample_value("coredns_panics_total") or 0.0


def test_first_comes_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    before = counted()
    Panics("dns://:53", Clock()).record(raised())
    first, second, *_, last = capsys.readouterr().out.splitlines()
    assert first == f"{HEAD}ValueError: boom"
    assert second == "Traceback (most recent call last):"
    assert last == "ValueError: boom"
    assert counted() - before == 1


def test_a_flood_is_a_line_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    panics = Panics("dns://:53", clock)
    before = counted()
    panics.record(raised())
    capsys.readouterr()
    for _ in range(3):
        for _ in range(100):
            clock.now += 0.0099
            panics.record(raised())
        clock.now += 0.02
    panics.record(raised())
    assert capsys.readouterr().out.splitlines() == [
        f"{HEAD}ValueError: boom (100 more since the last such line)",
        f"{HEAD}ValueError: boom (99 more since the last such line)",
        f"{HEAD}ValueError: boom (99 more since the last such line)",
    ]
    assert counted() - before == 302


def test_one_a_minute_is_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    panics = Panics("dns://:53", clock)
    panics.record(raised())
    capsys.readouterr()
    for _ in range(2):
        clock.now += 60
        panics.record(raised("again"))
    assert capsys.readouterr().out == f"{HEAD}ValueError: again\n" * 2


def test_kinds_are_told_apart_by_class_and_line(capsys: pytest.CaptureFixture[str]) -> None:
    panics = Panics("dns://:53", Clock())
    for error in (raised(), raised(kind=KeyError), raised("other text"), ValueError("never raised")):
        panics.record(error)
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("[")] == [
        f"{HEAD}ValueError: boom",
        f"{HEAD}KeyError: 'boom'",
        f"{HEAD}ValueError: never raised",
    ]


def test_kinds_are_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    panics = Panics("dns://:53", Clock())
    for number in range(10 * MOST_KINDS):
        panics.record(raised(kind=type(f"Kind{number}", (Exception,), {})))
    assert capsys.readouterr().out.count("Recovered from panic") == MOST_KINDS + 1


def test_a_deep_traceback_shows_its_innermost_frames(capsys: pytest.CaptureFixture[str]) -> None:
    Panics("dns://:53", Clock()).record(raised(depth=500))
    out = capsys.readouterr().out
    assert len(out) < 4096
    assert "raise error" in out
    assert "in raised" not in out


def test_an_exception_that_cannot_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise TypeError

    Panics("dns://:53", Clock()).record(raised(kind=UnprintableError))
    assert "exception str() failed" in capsys.readouterr().out
