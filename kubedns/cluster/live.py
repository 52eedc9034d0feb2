"""A whole cluster followed from its API server: the Index's source where there are no manifests."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kubedns.cluster.apiserver import APIServer
from kubedns.cluster.backoff import Timings
from kubedns.cluster.journal import Journal
from kubedns.cluster.objects import SERVICE_NAME_LABEL, labels_of
from kubedns.cluster.reflector import Following, Reflector
from kubedns.cluster.resources import wanted
from kubedns.cluster.selfcheck import check
from kubedns.cluster.statistics import Statistics

if TYPE_CHECKING:
    from kubedns.cluster.apiserver import Access
    from kubedns.cluster.index import Index
    from kubedns.cluster.journal import Writes
    from kubedns.cluster.reading import Filters
    from kubedns.cluster.schema import AnyMessage

CHECK_JITTER = 0.2  # of the interval, either way


class LiveSource:
    """Feeds an Index from an API server; `synced` is set once each resource has been listed."""

    def __init__(
        self, access: Access, index: Index, filters: Filters, log: Writes, timings: Timings | None = None
    ) -> None:
        self.statistics = Statistics()
        self.synced = asyncio.Event()
        self._timings = timings or Timings()
        self._index = index
        self._api = APIServer(access, self._timings, self.statistics)
        self._journal = Journal(log, lambda: self._api.url)
        self._tasks: list[asyncio.Task[None]] = []
        following = Following(
            self._api, index, self._journal, self.statistics, self._timings, asyncio.Lock(), filters.targets
        )
        self.reflectors = [
            Reflector(resource, following, self._observe if resource.kind == "EndpointSlice" else None)
            for resource in wanted(filters)
        ]

    async def start(self) -> None:
        """Read the credentials and begin; nothing is waited for. Raises AccessError."""
        await self._api.open()
        loop = asyncio.get_running_loop()
        for reflector in self.reflectors:
            self._tasks += [loop.create_task(reflector.run()), loop.create_task(self._check(reflector))]
        self._tasks.append(loop.create_task(self._await_lists()))

    async def stop(self) -> None:
        """Ask nothing more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._api.close()

    async def _await_lists(self) -> None:
        for reflector in self.reflectors:
            await reflector.listed.wait()
        self._index.mark_synced()
        self.synced.set()

    async def _check(self, reflector: Reflector) -> None:
        while True:
            spread = random.uniform(1 - CHECK_JITTER, 1 + CHECK_JITTER)  # noqa: S311 - no secret
            await asyncio.sleep(self._timings.check * spread)
            repaired = await check(reflector, self._index, self._timings.settle)
            if repaired:
                self._journal.repaired(reflector.resource, repaired)

    def _observe(self, message: AnyMessage) -> None:
        """Measure how long after what caused it a slice arrives: the SIG's network programming latency."""
        metadata = message.metadata
        notes = None if metadata is None else metadata.annotations
        if metadata is None or notes is None or not notes.trigger_time:
            return
        service = self._index.service(metadata.namespace or "", labels_of(message).get(SERVICE_NAME_LABEL, ""))
        if service is None:
            return
        try:
            trigger = datetime.fromisoformat(notes.trigger_time)
            seconds = time.time() - (trigger if trigger.tzinfo else trigger.replace(tzinfo=UTC)).timestamp()
        except (TypeError, ValueError, OverflowError):
            self._journal.unusable(
                f"EndpointSlice {metadata.namespace}/{metadata.name}: last-change-trigger-time is no time"
            )
            return
        kind = "headless_with_selector" if service.headless else "cluster_ip"
        self.statistics.programming[kind].observe(max(0.0, seconds))
