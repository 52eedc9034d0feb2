"""Where the cluster's objects come from, and the index that all blocks share that watch the same."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from kubedns.cluster.apiserver import Access
from kubedns.cluster.failures import AccessError
from kubedns.cluster.index import Index
from kubedns.cluster.live import LiveSource
from kubedns.cluster.manifests import ManifestSource
from kubedns.cluster.reading import Filters, ManifestError
from kubedns.cluster.relay import Relay, Replica
from kubedns.corefile.errors import CorefileError
from kubedns.corefile.numbers import format_duration
from kubedns.log import plugin_log
from kubedns.plugin.contract import StartError, StartLaterError

if TYPE_CHECKING:
    from pathlib import Path

    from kubedns.corefile.values import Directive, Word
    from kubedns.plugin.contract import ServerBlock
    from plugins.kubernetes.options import Options

WAITING = 0.5  # seconds between lines that say so
REPLACING = 60.0  # seconds that a cluster has to be read while another is served
CURES = {
    "": "outside of a cluster name one: kubeconfig FILE or endpoint URL in the block, or --manifests PATH for files",
    "kubeconfig": "kubeconfig takes a file that kubectl could use, and perhaps a context in it",
    "tls": "tls takes the files of a certificate, its key and the CA",
}

log = plugin_log("kubernetes")


class Cluster(Protocol):
    """An index, and what keeps it true: it outlives the configurations that read it."""

    index: Index

    async def start(self) -> None:
        """Wait for the whole cluster, but no longer than allowed; StartError if it can't be read at all."""

    async def stop(self) -> None:
        """Follow it no more."""


@dataclass(frozen=True, slots=True)
class Wait:
    """For how many `seconds` a cluster is waited for. `replaces`: until then the server has one that is read."""

    seconds: float
    replaces: bool = False

    async def over(self, read: asyncio.Task[Any], waiting: str) -> bool:
        """Wait for a first list to be read, and say so; tell whether it was in time.

        Nobody is told less than before for an edit: StartLaterError where another cluster would have to go.
        """
        seconds = max(self.seconds, REPLACING) if self.replaces else self.seconds
        whole, rest = divmod(seconds, WAITING)
        for turn in range(int(whole)):
            await asyncio.wait({read}, timeout=WAITING)
            if read.done():
                return True
            if not (self.replaces and turn):
                log.info(waiting)
        if rest:
            await asyncio.wait({read}, timeout=rest)
        if self.replaces and not read.done():
            raise StartLaterError(
                f"plugin/kubernetes: the cluster was not read in {format_duration(seconds)}: the one known is served on"
            )
        return read.done()


class RelayedCluster(Replica):
    """A cluster as another process of this server tells it: it is there already, and that process follows it."""

    async def start(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""


class RelayingCluster(Relay):
    """A cluster whose index other processes may have copies of."""

    def __init__(self) -> None:
        """Empty."""
        self.index = Index(time.time)
        super().__init__(self.index)

    def replica(self) -> RelayedCluster:
        """Return what tells nothing yet, for another process."""
        return RelayedCluster()


class LiveCluster(RelayingCluster):
    """A cluster as its API server tells it."""

    def __init__(self, access: Access, filters: Filters, wait: Wait) -> None:
        """Nothing is asked before start()."""
        super().__init__()
        self.source = LiveSource(access, self.index, filters, log)
        self._wait = wait

    async def start(self) -> None:
        """Wait for the first full lists, but no longer than allowed; StartError without usable credentials."""
        try:
            await self.source.start()
        except AccessError as error:
            raise StartError(f"plugin/kubernetes: {error}") from error
        synced = asyncio.get_running_loop().create_task(self.source.synced.wait())
        try:
            if not await self._wait.over(synced, "waiting for Kubernetes API before starting server"):
                log.warning("starting server with unsynced Kubernetes API")
        except BaseException:
            await self.stop()
            raise
        finally:
            synced.cancel()

    async def stop(self) -> None:
        await self.source.stop()


class ManifestCluster(RelayingCluster):
    """A cluster as files have it."""

    def __init__(self, path: Path, filters: Filters, wait: Wait) -> None:
        """Nothing is read before start()."""
        super().__init__()
        self._source = ManifestSource(path, self.index, log.warning, filters)
        self._wait = wait
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Wait for the whole cluster, but no longer than allowed; StartError if it can't be read at all."""
        first = asyncio.get_running_loop().create_task(self._source.start())
        try:
            if await self._wait.over(first, "waiting for the cluster's manifests before starting server"):
                await first
            else:
                log.warning("starting server with manifests that are not read yet")
        except (ManifestError, OSError) as error:
            raise StartError(f"plugin/kubernetes: {error}") from error
        except BaseException:
            first.cancel()
            raise
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
    filters = Filters(
        labels=options.labels,
        namespace_labels=options.namespace_labels,
        pods=options.pods == "verified",
        noendpoints=options.noendpoints,
        targets=options.endpoint_pod_names,
    )
    known = [one for one in block.shared.previous.values() if isinstance(one, RelayingCluster)]
    wait = Wait(options.startup_timeout, replaces=any(one.index.synced for one in known))
    path = block.manifests
    if path is not None:
        return block.shared.keep(("kubernetes", path, filters), lambda: ManifestCluster(path, filters, wait))
    access = _access(options, block.root)
    try:
        access.check()
    except AccessError as error:
        raise CorefileError(str(error), _word(directive, error.option), CURES[error.option]) from None
    return block.shared.keep(("kubernetes", access, filters), lambda: LiveCluster(access, filters, wait))


def _access(options: Options, root: Path) -> Access:
    """Return how the options reach the API server; `kubeconfig` leaves nothing to the others."""
    if options.kubeconfig:
        return Access(kubeconfig=options.kubeconfig, root=root)
    if options.endpoint:
        return Access(options.endpoint, options.tls, root=root)
    return Access()


def _word(directive: Directive, option: str) -> Word:
    """Return the property's last word, the directive itself without one."""
    lines = [line for use in directive.uses for line in use.properties if line.name.text == option]
    return lines[-1].arguments[0] if lines else directive.words[0]
