"""Long work in slices, so that no answer waits for the whole of it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SLICE = 0.002  # seconds of work before the loop has its turn


async def in_slices(*work: Iterable[object]) -> None:
    """Take all steps, but let the loop have its turn every SLICE."""
    end = time.monotonic() + SLICE
    for steps in work:
        for _ in steps:
            if time.monotonic() >= end:
                await asyncio.sleep(0)
                end = time.monotonic() + SLICE
