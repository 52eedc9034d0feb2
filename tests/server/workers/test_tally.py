"""Several processes' metrics as one's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from kubedns import metrics
from kubedns.server.workers import tally
from kubedns.server.workers.messages import Family
from kubedns.server.workers.tally import Tally, own_families, process_families
from plugins import prometheus

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


class Process:
    """What a process counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.queries = Counter("queries", "Queries.", ["rcode"], registry=self.registry)
        self.seconds = Histogram("seconds", "Seconds.", buckets=(1, 2), registry=self.registry)
        self.open = Gauge("connections", "Connections.", registry=self.registry)
        self.entries = Gauge("hosts_entries", "Entries.", registry=self.registry)
        self.started = Gauge("process_start_time_seconds", "Start.", registry=self.registry)
        self.version = Info("build", "Version.", registry=self.registry)

    def families(self) -> Iterator[Family]:
        for metric in self.registry.collect():
            samples = [(one.name, dict(one.labels), one.value) for one in metric.samples]
            yield Family(metric.name, metric.type, metric.documentation, samples)

    def tally(self) -> Tally:
        told = Tally()
        told.update(self.families())
        return told


class Exposed:
    """Metrics as a registry has them, to be shown."""

    def __init__(self, told: Tally) -> None:
        self._told = told

    def text(self) -> str:
        registry = CollectorRegistry()
        registry.register(metrics.Folded(self._told.metrics))
        return generate_latest(registry).decode()


def test_processes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "alike", {"hosts_entries"})
    one, other = Process(), Process()
    one.queries.labels("NOERROR").inc(3)
    other.queries.labels("NOERROR").inc(4)
    other.queries.labels("NXDOMAIN").inc()
    one.seconds.observe(0.5)
    other.seconds.observe(1.5)
    other.seconds.observe(9)
    for process, count, start in ((one, 2, 100), (other, 5, 200)):
        process.open.set(count)
        process.entries.set(7)
        process.started.set(start)
        process.version.info({"version": "1"})
    together = Tally()
    together.add(one.tally())
    together.add(other.tally())
    shown = Exposed(together).text()
    for line in (
        'queries_total{rcode="NOERROR"} 7.0',
        'queries_total{rcode="NXDOMAIN"} 1.0',
        'seconds_bucket{le="1.0"} 1.0',
        'seconds_bucket{le="2.0"} 2.0',
        'seconds_bucket{le="+Inf"} 3.0',
        "seconds_sum 11.0",
        "seconds_count 3.0",
        "connections 7.0",
        "hosts_entries 7.0",
        "process_start_time_seconds 100.0",
        'build_info{version="1"} 1.0',
        "# TYPE seconds histogram",
    ):
        assert f"{line}\n" in shown


def test_of_a_process_that_is_gone_what_grows_stays() -> None:
    process, retired = Process(), Tally()
    process.queries.labels("NOERROR").inc(3)
    process.open.set(9)
    retired.add(process.tally(), growing=True)
    process.queries.labels("NOERROR").inc(1)
    retired.add(process.tally(), growing=True)
    shown = Exposed(retired).text()
    assert 'queries_total{rcode="NOERROR"} 7.0' in shown
    assert "connections" not in shown


def test_newer_values_take_the_place_of_older_ones_and_what_is_told_no_more_stays() -> None:
    process, told = Process(), Tally()
    process.queries.labels("NOERROR").inc(3)
    told.update(process.families())
    process.queries.labels("NOERROR").inc(3)
    told.update(process.families())
    process.queries.remove("NOERROR")
    told.update(process.families())
    assert 'queries_total{rcode="NOERROR"} 6.0' in Exposed(told).text()


def test_own_families_give_way_and_miss_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("many", "Many.", ["number"], registry=registry)
    for number in range(1000):
        gauge.labels(str(number)).set(number)
    monkeypatch.setattr(metrics, "registry", registry)
    monkeypatch.setattr(tally, "SLICE", 0.0)

    async def main() -> None:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.get_running_loop().create_task(count())
        told = Tally()
        async for families in own_families():
            told.update(families)
        counting.cancel()
        assert turns > 10
        assert sum(value for series in told.series.values() for value in series.values.values()) == sum(range(1000))

    asyncio.run(main())


def test_what_the_kernel_tells_of_a_process() -> None:
    told = Tally()
    told.update(asyncio.run(process_families(1 << 30)))
    assert told.series == {}


def test_the_memory_of_a_process_is_its_share() -> None:
    async def main() -> float:
        told = Tally()
        async for families in own_families():
            told.update(families)
        [value] = told.series[tally.MEMORY].values.values()
        return value

    assert prometheus.process is not None  # it is what tells of the memory
    share = asyncio.run(main())
    [resident] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    assert 0 < share <= int(resident.split()[1]) * 1024 * 1.01
