"""Metrics of the process: what it is, what it uses."""

from __future__ import annotations

import asyncio
import platform
from typing import TYPE_CHECKING

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import GaugeMetricFamily

from kubedns import __version__, metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric


def families() -> Iterator[Metric]:
    """Dashboards made for CoreDNS ask for these; a Go program's goroutines are our tasks."""
    built = GaugeMetricFamily(
        "coredns_build_info", "The server's version.", labels=["version", "revision", "goversion"]
    )
    built.add_metric([__version__, "", f"python{platform.python_version()}"], 1)
    yield built
    yield GaugeMetricFamily("go_goroutines", "Tasks of the event loop.", value=len(asyncio.all_tasks()))


ProcessCollector(registry=metrics.registry)
metrics.registry.register(metrics.Folded(families))
