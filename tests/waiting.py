"""Waiting for what tells nobody that it has come."""

import asyncio
from collections.abc import Callable

PATIENCE = 20.0  # seconds for what takes a moment on a machine that is not busy


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Return once something has come true; TimeoutError if it does not."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for lies in the code under test
            await asyncio.sleep(0.01)
