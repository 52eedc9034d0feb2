"""A paged LIST, and the short stretches of work that it and a watch are done in."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Self

from kubedns.cluster.decoding import read_page
from kubedns.cluster.failures import OK, Malformed

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from msgspec import Raw

    from kubedns.cluster.apiserver import APIServer, Stream
    from kubedns.cluster.backoff import Timings
    from kubedns.cluster.decoding import Page
    from kubedns.cluster.resources import Resource
    from kubedns.cluster.statistics import Statistics

FEWEST = 20  # objects of a page


class Pace:
    """A stretch of work, as `async with`: how long it may go on, and how it makes room for everything else.

    Those of one `turn` work one at a time, so that three lists that come in at once are no three stretches in a row.
    """

    __slots__ = ("_end", "_held", "_slice", "_turn")

    def __init__(self, seconds: float, turn: asyncio.Lock) -> None:
        self._slice = seconds
        self._turn = turn
        self._held = False
        self._end = 0.0

    async def __aenter__(self) -> Self:
        await self._take_turn()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held:  # else it was cancelled in a pause
            self._give_turn()

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._end

    async def pause(self) -> None:
        """Let everything else have its turn."""
        self._give_turn()
        await asyncio.sleep(0)
        await self._take_turn()

    async def _take_turn(self) -> None:
        await self._turn.acquire()
        self._held = True
        self._end = time.monotonic() + self._slice

    def _give_turn(self) -> None:
        self._held = False
        self._turn.release()


class Lister:
    """Lists one resource, page by page."""

    def __init__(
        self, api: APIServer, resource: Resource, timings: Timings, statistics: Statistics, turn: asyncio.Lock
    ) -> None:
        self._api = api
        self._resource = resource
        self._timings = timings
        self._statistics = statistics
        self._pace = Pace(timings.slice, turn)

    async def list(self, take: Callable[[Raw], None]) -> str:
        """Hand on all objects as they are now, one by one; return the list's resourceVersion.

        No resourceVersion is asked for: at 0 the limit would not count, and the state could be an old one. A token
        that expires on the way fails the whole; the token that comes with that is for an inconsistent rest, from
        which no watch can go on. Raises ApiError.
        """
        limit, token = self._timings.page, ""
        while True:
            text = await self._read(limit, token)
            size = len(text)
            async with self._pace:
                page = read_page(text)
                del text
                items, count = page.items or [], len(page.items or ())
                items.reverse()
                while items:
                    take(items.pop())  # each holds a part of the page's octets: let go of what is done
                    if self._pace.over:
                        await self._pace.pause()
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
