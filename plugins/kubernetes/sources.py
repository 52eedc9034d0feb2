"""Where the cluster's objects come from, and the index that all blocks share that watch the same."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from kubedns.cluster.index import Index
from kubedns.cluster.manifests import ManifestSource
from kubedns.cluster.reading import Filters, ManifestError
from kubedns.corefile.errors import CorefileError
from kubedns.log import plugin_log
from kubedns.plugin.contract import StartError

if TYPE_CHECKING:
    from pathlib import Path

    from kubedns.corefile.values import Directive
    from kubedns.plugin.contract import ServerBlock
    from plugins.kubernetes.options import Options

WAITING = 0.5  # seconds between lines that say so
NO_API = "reading an API server is not supported yet"
NO_API_CURE = "name the cluster's manifests by --manifests, for example a kubectl dump"

log = plugin_log("kubernetes")


class Cluster:
    """An index, and what keeps it true: it outlives the configurations that read it."""

    def __init__(self, path: Path, filters: Filters, startup_timeout: float) -> None:
        """Nothing is read before start(); `startup_timeout` in seconds is how long that may take."""
        self.index = Index(time.time)
        self._source = ManifestSource(path, self.index, log.warning, filters)
        self._startup_timeout = startup_timeout
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Wait for the whole cluster, but no longer than allowed; StartError if it can't be read at all."""
        first = asyncio.get_running_loop().create_task(self._source.start())
        deadline = time.monotonic() + self._startup_timeout
        while not first.done() and time.monotonic() < deadline:
            await asyncio.wait({first}, timeout=min(WAITING, deadline - time.monotonic()))
            if not first.done():
                log.info("waiting for the cluster's manifests before starting server")
        if first.done():
            try:
                await first
            except (ManifestError, OSError) as error:
                raise StartError(f"plugin/kubernetes: {error}") from error
        else:
            log.warning("starting server with manifests that are not read yet")
        self._task = asyncio.get_running_loop().create_task(self._keep(first))

    async def stop(self) -> None:
        """Follow the files no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _keep(self, first: asyncio.Task[None]) -> None:
        try:
            await first
        except (ManifestError, OSError) as error:
            log.error(f"{error}; tried again when it changes")
        finally:
            first.cancel()
        await self._source.watch()


def open_cluster(options: Options, block: ServerBlock, directive: Directive) -> Cluster:
    """Return the cluster that the options choose, the one already open where another block reads the same.

    Raises CorefileError where there is nothing to read it from.
    """
    path = block.manifests
    if path is None:
        raise CorefileError(NO_API, directive.words[0], NO_API_CURE)
    filters = Filters(
        labels=options.labels,
        namespace_labels=options.namespace_labels,
        pods=options.pods == "verified",
        noendpoints=options.noendpoints,
        targets=options.endpoint_pod_names,
    )
    key = ("kubernetes", str(path), repr(filters))
    return block.shared.keep(key, lambda: Cluster(path, filters, options.startup_timeout))
