"""A file that plugins read again when it changes, by looking at what the path leads to.

A folder's events would miss what Kubernetes does to a mounted ConfigMap: the name stays, a link somewhere above it
leads elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SETTLED = 0.05  # seconds without a change until a file is taken for whole: something may still be writing it
MOST_LOOKS = 20  # at a file that never settles

Signature = tuple[int, int, int, int]  # device, inode, octets, nanoseconds of the last change


class FileWatch:
    """A path, and which state of its file was opened last."""

    __slots__ = ("_opened", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: Signature | None = None

    def changed(self) -> bool:
        """Tell whether the file is another than was opened last; raises OSError where there is none."""
        return _signature(self.path.stat()) != self._opened

    async def settled_change(self) -> bool:
        """Tell as changed() does, of a file that nobody is writing any more; raises OSError where there is none."""
        if not self.changed():
            return False
        await self.settle()
        return True

    async def settle(self) -> None:
        """Wait until the file has not been written to for a moment, a second at the most; raises OSError."""
        for _ in range(MOST_LOOKS):
            if not 0 <= time.time() - self.path.stat().st_mtime < SETTLED:
                return
            await asyncio.sleep(SETTLED)

    def open(self) -> tuple[BinaryIO, os.stat_result]:
        """Return the file, for the caller to close, and its state; raises OSError for what is no regular file."""
        # O_NONBLOCK: opening a FIFO that nobody writes to would never return.
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        file = os.fdopen(descriptor, "rb") if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
        if file is None:
            os.close(descriptor)
            raise OSError(f"{self.path}: no regular file")
        state = os.fstat(descriptor)
        # A change within the clock tick of the last one leaves no trace: such a file counts as changed once more.
        ticking = 0 <= time.time() - state.st_mtime < SETTLED
        self._opened = None if ticking else _signature(state)
        return file, state


class Following:
    """Looks at something every `interval` seconds, from start() to stop(); an interval of 0 is never."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._task: asyncio.Task[None] | None = None

    def start(self, look: Callable[[], Awaitable[None]]) -> None:
        """Look from now on; `look` is held no longer than until stop()."""
        if self._interval:
            self._task = asyncio.get_running_loop().create_task(self._follow(look))

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})  # to await it would raise what holds its frames, and they this
            if not task.cancelled():
                task.result()

    async def _follow(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await look()


def _signature(state: os.stat_result) -> Signature:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns
