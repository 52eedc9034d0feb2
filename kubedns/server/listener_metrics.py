"""The listeners' own counters as metrics: kubedns_udp_*, kubedns_tcp_*, by listener."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from kubedns.listeners.tcp import TcpListener
    from kubedns.listeners.udp import UdpListener
    from kubedns.server.configuration import Address

TEXTS = {
    "udp": {
        "received": "Datagrams received.",
        "sent": "Replies sent.",
        "dropped": "Replies that the kernel did not take.",
        "too_large": "Replies that no datagram to that client can hold.",
        "rejected": "Queries given up because too many were waiting.",
        "failed": "Datagrams that could not be handled at all.",
    },
    "tcp": {
        "accepted": "Connections accepted.",
        "received": "Messages received.",
        "sent": "Replies sent.",
        "refused": "Connections closed at once because too many were open.",
        "evicted": "Idle connections closed to make room.",
        "expired": "Connections closed because their time was up.",
        "too_large": "Replies of more than 65535 octets.",
        "failed": "Messages that could not be handled at all.",
    },
}


def listener_families(
    listeners: Callable[[], Mapping[Address, tuple[UdpListener, TcpListener]]],
) -> Iterator[Metric]:
    """Yield a family for each counter, with a sample for each listener there is now."""
    pairs = [(str(address), pair) for address, pair in listeners().items()]
    for place, (transport, texts) in enumerate(TEXTS.items()):
        values = [(server, asdict(pair[place].counters)) for server, pair in pairs]
        for counter, text in texts.items():
            family = CounterMetricFamily(f"kubedns_{transport}_{counter}", text, labels=["server"])
            for server, counters in values:
                family.add_metric([server], counters[counter])
            yield family
    connections = GaugeMetricFamily("kubedns_tcp_connections", "Connections open.", labels=["server"])
    for server, (_, tcp) in pairs:
        connections.add_metric([server], tcp.counters.open)
    yield connections
