"""A hosts file, read again when it changes; shared by the server blocks that name it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from kubedns.cluster.tokens import Token
from kubedns.log import plugin_log
from kubedns.plugin.zones import Zones
from kubedns.watch import FileWatch, in_slices
from plugins.hosts.table import HostsTable

if TYPE_CHECKING:
    from plugins.hosts.options import Options

log = plugin_log("hosts")


class HostsFile:
    """What the file held when it was read last: `token` is stale once it holds something else.

    `modified` is the file's own time (seconds since 1970), 0 before it has been read; `readings` counts.
    """

    def __init__(self, options: Options) -> None:
        self.path = options.path
        self.table = HostsTable()
        self.token = Token()
        self.modified = 0.0
        self.readings = 0
        self._zones = Zones((zone, zone) for zone in options.zones)
        self._reverse = options.reverse
        self._interval = options.reload
        self._watch = FileWatch(options.path)
        self._reading = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the file; a missing one may come later."""
        await self.read()
        if self._interval:
            self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Follow the file no longer."""
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self.read()

    async def read(self) -> None:
        """Put a changed file's content in place of the old, at once; one that can't be read changes nothing."""
        async with self._reading:
            await self._read()

    async def _read(self) -> None:
        try:
            if not self._watch.changed():
                return
            await self._watch.settle()
            file, state = self._watch.open()
            with file:
                table = HostsTable()
                await in_slices(table.reading(file, self._zones, reverse=self._reverse))
        except (OSError, ValueError):
            return
        self.table, before = table, self.token
        self.token = Token()
        before.stale = True
        self.modified = state.st_mtime
        self.readings += 1
        log.debug(f"Parsed hosts file into {table.entries} entries")
