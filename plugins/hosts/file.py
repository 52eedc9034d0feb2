"""A hosts file, read again when it changes; shared by the server blocks that name it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from zlib import crc32

from kubedns.log import plugin_log
from kubedns.plugin.zones import Zones
from kubedns.slices import in_slices
from kubedns.tokens import Token
from kubedns.watch import FileWatch, Following
from kubedns.wire.validity import NEVER, Validity
from plugins.hosts.table import HostsTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plugins.hosts.options import Options

GROUPS = 256  # of names that are not in the file, by hash

log = plugin_log("hosts")


class HostsFile:
    """What the file held when it was read last: `token` is stale once it holds something else.

    `modified` is the file's own time (seconds since 1970), 0 before it has been read; `readings` counts, and
    `last_reading` is when that was (monotonic seconds).
    """

    def __init__(self, options: Options) -> None:
        self.path = options.path
        self.shown = options.shown
        self.table = HostsTable()
        self.token = Token()
        self.modified = 0.0
        self.readings = 0
        self.last_reading = 0.0
        self._missing: dict[int, tuple[Token, Validity]] = {}  # by group, once something was missing there
        self._zones = Zones((zone, zone) for zone in options.zones)
        self._reverse = options.reverse
        self._watch = FileWatch(options.path)
        self._reading = asyncio.Lock()
        self._following = Following(options.reload)

    async def start(self) -> None:
        """Read the file; a missing one may come later."""
        await self.read()
        self._following.start(self.read)

    async def stop(self) -> None:
        """Follow the file no longer."""
        await self._following.stop()

    def missing(self, key: bytes) -> Validity:
        """Return how long what is made of an upstream's reply is true: until the file gets what it has not got now.

        `key` is a name (wire octets) or an address (packed). For one of so many it ends when the file gets another.
        """
        group = crc32(key) % GROUPS
        if group not in self._missing:
            token = Token()
            self._missing[group] = token, Validity(NEVER.until, (token,))
        return self._missing[group][1]

    async def read(self) -> None:
        """Put a changed file's content in place of the old, at once; one that can't be read changes nothing."""
        async with self._reading:
            await self._read()

    async def _read(self) -> None:
        try:
            if not await self._watch.settled_change():
                return
            file, state = self._watch.open()
            with file:
                table = HostsTable()
                await in_slices(table.reading(file, self._zones, reverse=self._reverse))
        except (OSError, ValueError):
            return
        gained: set[int] = set()
        await in_slices(_gained(table, self.table, gained))
        self.table, before = table, self.token
        self.token = Token()
        before.stale = True
        for group in gained & self._missing.keys():
            token, _ = self._missing.pop(group)
            token.stale = True
        self.modified = state.st_mtime
        self.readings += 1
        self.last_reading = time.monotonic()
        log.debug(f"Parsed hosts file into {table.entries} entries")


def _gained(table: HostsTable, before: HostsTable, groups: set[int]) -> Iterator[None]:
    """Add the groups of what the table has and the one before had not, some at each step."""
    if table.has_wildcards_besides(before):
        groups.update(range(GROUPS))
        return
    for keys in table.besides(before):
        groups.update([crc32(key) % GROUPS for key in keys])
        yield
