"""kubedns.log: which lines are written together, and that they stay whole and in order."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import pytest

from kubedns import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

LARGEST = 1 << 16
PIPE_BUF = 4096  # octets that Linux writes to a pipe whole, pipe(7)
plugin = log.plugin_log("x")
Result = TypeVar("Result")


class Written:
    """What came of each write, which a packet is made of."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def all(self) -> list[str]:
        found: list[str] = []
        while True:
            try:
                octets = self._sock.recv(LARGEST)
            except BlockingIOError:
                return found
            if not octets:
                return found
            found.append(octets.decode())


@contextmanager
def writing() -> Iterator[Written]:
    """Make standard output one that shows each write."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, theirs.makefile("w", encoding="utf-8") as stdout:
        ours.setblocking(False)
        before, sys.stdout = sys.stdout, stdout
        try:
            yield Written(ours)
        finally:
            sys.stdout = before


def run(work: Callable[[Written], Awaitable[Result]]) -> Result:
    """Run a coroutine that is given what it writes."""

    async def live() -> Result:
        with writing() as written:
            return await work(written)

    return asyncio.run(live())


def test_lines_of_one_turn_are_one_write() -> None:
    async def work(written: Written) -> list[str]:
        for text in ("a", "b", "c"):
            log.server_log.each(text)
        assert not written.all()
        await asyncio.sleep(0)
        return written.all()

    assert run(work) == ["[INFO] a\n[INFO] b\n[INFO] c\n"]


def test_others_are_written_at_once_and_in_order() -> None:
    async def work(written: Written) -> list[list[str]]:
        log.server_log.each("a")
        plugin.warning("b")
        plugin.warning("c")
        log.server_log.each("d")
        before = written.all()
        await asyncio.sleep(0)
        return [before, written.all()]

    assert run(work) == [
        ["[INFO] a\n[WARNING] plugin/x: b\n", "[WARNING] plugin/x: c\n"],
        ["[INFO] d\n"],
    ]


@pytest.mark.parametrize("letter", ["x", "é", "\N{KEY}"])
def test_a_write_has_whole_lines_and_no_more_than_a_pipe_takes_whole(letter: str) -> None:
    lines = [f"{number} {letter * 90}" for number in range(200)]

    async def work(written: Written) -> list[str]:
        for line in lines:
            log.server_log.each(line)
        await asyncio.sleep(0)
        return written.all()

    writes = run(work)
    assert "".join(writes) == "".join(f"[INFO] {line}\n" for line in lines)
    assert all(write.endswith("\n") and len(write.encode()) <= PIPE_BUF for write in writes)
    assert len(writes) < len(lines) / 5


def test_a_line_that_is_written_at_once_is_no_part_of_a_write_that_is_full() -> None:
    async def work(written: Written) -> list[str]:
        log.server_log.each("a" * 4000)
        plugin.error("b" * 100)
        return written.all()

    assert run(work) == [f"[INFO] {'a' * 4000}\n", f"[ERROR] plugin/x: {'b' * 100}\n"]


def test_a_line_that_is_too_long_is_cut_and_alone() -> None:
    async def work(written: Written) -> list[str]:
        for text in ("a", "x" * 2 * log.LONGEST_LINE, "b"):
            log.server_log.each(text)
        await asyncio.sleep(0)
        return written.all()

    cut = f"[INFO] {'x' * log.LONGEST_LINE}...\n"
    assert run(work) == ["[INFO] a\n", cut, "[INFO] b\n"]


def test_what_has_no_octets_takes_no_other_line_with_it() -> None:
    """An environment variable of a Corefile, in a format or a file's name, need not be UTF-8 (PEP 383)."""

    async def work(written: Written) -> list[str]:
        for text in ("a", "b\udcff", "é"):
            log.server_log.each(text)
        plugin.error("c")
        return written.all()

    assert run(work) == ["[INFO] a\n[INFO] b\\udcff\n[INFO] é\n[ERROR] plugin/x: c\n"]


def test_what_nobody_takes_is_left() -> None:
    async def work(written: Written) -> list[str]:
        sys.stdout.close()
        log.server_log.each("a")
        await asyncio.sleep(0)
        plugin.error("b")
        assert log.output.waiting == []
        return written.all()

    assert run(work) == []
