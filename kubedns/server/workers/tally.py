"""Metrics of several processes as those of one: what each tells, and what becomes of that together."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric

from kubedns import metrics
from kubedns.server.workers.messages import Family

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    Labels = tuple[tuple[str, str], ...]

SLICE = 0.001  # seconds of work at a time, in a process that answers queries
SAMPLES = 64  # at a time
GROWING = frozenset({"counter", "histogram", "summary"})  # kinds whose samples are worth adding up for ever
# Gauges that are the same in each process: the largest counts. All others are added up.
ALIKE = ("_info", "_enabled", "_timestamp_seconds")


MEMORY = "process_resident_memory_bytes"
PROPORTIONAL = re.compile(r"^Pss:\s*(\d+) kB", re.MULTILINE)


async def own_families() -> AsyncIterator[list[Family]]:
    """Yield this process's metrics, some samples at a time, with the loop having its turns in between."""
    metrics.fold()
    share = await asyncio.to_thread(_share, "self")
    since = perf_counter()
    for metric in metrics.registry.collect():
        for start in range(0, len(metric.samples), SAMPLES):
            yield [_family(metric, start, share)]
            if perf_counter() - since > SLICE:
                await asyncio.sleep(0)
                since = perf_counter()


async def process_families(pid: int) -> list[Family]:
    """Return what the kernel tells of another process (proc(5)); nothing once it is gone."""
    share = await asyncio.to_thread(_share, str(pid))
    return [_family(metric, 0, share) for metric in ProcessCollector(pid=lambda: pid, registry=None).collect()]


def _family(metric: Metric, start: int, share: int) -> Family:
    part = metric.samples[start : start + SAMPLES]
    samples = [(one.name, dict(one.labels), one.value) for one in part if not one.name.endswith("_created")]
    if metric.name == MEMORY:
        samples = [(name, labels, share or value) for name, labels, value in samples]
    return Family(metric.name, metric.type, metric.documentation, samples)


def _share(pid: str) -> int:
    """Return the octets of memory that a process uses, with its part of what others use too; 0 if that is unknown.

    The kernel goes through all of its pages for this, 4 ms for 100 MiB: not in the thread that answers.
    """
    try:
        found = PROPORTIONAL.search(Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"))
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


class Series:
    """The samples of a family: name and labels → value, in the order in which they came."""

    def __init__(self, family: Family) -> None:
        self.name = family.name
        self.kind = family.kind
        self.text = family.text
        self.values: dict[tuple[str, Labels], float] = {}


class Tally:
    """What one process has told last, or several together."""

    def __init__(self) -> None:
        self.series: dict[str, Series] = {}

    def update(self, families: Iterable[Family]) -> None:
        """Take newer values in place of those before."""
        for family in families:
            values = self._of(family).values
            for name, labels, value in family.samples:
                values[name, tuple(labels.items())] = value

    def add(self, other: Tally, *, growing: bool = False) -> None:
        """Take the values of another process together with these; `growing`: those of counters and the like alone."""
        for name, series in other.series.items():
            if growing and series.kind not in GROWING:
                continue
            together = _together(name, series.kind)
            values = self._of(Family(name, series.kind, series.text, [])).values
            for key, value in series.values.items():
                values[key] = together(values[key], value) if key in values else value

    def metrics(self) -> Iterator[Metric]:
        """Yield each family as prometheus_client has it."""
        for series in self.series.values():
            metric = Metric(series.name, series.text, series.kind)
            for (name, labels), value in series.values.items():
                metric.add_sample(name, dict(labels), value)
            yield metric

    def _of(self, family: Family) -> Series:
        series = self.series.get(family.name)
        if series is None:
            series = self.series[family.name] = Series(family)
        return series


def _together(name: str, kind: str) -> Callable[[float, float], float]:
    if kind in GROWING:
        return _sum
    if name == "process_start_time_seconds":
        return min
    return max if kind == "info" or name.endswith(ALIKE) or name in metrics.alike else _sum


def _sum(one: float, other: float) -> float:
    return one + other
