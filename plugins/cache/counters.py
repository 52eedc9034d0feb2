"""What a cache counts, by listener, zones and view: plain numbers, made into families when somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from kubedns import metrics
from kubedns.metrics import Count
from plugins.cache.options import DENIAL, SUCCESS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from plugins.cache import Cache

KINDS = (SUCCESS, DENIAL)


class Labels(NamedTuple):
    """Which counters: `zones` are joined by commas; `view` is empty until there are views."""

    server: str
    zones: str
    view: str = ""


class Counters:
    """The counters of one cache at one listener; those in dictionaries are by kind of entry."""

    __slots__ = ("drops", "evictions", "hits", "misses", "prefetches", "requests", "served_stale")

    def __init__(self) -> None:
        self.requests = Count()
        self.misses = Count()
        self.prefetches = Count()
        self.drops = Count()
        self.served_stale = Count()
        self.hits = {kind: Count() for kind in KINDS}
        self.evictions = {kind: Count() for kind in KINDS}


every_cache: dict[Labels, Counters] = {}
shown: dict[Labels, Cache] = {}  # those of the configuration that is served


def counters(labels: Labels) -> Counters:
    """Return the counters of those labels: they go on where a configuration before this one stopped."""
    return every_cache.setdefault(labels, Counters())


def families() -> Iterator[Metric]:
    """Yield each family that has a series."""
    names = [*Labels._fields[:1], "type", *Labels._fields[1:]]
    gauge = GaugeMetricFamily("coredns_cache_entries", "Replies that are kept.", labels=names)
    for labels, cache in shown.items():
        gauge.add_metric(_typed(labels, SUCCESS), len(cache.store.success))
        gauge.add_metric(_typed(labels, DENIAL), len(cache.store.denial))
    yield gauge
    for attribute, name, text in PLAIN:
        family = CounterMetricFamily(name, text, labels=Labels._fields)
        for labels, each in every_cache.items():
            family.add_metric(labels, getattr(each, attribute).value)
        yield family
    for attribute, name, text in TYPED:
        metrics.fold()  # an entry that began anew since has one hit less, for the one that its group has yet to tell
        family = CounterMetricFamily(name, text, labels=names)
        for labels, each in every_cache.items():
            for kind, count in getattr(each, attribute).items():
                family.add_metric(_typed(labels, kind), count.value)
        yield family


def _typed(labels: Labels, kind: str) -> list[str]:
    server, *rest = labels
    return [server, kind, *rest]


PLAIN = (
    ("requests", "coredns_cache_requests", "Queries that a cache was asked."),
    ("misses", "coredns_cache_misses", "Queries that no entry answered. Deprecated: requests less hits."),
    ("prefetches", "coredns_cache_prefetch", "Entries that were renewed before anybody waited for that."),
    ("drops", "coredns_cache_drops", "Replies to another question than was asked."),
    ("served_stale", "coredns_cache_served_stale", "Queries answered by an entry that had run out."),
)
TYPED = (
    ("hits", "coredns_cache_hits", "Queries that an entry answered."),
    ("evictions", "coredns_cache_evictions", "Entries that made room for others."),
)

metrics.registry.register(metrics.Folded(families))
