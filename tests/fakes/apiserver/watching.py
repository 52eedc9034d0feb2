"""WATCH: what is there, what changes, bookmarks; until its time is over or somebody ends it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from tests.fakes.apiserver.listing import read_count, read_version, until_version
from tests.fakes.apiserver.statuses import StatusError, error_event, invalid_list_options, too_old
from tests.fakes.apiserver.store import restamped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.fakes.apiserver.http import Reply
    from tests.fakes.apiserver.matching import Selection
    from tests.fakes.apiserver.store import Change, Store, Stored, Table

LONGEST = 1800.0  # seconds, where a query has no timeoutSeconds (--min-request-timeout)
LAST_BOOKMARK = 2.0  # seconds before a watch's end
BATCH = 64 << 10  # octets of events that go in one chunk
_INITIAL_EVENTS_END = b',"annotations":{"k8s.io/initial-events-end":"true"}'


class Watch:
    """An open watch: lines wait in it until they are sent."""

    def __init__(self, store: Store, table: Table, selection: Selection, *, bookmarks: bool) -> None:
        self.table = table
        self.bookmarks = bookmarks
        self.ending = ""
        self.wake = asyncio.Event()
        self._store = store
        self._selection = selection
        self._lines: deque[bytes] = deque()

    def tell(self, change: Change) -> None:
        """Queue a change as this watch sees it: what leaves a selection is deleted, what enters it is added."""
        old = change.old if change.old is not None and self._selection.matches(change.old) else None
        new = change.new if change.new is not None and self._selection.matches(change.new) else None
        if new is not None:
            line = self._event(b"ADDED" if old is None else b"MODIFIED", new)
        elif old is not None:
            line = self._event(b"DELETED", restamped(old, change.version))
        else:
            return
        for _ in range(change.times):
            self.inject(line)

    def inject(self, line: bytes) -> None:
        self._lines.append(line)
        self.wake.set()

    def finish(self, how: str) -> None:
        self.ending = how
        self.wake.set()

    def queue_present(self) -> None:
        for stored in self._selection.select(self.table.now()):
            self._lines.append(self._event(b"ADDED", stored))

    def queue_since(self, version: int) -> None:
        for change in self.table.since(version):
            self.tell(change)

    def queue_bookmark(self, annotations: bytes = b"") -> None:
        if self.bookmarks:
            self.inject(self.bookmark(annotations))

    def queue_end_of_initial_events(self) -> None:
        self.queue_bookmark(_INITIAL_EVENTS_END)

    def bookmark(self, annotations: bytes = b"") -> bytes:
        resource = self.table.resource
        metadata = b'"metadata":{"resourceVersion":"%d"%b}' % (self._store.version, annotations)
        return b'{"type":"BOOKMARK","object":%b%b,%b}}\n' % (resource.head, metadata, resource.empty)

    def next_batch(self) -> bytes:
        """Return the lines of one chunk, empty where none wait."""
        batch: list[bytes] = []
        size = 0
        while self._lines and size < BATCH:
            batch.append(self._lines.popleft())
            size += len(batch[-1])
        return b"".join(batch)

    def _event(self, kind: bytes, stored: Stored) -> bytes:
        return b'{"type":"%b","object":%b%b}\n' % (kind, self.table.resource.head, stored.item[1:])


def check_options(query: Mapping[str, str], *, streaming: bool) -> None:
    """Raise StatusError for options that an API server with or without streaming lists refuses."""
    if "sendInitialEvents" in query:
        if not streaming:
            raise invalid_list_options("sendInitialEvents", streaming=False)
        if query.get("resourceVersionMatch") != "NotOlderThan":
            raise invalid_list_options("resourceVersionMatch", streaming=True)
    elif query.get("resourceVersionMatch"):
        raise StatusError(422, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")


async def prepare(store: Store, watch: Watch, query: Mapping[str, str]) -> bytes:
    """Queue what a watch starts with; return the ERROR event it ends with instead, if so."""
    version = read_version(query)
    initial = query.get("sendInitialEvents")
    if is_true(initial):
        await until_version(store, version or 0)
        watch.queue_present()
        watch.queue_end_of_initial_events()
    elif not version:
        if initial is None:  # of old, a watch from nowhere starts with what is there
            watch.queue_present()
    elif version < store.floor:
        return error_event(too_old(version, store.floor))
    else:
        watch.queue_since(version)
    return b""


def is_true(text: str | None) -> bool:
    """Read a boolean of a query (strconv.ParseBool)."""
    return text in {"1", "t", "T", "true", "TRUE", "True"}


async def stream(
    watch: Watch, reply: Reply, reader: asyncio.StreamReader, query: Mapping[str, str], bookmark_every: float
) -> None:
    """Send lines as they come until the watch's time is over, its client gone, or its end ordered."""
    loop = asyncio.get_running_loop()
    end = loop.time() + (read_count(query, "timeoutSeconds") or LONGEST)
    bookmark_at = _next_bookmark(loop.time(), end, bookmark_every)
    gone = loop.create_task(reader.read(1))
    gone.add_done_callback(lambda _: watch.wake.set())
    try:
        while not gone.done() and not watch.ending:
            watch.wake.clear()
            while batch := watch.next_batch():
                await reply.write(batch)
            now = loop.time()
            if now >= end:
                break
            if now >= bookmark_at:
                watch.queue_bookmark()
                bookmark_at = _next_bookmark(now, end, bookmark_every)
                continue
            await _until(watch.wake, min(end, bookmark_at) - now)
    finally:
        gone.cancel()
        await asyncio.wait([gone])  # the connection's next reader must not meet it
    await _finish(watch, reply)


async def _finish(watch: Watch, reply: Reply) -> None:
    while watch.ending == "end" and (batch := watch.next_batch()):
        await reply.write(batch)
    line = watch.bookmark()
    match watch.ending:
        case "line":
            await reply.cut_line(line, len(line) // 2)
        case "chunk":
            await reply.cut_chunk(line, len(line) // 2)
        case "reset":
            reply.reset()
        case "close":
            reply.close()
        case _:
            await reply.end()


async def _until(wake: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        pass


def _next_bookmark(now: float, end: float, every: float) -> float:
    """Return when to send a bookmark: in time before the end (k8s.io/apiserver, cacher.go, nextBookmarkTime)."""
    last = end - LAST_BOOKMARK
    return min(now + every, last) if last > now else now + every
