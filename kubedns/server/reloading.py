"""Reads the Corefile again, on a signal or because it has changed, and has the server take it up."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from kubedns import log, metrics
from kubedns.corefile.errors import CorefileErrors
from kubedns.corefile.find import FindError
from kubedns.listeners.sockets import ListenError
from kubedns.plugin.contract import StartLaterError
from kubedns.watch import FileWatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from kubedns.plugin.contract import Watching
    from kubedns.server.configuration import Configuration
    from kubedns.server.lifecycle import Server
    from kubedns.server.loading import Loaded, Loader

MOST_PASSED = 16  # looks at a file between two tries of it

plugin_log = log.plugin_log("reload")
failures = metrics.Count()


class Reloader:
    """Keeps a server's configuration as the Corefile has it. One thing at a time: a look, or a reload on a signal."""

    def __init__(self, server: Server, loader: Loader) -> None:
        """Nothing is read before start()."""
        self._server = server
        self._loader = loader
        self._turn = asyncio.Lock()
        self._stopped = False
        self._watching: Watching | None = None  # of a configuration before, where the one that runs has none
        self._seen = ""  # fingerprint of what was taken up last, or tried
        self._tried = ""  # the same, but empty until the file has changed once
        self._pause = self._passes = 0  # looks until what was seen last is tried again, in all and now; 0: it is not
        self._drawn = False  # whether this configuration's interval has been
        self._task: asyncio.Task[None] | None = None
        self._counters = metrics.Folded(self._families)

    async def start(self) -> Configuration:
        """Start the server by the Corefile that is there; raises FindError and what Server.start raises."""
        metrics.registry.register(self._counters)
        async with self._turn:
            loaded = self._loader.first()
            return await self._server.start(partial(self._loader.configure, loaded))

    def watch(self, configuration: Configuration) -> None:
        """Look at the file from now on, if this configuration or one before it asked for that."""
        self._watching = configuration.watching or self._watching
        if self._watching is None or self._stopped:
            return
        self._seen = configuration.fingerprint
        self._pause = self._passes = 0
        self._drawn = False
        plugin_log.info(f"Running configuration SHA512 = {configuration.fingerprint}")
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            self._task = None
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watch())

    def stop(self) -> None:
        """Begin no more reloads; one that is under way goes on."""
        if self._stopped:
            return
        self._stopped = True
        if self._task is not None and not self._turn.locked():
            self._task.cancel()
        metrics.registry.unregister(self._counters)

    async def reload(self) -> None:
        """Take up what the file says now, changed or not; whatever is wrong with it is logged, as for SIGUSR1."""
        if self._loader.lasting:
            log.server_log.error("SIGUSR1: no Caddyfile loader with which to reload Caddyfile")
            return
        async with self._turn:
            try:
                loaded = await asyncio.to_thread(self._loader.again)
            except FindError as error:
                log.server_log.info("Reloading")
                log.server_log.error(f"SIGUSR1: {_logged(error)}")
                return
            failed = await self._take_up(loaded)
        if failed is not None:
            log.server_log.error(f"SIGUSR1: {failed}")

    async def _watch(self) -> None:
        """Look at the file for as long as the process lives, at intervals drawn once for each configuration."""
        period = 0.0
        while not self._stopped:
            if not self._drawn and self._watching is not None:
                self._drawn, spread = True, self._watching.jitter / 2
                period = self._watching.interval + random.uniform(-spread, spread)  # noqa: S311 - no secret
            await asyncio.sleep(period)
            async with self._turn:
                if not self._stopped:
                    await self._look()

    async def _look(self) -> None:
        """Take the file up if it has changed. One that is wrong is tried once; one that can't be read, next time.

        One that could not be taken up for another's fault is tried again, at intervals that double.
        """
        try:
            loaded = await asyncio.to_thread(self._loader.again)
            if loaded.fingerprint != self._seen and loaded.path is not None:
                await FileWatch(loaded.path).settle()  # somebody may be writing it yet
                loaded = await asyncio.to_thread(self._loader.again)
        except (FindError, OSError):
            return
        if not loaded.fingerprint:
            plugin_log.warning(f"Corefile parse failed: {CorefileErrors(loaded.corefile.errors)}")
            return
        if loaded.fingerprint != self._seen:
            self._pause = 0
        elif self._passes != 1:
            self._passes = max(self._passes - 1, 0)
            return
        self._seen, self._passes = loaded.fingerprint, 0
        failed = await self._take_up(loaded)
        self._tried = loaded.fingerprint
        if failed is not None:
            failures.value += 1
            plugin_log.error(f"Corefile changed but reload failed: {failed}")

    async def _take_up(self, loaded: Loaded) -> str | None:
        """Return what went wrong, a line of it; all of it is logged."""
        log.server_log.info("Reloading")
        try:
            configuration = await self._server.reload(partial(self._loader.configure, loaded))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the new configuration, the old one serves
            if isinstance(error, StartLaterError):
                self._pause = self._passes = min(2 * self._pause or 1, MOST_PASSED)
            return _logged(error)
        self.watch(configuration)
        log.server_log.info("Reloading complete")
        return None

    def _families(self) -> Iterator[Metric]:
        text = "Changed Corefiles that could not be taken up."
        yield CounterMetricFamily("coredns_reload_failed", text, value=failures.value)
        if self._tried:
            text = "The hash of the Corefile that was tried last."
            family = GaugeMetricFamily("coredns_reload_version_info", text, labels=["hash", "value"])
            family.add_metric(["sha512", self._tried], 1)
            yield family


def _logged(error: Exception) -> str:
    """Log why a reload failed, and return the first line of it as what asked for the reload has to say it."""
    text = report(error).rstrip()
    log.server_log.error(f"Restart failed: {text}")
    return f"starting with listener file descriptors: {text.splitlines()[0]}"


def report(error: Exception) -> str:
    """Return an error as an operator needs it, ending in a newline."""
    cure = getattr(error, "cure", None)
    text = str(error).rstrip()
    return f"{text}\n  {cure}\n" if cure and isinstance(error, ListenError) else f"{text}\n"
