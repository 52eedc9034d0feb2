"""What is counted of forwarding: of each name server (kubedns.upstream.statistics), and of all `forward` lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, Metric

from kubedns import metrics
from kubedns.upstream import statistics
from kubedns.wire.numbers import RCODE_TEXTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubedns.upstream.statistics import Statistics

RCODES = {**RCODE_TEXTS, 16: "BADSIG", statistics.OTHER: "other"}
broken = metrics.Count()  # flights that found every name server down
rejects = metrics.Count()  # queries beyond max_concurrent


def rcode_label(rcode: int) -> str:
    return RCODES.get(rcode, str(rcode))


def families() -> Iterator[Metric]:
    """Yield each family; public alerts still ask for names in `coredns_forward_` that CoreDNS has dropped."""
    text = "Times that all upstreams were unhealthy, and one of them was asked nevertheless."
    yield CounterMetricFamily("coredns_forward_healthcheck_broken", text, value=broken.value)
    text = "Queries refused because max_concurrent were under way."
    yield CounterMetricFamily("coredns_forward_max_concurrent_rejects", text, value=rejects.value)
    every = list(statistics.every.items())
    named = {"proxy_name": "forward"}
    yield from _durations("coredns_proxy_request_duration_seconds", every, named)
    yield from _durations("coredns_forward_request_duration_seconds", every, {})
    yield from _health_failures("coredns_proxy_healthcheck_failures", every, named)
    yield from _health_failures("coredns_forward_healthcheck_failures", every, {})
    yield from _connections(every, named)
    requests = Metric("coredns_forward_requests", "Queries sent to each upstream.", "counter")
    responses = Metric("coredns_forward_responses", "Replies of each upstream by RCODE.", "counter")
    strays = Metric("kubedns_forward_strays", "Messages that are no reply to what was asked: ignored.", "counter")
    for to, counts in every:
        requests.add_sample(f"{requests.name}_total", {"to": to}, counts.requests)
        strays.add_sample(f"{strays.name}_total", {"to": to}, counts.strays)
        for rcode, durations in list(counts.durations.items()):
            labels = {"rcode": rcode_label(rcode), "to": to}
            responses.add_sample(f"{responses.name}_total", labels, sum(durations[:-1]))
    yield from (requests, responses, strays)


def _durations(name: str, every: list[tuple[str, Statistics]], labels: dict[str, str]) -> Iterator[Metric]:
    for to, counts in every:
        family = Metric(name, "Seconds until each upstream replied.", "histogram")
        for rcode, numbers in list(counts.durations.items()):
            *buckets, total = numbers
            series = {**labels, "rcode": rcode_label(rcode), "to": to}
            metrics.add_histogram(family, series, statistics.DURATIONS, [int(count) for count in buckets], total)
        if family.samples:
            yield family


def _health_failures(name: str, every: list[tuple[str, Statistics]], labels: dict[str, str]) -> Iterator[Metric]:
    family = Metric(name, "Failed health checks of each upstream.", "counter")
    for to, counts in every:
        if counts.health_failures:
            family.add_sample(f"{name}_total", {**labels, "to": to}, counts.health_failures)
    yield family


def _connections(every: list[tuple[str, Statistics]], labels: dict[str, str]) -> Iterator[Metric]:
    hits = Metric(
        "coredns_proxy_conn_cache_hits", "Queries sent over a socket or connection that was there.", "counter"
    )
    misses = Metric(
        "coredns_proxy_conn_cache_misses", "Sockets and connections that a query had to wait for.", "counter"
    )
    for to, counts in every:
        for family, numbers in ((hits, counts.hits), (misses, counts.misses)):
            for protocol, number in numbers.items():
                if number and protocol != "https":
                    series = {**labels, "proto": protocol, "to": to}
                    family.add_sample(f"{family.name}_total", series, number)
    yield from (hits, misses)


metrics.registry.register(metrics.Folded(families))
