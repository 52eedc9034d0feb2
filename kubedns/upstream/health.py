"""Whether a name server is worth asking: a look at it after an exchange failed, again and again until one succeeds."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from kubedns.upstream.exchange import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kubedns.upstream.settings import HealthCheck
    from kubedns.upstream.statistics import Statistics

SHORTEST = 0.01  # seconds between two checks, whatever the Corefile says


class Health:
    """One name server's: `failures` counts checks that failed in a row, and only checks change it."""

    def __init__(self, check: HealthCheck, ask: Callable[[bytes], Awaitable[bytes]], statistics: Statistics) -> None:
        """`ask` raises UpstreamError unless something that looks like a reply came to a message without ID."""
        self.failures = 0
        self._check = check
        self._ask = ask
        self._statistics = statistics
        self._checking: asyncio.Task[None] | None = None
        self._stopped = False

    def down(self, max_fails: int) -> bool:
        """Tell whether more checks failed than are allowed; never, if none is (0 turns checking off)."""
        return self.failures > max_fails > 0

    def suspect(self) -> None:
        """Check from now on, until a check succeeds."""
        if self._checking is None and not self._stopped:
            self._checking = asyncio.get_running_loop().create_task(self._until_well())

    async def stop(self) -> None:
        self._stopped = True
        if self._checking is not None:
            self._checking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._checking

    async def _until_well(self) -> None:
        try:
            while True:
                try:
                    await self._ask(self._check.message)
                except UpstreamError:
                    self.failures += 1
                    self._statistics.health_failures += 1
                else:
                    self.failures = 0
                    return
                await asyncio.sleep(max(self._check.interval, SHORTEST))
        finally:
            self._checking = None
