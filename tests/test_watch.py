"""A file that is looked at: what counts as a change, what as a file."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest

from kubedns.slices import SLICE, in_slices
from kubedns.watch import FileWatch, Following

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("one")
    os.utime(path, (1, 1))
    return path


def read(watch: FileWatch) -> bytes:
    file, state = watch.open()
    with file:
        content = file.read()
    assert state.st_size == len(content)
    return content


def test_changes(path: Path) -> None:
    watch = FileWatch(path)
    assert watch.changed()
    assert read(watch) == b"one"
    assert not watch.changed()
    os.utime(path, (2, 2))
    assert watch.changed()
    assert read(watch) == b"one"
    other = path.with_name("other")
    other.write_text("two")
    os.utime(other, (2, 2))
    other.rename(path)
    assert watch.changed()
    assert read(watch) == b"two"
    path.unlink()
    with pytest.raises(FileNotFoundError):
        watch.changed()
    with pytest.raises(FileNotFoundError):
        watch.open()


def test_what_was_written_just_now_counts_as_changed_once_more(path: Path) -> None:
    watch = FileWatch(path)
    now = time.time()
    os.utime(path, (now, now))
    read(watch)
    assert watch.changed()


def test_settles(path: Path) -> None:
    watch = FileWatch(path)
    path.write_text("written to")
    asyncio.run(watch.settle())
    read(watch)
    assert not watch.changed()


def test_a_change_that_is_over(path: Path) -> None:
    watch = FileWatch(path)
    path.write_text("written to")
    assert asyncio.run(watch.settled_change())
    assert read(watch) == b"written to"
    assert not asyncio.run(watch.settled_change())
    path.unlink()
    with pytest.raises(FileNotFoundError):
        asyncio.run(watch.settled_change())


def test_following() -> None:
    async def main() -> None:
        looked = asyncio.Event()
        looks = 0

        async def look() -> None:
            nonlocal looks
            looks += 1
            if looks == 3:
                looked.set()

        following, never = Following(0.001), Following(0)
        await following.stop()
        following.start(look)
        never.start(look)
        async with asyncio.timeout(10):
            await looked.wait()
        await following.stop()
        await never.stop()
        stopped_at = looks
        await asyncio.sleep(0.01)
        assert looks == stopped_at

    asyncio.run(main())


def test_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(OSError, match="no regular file"):
            FileWatch(path).open()


def test_the_loop_has_its_turn() -> None:
    turns = 0

    def work(_: int) -> None:
        time.sleep(SLICE)

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def both() -> None:
        counting = asyncio.create_task(count())
        await in_slices(map(work, range(5)))
        counting.cancel()

    asyncio.run(both())
    assert turns >= 4
