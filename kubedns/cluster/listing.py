"""A paged LIST, and the short stretches of work that it and a watch are done in."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from kubedns.cluster.decoding import read_page
from kubedns.cluster.failures import OK, Malformed

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgspec import Raw

    from kubedns.cluster.apiserver import APIServer, Stream
    from kubedns.cluster.backoff import Timings
    from kubedns.cluster.decoding import Page
    from kubedns.cluster.resources import Resource
    from kubedns.cluster.statistics import Statistics

FEWEST = 20  # objects of a page


class Pace:
    """Tells when it is somebody else's turn, and gives it."""

    __slots__ = ("_end", "_slice")

    def __init__(self, seconds: float) -> None:
        self._slice = seconds
        self._end = 0.0

    def begin(self) -> None:
        """Start a stretch: to be called after every wait."""
        self._end = time.monotonic() + self._slice

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._end

    async def pause(self) -> None:
        """Let everything else have its turn."""
        await asyncio.sleep(0)
        self._end = time.monotonic() + self._slice


class Lister:
    """Lists one resource, page by page."""

    def __init__(self, api: APIServer, resource: Resource, timings: Timings, statistics: Statistics) -> None:
        self._api = api
        self._resource = resource
        self._timings = timings
        self._statistics = statistics

    async def list(self, take: Callable[[Raw], None]) -> str:
        """Hand on all objects as they are now, one by one; return the list's resourceVersion.

        No resourceVersion is asked for: at 0 the limit would not count, and the state could be an old one. A token
        that expires on the way fails the whole; the token that comes with that is for an inconsistent rest, from
        which no watch can go on. Raises ApiError.
        """
        limit, token = self._timings.page, ""
        pace = Pace(self._timings.slice)
        while True:
            text = await self._read(limit, token)
            size = len(text)
            pace.begin()
            page = read_page(text)
            del text
            items, count = page.items or [], len(page.items or ())
            items.reverse()
            while items:
                take(items.pop())  # each holds a part of the page's octets: let go of what is done
                if pace.over:
                    await pace.pause()
            version, token = _position(page)
            if not token:
                if not version.isdigit():
                    raise Malformed("a list without a resourceVersion", "malformed list")
                return version
            if size > self._timings.page_octets:
                limit = max(FEWEST, int(count * self._timings.page_octets / size))

    async def version(self) -> str:
        """Return the resourceVersion of what is there now, by the shortest list there is."""
        return _position(read_page(await self._read(1, "")))[0]

    async def _read(self, limit: int, token: str) -> bytes:
        query = {**self._resource.query, "limit": str(limit)}
        if token:
            query["continue"] = token
        start = time.monotonic()
        stream = await self._api.get(self._resource.path, query)
        try:
            if stream.status != OK:
                raise await stream.refusal(self._timings.list_silence)
            text = await self._whole(stream)
        finally:
            await stream.close()
        self._statistics.list_durations.observe(time.monotonic() - start)
        return text

    async def _whole(self, stream: Stream) -> bytes:
        parts, size = [], 0
        while octets := await stream.read(self._timings.list_silence):
            parts.append(octets)
            size += len(octets)
            if size > self._timings.longest_page:
                raise Malformed(f"a page of more than {self._timings.longest_page >> 20} MiB", "long page")
        return b"".join(parts)


def _position(page: Page) -> tuple[str, str]:
    """Return a page's resourceVersion and continue token."""
    metadata = page.metadata
    return (metadata.resourceVersion or "", metadata.token or "") if metadata is not None else ("", "")
