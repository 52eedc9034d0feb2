"""prometheus [ADDRESS] { tls FILE }: metrics of queries and of the server (docs/plugins/prometheus.md)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import GaugeMetricFamily

from kubedns import metrics
from kubedns.corefile import readers
from kubedns.httpd import Endpoint, HttpError, HttpListener, Request, Response, read_address
from kubedns.log import server_log
from kubedns.plugin.contract import EVERYWHERE, Role
from kubedns.plugin.current import Current
from plugins.prometheus import cluster, exchanges, process
from plugins.prometheus.exposition import CONTENT_TYPE, compress, render
from plugins.prometheus.tls import Secured, TlsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from kubedns.corefile.values import Directive, Property
    from kubedns.plugin.contract import KeptObserver, Observer, ServerBlock

__all__ = ["Prometheus", "process", "setup"]

ADDRESS = "localhost:9153"
DROPPED = "dropped"  # the zone of what no server block answers

current: Current[Prometheus] = Current()


def setup(directive: Directive, block: ServerBlock) -> Prometheus:
    """Read the options; blocks with the same address share a listener, and all show the same registry."""
    use = readers.once(directive)
    address = read_address(readers.one_argument(use)) if use.arguments else ADDRESS

    secured: Secured | None = None
    key: tuple[object, ...] = (HttpListener, address)

    def read_tls(line: Property) -> None:
        nonlocal secured, key
        if secured is not None:
            raise line.name.error("tls block already specified", "leave one of them out")
        path = block.root / readers.one_argument(line).text
        secured, key = Secured(path), (HttpListener, address, path)

    options = {"runtime_metrics": readers.no_arguments, "tls": read_tls}
    readers.read_properties(use, options, "unknown option: {}")
    made = secured.context if secured is not None else None
    return Prometheus(block, block.shared.keep(key, lambda: HttpListener(address, made)))


class Prometheus:
    """A block's plugin: counts the block's exchanges, and answers /metrics with everyone's.

    A worker counts, and its supervisor answers.
    """

    roles = EVERYWHERE

    def __init__(self, block: ServerBlock, listener: HttpListener) -> None:
        self._block = block
        self._endpoint = Endpoint(listener, "/metrics", self.answer)
        self._servers: list[str] = []
        self._rendering: asyncio.Task[tuple[bytes, bytes]] | None = None

    async def start(self) -> None:
        """Listen; queries are answered without metrics if the address can't be had."""
        if self._block.role is Role.WORKER:
            return
        try:
            await self._endpoint.open()
        except (HttpError, TlsError) as error:
            server_log.error(f"Failed to start metrics handler: {error}")

    def begin(self) -> None:
        current.begin(self, self._block.shared)
        self._endpoint.take_over()

    async def stop(self) -> None:
        current.stop(self)
        self._endpoint.close()

    def observe(self, server: str, zone: str) -> Observer:
        """Count a zone's exchanges at a listener; they are said to be the work of the plugin right behind this one."""
        if zone == DROPPED:
            return exchanges.observer(exchanges.Labels(server, zone), "")
        if zone == self._block.zones[0]:
            self._servers.append(server)
        handlers = [*self._handlers(), ""]
        return exchanges.observer(exchanges.Labels(server, zone), handlers[handlers.index("prometheus") + 1])

    def observe_kept(self, server: str, zone: str) -> KeptObserver:
        """As observe(), for replies that are given again without asking a plugin."""
        handlers = [*self._handlers(), ""]
        return exchanges.kept_observer(exchanges.Labels(server, zone), handlers[handlers.index("prometheus") + 1])

    def enabled(self) -> Iterator[list[str]]:
        """Yield server, zone, view and name of each plugin of the block that sees queries."""
        for server in self._servers:
            for name in self._handlers():
                yield [server, self._block.zones[0], "", name]

    async def answer(self, request: Request) -> Response:
        """Several who ask at a time get the same."""
        if self._rendering is None or self._rendering.done():
            self._rendering = asyncio.get_running_loop().create_task(_render())
        plain, zipped = await asyncio.shield(self._rendering)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(zipped, content_type=CONTENT_TYPE, headers=(("Content-Encoding", "gzip"),))
        return Response(plain, content_type=CONTENT_TYPE)

    def _handlers(self) -> list[str]:
        return [name for name, plugin in self._block.plugins if plugin is self or hasattr(plugin, "resolve")]


async def _render() -> tuple[bytes, bytes]:
    """Return the exposition, plain and as gzip."""
    pieces = await render(await metrics.exposition.gather())
    return b"".join(pieces), await compress(pieces)


def _enabled() -> Iterator[Metric]:
    labels = ["server", "zone", "view", "name"]
    family = GaugeMetricFamily("coredns_plugin_enabled", "Plugins that see queries of a server block.", labels=labels)
    for plugin in current:
        for values in plugin.enabled():
            family.add_metric(values, 1)
    yield family


def _clusters() -> Iterator[Metric]:
    """Of one configuration, whose plugins share all there is."""
    if current.configuration is not None:
        yield from cluster.families(cluster.all_statistics(current.configuration.kept.values()))


metrics.registry.register(metrics.Folded(exchanges.families))
metrics.registry.register(metrics.Folded(_enabled))
metrics.registry.register(metrics.Folded(_clusters))
