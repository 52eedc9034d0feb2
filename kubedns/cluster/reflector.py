"""One resource of an API server, followed for ever: list, then watch, and whatever goes wrong in between.

Rules of this file:

- What is in the index stays there until the API server says otherwise: no failure takes anything out.
- A resourceVersion counts as seen once its event has been applied, so that what comes after a cut is asked for again.
- Nothing is tried again at once twice: a watch that was well is resumed, all else waits its back-off.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from kubedns.cluster.backoff import Backoff
from kubedns.cluster.decoding import Lines, read_event, read_identity, read_status
from kubedns.cluster.failures import NO_STREAMING, OK, ApiError, Lost, Malformed, Refused
from kubedns.cluster.listing import Lister, Pace
from kubedns.cluster.objects import ObjectError, from_message, read_message
from kubedns.cluster.statistics import ResourceStatistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgspec import Raw

    from kubedns.cluster.apiserver import APIServer, Stream
    from kubedns.cluster.backoff import Timings
    from kubedns.cluster.index import Index, Key
    from kubedns.cluster.journal import Journal
    from kubedns.cluster.objects import Object
    from kubedns.cluster.resources import Resource
    from kubedns.cluster.schema import AnyMessage, Metadata
    from kubedns.cluster.statistics import Statistics

STREAMING = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
NO_STREAMING_LISTS = "no streaming lists"
RESUME_WITHIN = 0.1  # seconds, so that the clients of a server that restarts do not come back as one


@dataclass(frozen=True, slots=True)
class Following:
    """What the reflectors of an API server share; `targets` as in `from_message`, `turn` as in `Pace`."""

    api: APIServer
    index: Index
    journal: Journal
    statistics: Statistics
    timings: Timings
    turn: asyncio.Lock
    targets: bool = True


class Reflector:
    """Keeps an index's objects of one kind what the API server has; `listed` is set after the first full list."""

    def __init__(
        self, resource: Resource, following: Following, observe: Callable[[AnyMessage], None] | None = None
    ) -> None:
        """`observe` is given the fields of what a watch brings, not of what a list does."""
        api, timings, statistics = following.api, following.timings, following.statistics
        self.resource = resource
        self.listed = asyncio.Event()
        self.lister = Lister(api, resource, timings, statistics, following.turn)
        count = partial(following.index.count, resource.kind)
        self.statistics = statistics.resources.setdefault(resource.kind, ResourceStatistics(count))
        self.touched: set[Key] | None = None  # while a self-check runs: what the watch has brought meanwhile
        self._api = api
        self._index = following.index
        self._journal = following.journal
        self._timings = timings
        self._targets = following.targets
        self._observe = observe
        self._backoff = Backoff(timings)
        self._relisting = Backoff(timings)  # apart: a version that is gone says nothing about the server's health
        self._gone = False  # so was the last failure
        self._pace = Pace(timings.slice, following.turn)
        self._version = ""
        self._listing: set[Key] | None = None  # while a full list comes in: what it has brought
        self._listed_at = self._stream_at = float("-inf")
        self._established = 0.0  # when the watch began, 0 without one
        self._doubted = False

    async def run(self) -> None:
        """Follow the resource until cancelled."""
        while True:
            self._established = 0.0
            try:
                await self._follow()
            except ApiError as error:
                await self._wait(error)
            except Exception as error:  # noqa: BLE001 - a mistake of ours must not end it: list anew, a while from now
                self._version = ""
                await self._wait(Malformed(f"{type(error).__name__}: {error}", "exception"))

    async def _follow(self) -> None:
        """Go one step: a list, a watch, or both in one; return where a watch has ended as it should."""
        if self._version and self._doubted:
            await self._dispel_doubt()
        if self._version:
            await self._watch({"resourceVersion": self._version})
        elif time.monotonic() >= self._stream_at:
            await self._stream_list()
        else:
            await self._page_list()

    async def _dispel_doubt(self) -> None:
        """Forget the version where the API server has gone back behind it, as one restored from a backup does.

        A watch from a version yet to come waits for it (watch-future-version in the tests' recordings).
        """
        there = await self.lister.version()
        if there.isdigit() and self._version.isdigit() and int(there) < int(self._version):
            self._version = ""
        self._doubted = False

    # Lists

    async def _stream_list(self) -> None:
        self._begin_list()
        try:
            await self._watch(STREAMING)
        except Refused as error:
            if self._listing is None or error.code not in NO_STREAMING:
                raise
            self._stream_at = time.monotonic() + self._timings.stream_again
        except (Lost, Malformed) as error:
            if self._listing is not None and self._established:  # it began, and did not come to its end
                self._stream_at = time.monotonic() + self._timings.stream_again
            if error.kind != NO_STREAMING_LISTS:
                raise
        finally:
            self._listing = None

    async def _page_list(self) -> None:
        self._begin_list()
        try:
            version = await self.lister.list(self._take)
            async with self._pace:
                await self._end_list()
            self._version = version
        finally:
            self._listing = None

    def _begin_list(self) -> None:
        self._listing = set()
        self._listed_at = time.monotonic()

    def _take(self, raw: Raw) -> None:
        """Put an object of a list into the index."""
        message = self._read(raw)
        if message is not None:
            self._put(message)

    async def _end_list(self) -> None:
        """Drop what the list did not bring; the turn is held."""
        seen = self._listing or set()
        self._listing = None
        for namespace, name in self._index.keys(self.resource.kind):
            if (namespace, name) not in seen:
                self._index.remove(self.resource.kind, namespace, name)
            if self._pace.over:
                await self._pace.pause()
        self.statistics.lists += 1
        self.statistics.heard = time.monotonic()
        self.listed.set()

    # Watches

    async def _watch(self, query: dict[str, str]) -> None:
        """Apply the events of one watch until it ends; raises ApiError where that is not as it should."""
        seconds = random.randint(*self._timings.watch)  # noqa: S311 - no secret
        stream = await self._api.get(
            self.resource.path,
            {
                **self.resource.query,
                "watch": "true",
                "allowWatchBookmarks": "true",
                "timeoutSeconds": str(seconds),
                **query,
            },
        )
        steady = None
        try:
            if stream.status != OK:
                raise await stream.refusal(self._timings.list_silence)
            self._established = time.monotonic()
            self.statistics.watching = True
            self.statistics.watches += 1
            steady = asyncio.get_running_loop().call_later(
                self._timings.steady, self._journal.well, self.resource, self._timings.steady
            )
            await self._events(stream, self._established + seconds + self._timings.overtime)
        finally:
            self.statistics.watching = False
            if steady is not None:
                steady.cancel()
            await stream.close()

    async def _events(self, stream: Stream, deadline: float) -> None:
        lines = Lines(self._timings.longest_line)
        heard = False
        while time.monotonic() < deadline:
            initial = self._listing is not None
            try:
                octets = await stream.read(self._timings.initial_silence if initial else self._timings.silence)
            except Lost as error:
                if initial and heard and error.kind == "timeout":
                    raise Lost("events without an end of the list", NO_STREAMING_LISTS) from None
                raise
            if not octets:
                break
            heard = True
            async with self._pace:
                for line in lines.feed(octets):
                    if self._apply(line):
                        await self._end_list()
                    if self._pace.over:
                        await self._pace.pause()
        self._doubted = self._doubted or not heard
        if lines.unfinished:
            raise Lost("a watch was cut in mid-line", "cut")
        if self._listing is not None:
            raise Lost("a streaming list ended before it was whole", "cut")
        if time.monotonic() - self._established < self._timings.short:
            raise Lost("a watch ended as soon as it had begun", "short watch")

    def _apply(self, line: bytes) -> bool:
        """Apply an event; tell whether it ends the full list."""
        event = read_event(line)
        if event.type == "ERROR":
            raise read_status(event.object)
        self.statistics.heard = time.monotonic()
        if event.type == "BOOKMARK":
            return self._mark(event.object)
        self.statistics.events += 1
        if event.type in {"ADDED", "MODIFIED"}:
            message = self._read(event.object)
            if message is not None:
                self._put(message)
                if self._observe is not None and self._listing is None:
                    self._observe(message)
                self._seen(message.metadata)
        elif event.type == "DELETED":
            metadata = read_identity(event.object).metadata
            if metadata is not None:
                self._drop(metadata)
                self._seen(metadata)
        else:
            self.statistics.unusable += 1
            self._journal.unusable(f"a watch of {self.resource.name} brought an event of unknown type")
        return False

    def _mark(self, raw: Raw) -> bool:
        """Take note of a bookmark; tell whether it ends the full list."""
        self.statistics.bookmarks += 1
        metadata = read_identity(raw).metadata
        if metadata is None:
            return False
        notes = metadata.annotations
        ends = notes is not None and notes.initial_events_end == "true"
        if self._listing is not None and not ends:
            raise Lost("a bookmark before the end of the list", NO_STREAMING_LISTS)
        self._version = metadata.resourceVersion or self._version
        return ends and self._listing is not None

    def _seen(self, metadata: Metadata | None) -> None:
        """Resume from here; inside a list there is nowhere to resume from."""
        if self._listing is None and metadata is not None and isinstance(metadata.resourceVersion, str):
            self._version = metadata.resourceVersion or self._version

    # Objects

    def _read(self, raw: Raw) -> AnyMessage | None:
        """Return an object's fields; one that can't be read is counted, logged once, and stays what it was."""
        try:
            return read_message(self.resource.kind, raw)
        except ObjectError as error:
            self.statistics.unusable += 1
            self._journal.unusable(f"{error}; the object is left out")
        metadata = self.identity(raw)
        if metadata is not None:
            self._note(self.key(metadata))
            self._seen(metadata)
        return None

    def identity(self, raw: Raw) -> Metadata | None:
        """Return the metadata of an object that may be broken elsewhere, None where there is no name in it."""
        try:
            metadata = read_identity(raw).metadata
        except Malformed:
            return None
        return metadata if metadata is not None and metadata.name else None

    def key(self, metadata: Metadata) -> Key:
        """Return what the index has an object under."""
        namespace = "" if self.resource.kind == "Namespace" else metadata.namespace or "default"
        return namespace, metadata.name or ""

    def value(self, message: AnyMessage) -> Object | None:
        """Return the object of its fields; None for a Pod that is ending."""
        return from_message(message, targets=self._targets)

    def read(self, raw: Raw) -> AnyMessage | None:
        """Return an object's fields, None where they can't be read; nothing is counted."""
        try:
            return read_message(self.resource.kind, raw)
        except ObjectError:
            return None

    def _put(self, message: AnyMessage) -> None:
        value = self.value(message)
        if value is not None:
            self._note((value.namespace, value.name))
            self._index.upsert(value)
        elif message.metadata is not None:  # a Pod that is ending is known until it is deleted
            self._note(self.key(message.metadata))

    def _drop(self, metadata: Metadata) -> None:
        key = self.key(metadata)
        if self._listing is not None:
            self._listing.discard(key)
        if self.touched is not None:
            self.touched.add(key)
        self._index.remove(self.resource.kind, *key)

    def _note(self, key: Key) -> None:
        if self._listing is not None:
            self._listing.add(key)
        if self.touched is not None:
            self.touched.add(key)

    # Failures

    async def _wait(self, error: ApiError) -> None:
        """Wait as long as a failure asks for; say so where that is worth a line."""
        now = time.monotonic()
        self.statistics.failures += 1
        lived = now - self._established if self._established else 0.0
        lost = isinstance(error, Lost)
        gone = isinstance(error, Refused) and error.gone
        self._doubted = self._doubted or lost
        if gone or isinstance(error, Malformed):
            self._version = ""
        if lost and lived >= self._timings.recovered:
            self._backoff.reset()
        if self._version:
            at_once = lived >= self._timings.short
        else:
            at_once = now - self._listed_at >= self._timings.relist and (gone or lived >= self._timings.short)
        if at_once:
            await asyncio.sleep(random.uniform(0, RESUME_WITHIN))  # noqa: S311 - no secret
            return
        longest = self._timings.longest_absence if lost else self._timings.longest_backoff
        delay = (self._relisting if gone else self._backoff).next(now, longest)
        if isinstance(error, Refused) and error.retry_after:
            delay = max(delay, min(error.retry_after, self._timings.longest_retry_after))
        if not gone or self._gone:
            self._journal.failing(self.resource, error)
        self._gone = gone
        if not lost:
            await asyncio.sleep(delay)
        elif await self._api.wait_for_reply(delay):
            await asyncio.sleep(random.uniform(0, RESUME_WITHIN))  # noqa: S311 - no secret
