"""Entries renewed: before they run out while nobody waits, and after that when a client asks for them."""

from __future__ import annotations

import asyncio
from math import ceil
from typing import TYPE_CHECKING

from kubedns import metrics
from kubedns.plugin.contract import ResolveError
from kubedns.wire.client import Peer
from kubedns.wire.numbers import AD, TC, Rcode
from plugins.cache.judging import judge
from plugins.cache.options import SUCCESS
from plugins.cache.store import renewal_of

if TYPE_CHECKING:
    from kubedns.plugin.contract import Next
    from kubedns.wire.query import Query
    from kubedns.wire.reply import Reply
    from plugins.cache import Cache
    from plugins.cache.listener import Listener
    from plugins.cache.store import Entry, Renewal

MOST_TASKS = 1000  # renewals under way; more entries wait for their next hit


class Renewing:
    """A cache's renewals: one at a time for each entry."""

    def __init__(self, cache: Cache) -> None:
        """Nothing is asked yet."""
        self._cache = cache
        self._tasks: set[asyncio.Task[bool]] = set()

    async def stop(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def before_its_end(self, entry: Entry, query: Query, pass_on: Next, listener: Listener, now: float) -> None:
        """Count a hit; renew a popular entry that has little time left."""
        prefetch = self._cache.options.prefetch
        renewal = renewal_of(entry)
        renewal.hit(now, prefetch.gap)
        if renewal.hits < prefetch.amount or entry.remaining(now) > ceil(entry.duration * prefetch.percent / 100):
            return
        if renewal.task is None:
            self._start(entry, query, pass_on, listener)

    async def stale(self, entry: Entry, query: Query, pass_on: Next, listener: Listener) -> Reply:
        """Answer by an entry that has run out, or, if that is to be verified, by what is behind."""
        stale, renewal, now = self._cache.options.stale, renewal_of(entry), self._cache.clock()
        waits = renewal.failed is not None and now - renewal.failed < stale.recheck
        if not stale.verify:
            if renewal.task is None and not waits:
                self._start(entry, query, pass_on, listener)
            return self._cache.run_out(entry, query, listener)
        if stale.recheck and (waits or renewal.task is not None or renewal.verifying):
            return self._cache.run_out(entry, query, listener)
        if not stale.timeout:
            return await self._verify(entry, query, pass_on, listener)
        task = renewal.task or self._start(entry, query, pass_on, listener, counts=False)
        if task is not None:
            done, _ = await asyncio.wait({task}, timeout=stale.timeout)
            if done and not task.cancelled() and task.result():
                return self._cache.fresh(query, listener) or self._cache.run_out(entry, query, listener)
        return self._cache.run_out(entry, query, listener)

    async def _verify(self, entry: Entry, query: Query, pass_on: Next, listener: Listener) -> Reply:
        """Wait for as long as it takes."""
        renewal = renewal_of(entry)
        renewal.verifying += 1
        try:
            reply = await pass_on(query.with_flags(query.flags | AD))
        except ResolveError:
            reply = None
        finally:
            renewal.verifying -= 1
        taken = self._take(entry, query, reply, listener)
        return self._cache.run_out(entry, query, listener) if taken is None else taken

    def _start(
        self, entry: Entry, query: Query, pass_on: Next, listener: Listener, *, counts: bool = True
    ) -> asyncio.Task[bool] | None:
        """Ask in the background, as a client over TCP would; None where too much is under way."""
        if len(self._tasks) >= MOST_TASKS:
            return None
        listener.counters.prefetches.value += counts
        client = Peer("tcp", query.client.remote(), query.client.local())
        asked = query.with_flags(query.flags | AD, client)
        task = asyncio.get_running_loop().create_task(self._renew(entry, asked, pass_on, listener))
        renewal = renewal_of(entry)
        renewal.task = task
        renewal.follow()
        entry.until = 0.0  # what was made ready before holds for up to a second, whatever comes of this
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(renewal, done))
        return task

    def _ended(self, renewal: Renewal, task: asyncio.Task[bool]) -> None:
        self._tasks.discard(task)
        renewal.task = None

    async def _renew(self, entry: Entry, asked: Query, pass_on: Next, listener: Listener) -> bool:
        """Tell whether there is a new entry to answer by."""
        reply = None
        try:
            reply = await pass_on(asked)
        except ResolveError:
            pass
        except Exception:  # noqa: BLE001 - a plugin's mistake, and no query is there to be told
            metrics.panics.inc()
        return self._take(entry, asked, reply, listener) is not None

    def _take(self, entry: Entry, query: Query, reply: Reply | None, listener: Listener) -> Reply | None:
        """Keep a reply that is better than an entry that has run out; None: it is not to be told to anyone."""
        cache, renewal = self._cache, renewal_of(entry)
        now = cache.clock()
        renewal.failed = now
        if reply is None or reply.flags & TC or reply.rcode not in {Rcode.NOERROR, Rcode.NXDOMAIN}:
            return None
        kind, _, answers = judge(query, reply, cache.options, cache.wall)
        if kind is None:
            return None
        taken = cache.take(query, reply, listener, now)
        if cache.options.stale.prefer_positive and entry.answers and not answers:
            return None
        renewal.failed = None
        if kind == SUCCESS:
            cache.store.denial.remove(entry.key)
        if kind != entry.kind:
            renewal.replace()  # by an entry that is kept elsewhere
        return taken
