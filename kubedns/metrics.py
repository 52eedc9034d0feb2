"""Counters of the server itself and how plugins count; the prometheus plugin exposes the registry."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from prometheus_client.metrics_core import Metric

LARGEST_EXACT = 2**53  # beyond, not every integer is a float

registry = CollectorRegistry()
alike: set[str] = set()  # gauges that have the same value in each process of a server: there the largest counts

fold_first: dict[object, Callable[[], None]] = {}  # what brings counters up to date, by whoever holds them back

panics = Counter("coredns_panics", "Queries that ended in an exception in a plugin.", registry=registry)


@dataclass(slots=True)
class Count:
    """A number that only grows, as seen right after fold()."""

    value: int = 0


def fold() -> None:
    """Bring all counters up to date: call it before the registry is collected."""
    for call in list(fold_first.values()):
        call()


async def own() -> Iterable[Metric]:
    """Return the families of this process."""
    fold()
    return registry.collect()


@dataclass(slots=True)
class Exposition:
    """Where the families come from that are exposed: where several processes answer, they are those of all."""

    gather: Callable[[], Awaitable[Iterable[Metric]]] = own


exposition = Exposition()


class Folded:
    """A collector (prometheus_client's word) that makes its families when they are asked for."""

    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        """Of one name there may be several in a row: parts of a family, none of them long to make."""
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families()

    def describe(self) -> Iterator[Metric]:
        """Nothing: names are not looked at before there are series."""
        yield from ()


def add_histogram(
    family: Metric, labels: Mapping[str, str], bounds: Sequence[float], counts: Sequence[int], total: float
) -> None:
    """Add one series: `counts` are by upper bound, not yet summed up, and one more is beyond all bounds."""
    seen = 0
    for bound, count in zip((*bounds, float("inf")), counts, strict=True):
        seen += count
        family.add_sample(f"{family.name}_bucket", {**labels, "le": number_text(bound)}, seen)
    family.add_sample(f"{family.name}_sum", dict(labels), total)
    family.add_sample(f"{family.name}_count", dict(labels), seen)


def number_text(number: float) -> str:
    """Return a number as Go prints it, so that the buckets of series keep their names: `1`, not `1.0`; `+Inf`."""
    if isinstance(number, int):
        return str(number)
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"
    return str(int(number)) if number.is_integer() and abs(number) < LARGEST_EXACT else repr(number)
