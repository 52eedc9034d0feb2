"""Long work in slices, so that no answer waits for the whole of it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

Result = TypeVar("Result")
SLICE = 0.002  # seconds of work before the loop has its turn


async def in_slices(*work: Iterable[object]) -> None:
    """Take all steps, but let the loop have its turn every SLICE."""
    end = time.monotonic() + SLICE
    for steps in work:
        for _ in steps:
            if time.monotonic() >= end:
                await asyncio.sleep(0)
                end = time.monotonic() + SLICE


async def made_in_slices(work: Generator[None, None, Result]) -> Result:
    """Do as in_slices, and return what the work comes to."""
    made: list[Result] = []

    def steps() -> Generator[None, None, None]:
        made.append((yield from work))

    await in_slices(steps())
    return made[0]


def made_at_once(work: Generator[None, None, Result]) -> Result:
    """Return what the work comes to, all in one piece."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
