"""What happened between the server and API servers, as metrics: CoreDNS's names, and some of our own."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from kubedns.cluster.statistics import Statistics
from kubedns.metrics import add_histogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from kubedns.histogram import Histogram

PREFIX = "coredns_kubernetes_"
OWN_PREFIX = "kubedns_kubernetes_"
# Of one resource at one host: field of ResourceStatistics → what it counts.
COUNTED = {
    "events": "Events of watches.",
    "bookmarks": "Bookmarks of watches.",
    "lists": "Full lists begun.",
    "watches": "Watches begun.",
    "failures": "Lists and watches that failed.",
    "checks": "Comparisons of the index with the API server.",
    "repaired": "Objects that such a comparison found wrong.",
    "unusable": "Objects that could not be read.",
}


def all_statistics(shared: Iterable[Any]) -> list[Statistics]:
    """Return those of the clusters, among all that plugins share, that an API server is the source of."""
    found = (getattr(getattr(one, "source", None), "statistics", None) for one in shared)
    return [one for one in found if isinstance(one, Statistics)]


def families(clusters: Sequence[Statistics]) -> Iterator[Metric]:
    """Yield the families; clusters of one host are added up. Nothing without a cluster."""
    if clusters:
        yield _programming(clusters)
        yield _durations(clusters)
        yield _requests(clusters)
        yield from _resources(clusters)


def _programming(clusters: Sequence[Statistics]) -> Metric:
    text = "Seconds from a change of a Service's endpoints to its arrival here."
    family = Metric(f"{PREFIX}dns_programming_duration_seconds", text, "histogram")
    for kind in sorted({kind for one in clusters for kind in one.programming}):
        _add_sum(family, {"service_kind": kind}, [one.programming[kind] for one in clusters if kind in one.programming])
    return family


def _durations(clusters: Sequence[Statistics]) -> Metric:
    family = Metric(f"{PREFIX}rest_client_request_duration_seconds", "Seconds that lists took.", "histogram")
    for host in sorted({one.host for one in clusters}):
        _add_sum(family, {"verb": "GET", "host": host}, [one.list_durations for one in clusters if one.host == host])
    return family


def _requests(clusters: Sequence[Statistics]) -> Metric:
    counts: Counter[tuple[str, str, str]] = Counter()
    for one in clusters:
        for (code, method), count in one.requests.items():
            counts[code, method, one.host] += count
    text = "Requests by status code, method and host."
    family = CounterMetricFamily(f"{PREFIX}rest_client_requests", text, labels=["code", "method", "host"])
    for labels, count in counts.items():
        family.add_metric(labels, count)
    return family


def _resources(clusters: Sequence[Statistics]) -> Iterator[Metric]:
    pairs = [(one.host, resource, each) for one in clusters for resource, each in one.resources.items()]
    for field, text in COUNTED.items():
        counts: Counter[tuple[str, str]] = Counter()
        for host, resource, each in pairs:
            counts[host, resource] += getattr(each, field)
        family = CounterMetricFamily(f"{OWN_PREFIX}{field}", text, labels=["host", "resource"])
        for labels, count in counts.items():
            family.add_metric(labels, count)
        yield family
    now = time.monotonic()
    silent = {(host, resource): 0.0 for host, resource, each in pairs if each.heard}
    for host, resource, each in pairs:
        if each.heard:
            silent[host, resource] = max(silent[host, resource], now - each.heard)
    text = "Since the last event or bookmark of a watch."
    family_of_gauges = GaugeMetricFamily(f"{OWN_PREFIX}silent_seconds", text, labels=["host", "resource"])
    for labels, seconds in silent.items():
        family_of_gauges.add_metric(labels, seconds)
    yield family_of_gauges


def _add_sum(family: Metric, labels: dict[str, str], histograms: Sequence[Histogram]) -> None:
    counts = [sum(column) for column in zip(*(one.counts for one in histograms), strict=True)]
    add_histogram(family, labels, histograms[0].bounds, counts, sum(one.sum for one in histograms))
