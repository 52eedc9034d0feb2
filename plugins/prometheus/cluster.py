"""What happened between the server and API servers, as metrics: CoreDNS's names, and some of our own."""

from __future__ import annotations

import time
from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from kubedns.cluster.statistics import REQUEST_BOUNDS, Statistics
from kubedns.metrics import add_histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from kubedns.cluster.objects import Kind
    from kubedns.cluster.statistics import ResourceStatistics
    from kubedns.histogram import Histogram

    Pair = tuple[str, Kind, ResourceStatistics]

Family = TypeVar("Family", CounterMetricFamily, GaugeMetricFamily)

PREFIX = "coredns_kubernetes_"
OWN_PREFIX = "kubedns_kubernetes_"
LABELS = ("host", "resource")
# Of one resource at one host: field of ResourceStatistics → what it counts.
COUNTED = {
    "events": "Events of watches.",
    "bookmarks": "Bookmarks of watches.",
    "lists": "Full lists that came whole.",
    "relists": "Full lists after the first.",
    "watches": "Watches begun.",
    "failures": "Lists and watches that failed.",
    "checks": "Comparisons of the index with the API server.",
    "repaired": "Objects that such a comparison found wrong.",
    "unusable": "Objects that could not be read.",
}


# The same, as it is now.
GAUGED: dict[str, tuple[str, Callable[[ResourceStatistics], int]]] = {
    "objects": ("Objects held.", lambda each: each.count()),
    "watching": ("Watches under way.", lambda each: int(each.watching)),
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
        yield _rate_limiter(clusters)
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


def _rate_limiter(clusters: Sequence[Statistics]) -> Metric:
    """Dashboards of CoreDNS ask for it: no list has ever waited, since there is nothing to wait for."""
    family = Metric(
        f"{PREFIX}rest_client_rate_limiter_duration_seconds", "Seconds that lists were held back.", "histogram"
    )
    for host in sorted({one.host for one in clusters}):
        lists = sum(sum(one.list_durations.counts) for one in clusters if one.host == host)
        counts = [lists, *[0] * len(REQUEST_BOUNDS)]
        add_histogram(family, {"verb": "GET", "host": host}, REQUEST_BOUNDS, counts, 0.0)
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
        yield _summed(CounterMetricFamily(f"{OWN_PREFIX}{field}", text, labels=LABELS), pairs, attrgetter(field))
    for field, (text, value) in GAUGED.items():
        yield _summed(GaugeMetricFamily(f"{OWN_PREFIX}{field}", text, labels=LABELS), pairs, value)
    now = time.monotonic()
    silent = {(host, resource): 0.0 for host, resource, each in pairs if each.heard}
    for host, resource, each in pairs:
        if each.heard:
            silent[host, resource] = max(silent[host, resource], now - each.heard)
    text = "Since the last event or bookmark of a watch."
    family = GaugeMetricFamily(f"{OWN_PREFIX}silent_seconds", text, labels=LABELS)
    for labels, seconds in silent.items():
        family.add_metric(labels, seconds)
    yield family


def _summed(family: Family, pairs: Sequence[Pair], value: Callable[[ResourceStatistics], int]) -> Family:
    """Add a sample for each host and resource: what clusters of one host have together."""
    counts: Counter[tuple[str, Kind]] = Counter()
    for host, resource, each in pairs:
        counts[host, resource] += value(each)
    for labels, count in counts.items():
        family.add_metric(labels, count)
    return family


def _add_sum(family: Metric, labels: dict[str, str], histograms: Sequence[Histogram]) -> None:
    counts = [sum(column) for column in zip(*(one.counts for one in histograms), strict=True)]
    add_histogram(family, labels, histograms[0].bounds, counts, sum(one.sum for one in histograms))
