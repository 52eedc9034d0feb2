"""coredns_hosts_*: what hosts files hold, and from when it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.metrics_core import GaugeMetricFamily

from kubedns import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.metrics_core import Metric

    from plugins.hosts import Hosts


ENTRIES = "coredns_hosts_entries"
metrics.alike.add(ENTRIES)  # each process reads the same file


def families(plugins: Iterable[Hosts]) -> Iterator[Metric]:
    """Yield the two families. Of several plugins with one file that which read it last counts, as in CoreDNS.

    A file that has never been read has no entries to show, though the Corefile has some of its own.
    """
    entries: dict[str, int] = {}
    modified = 0.0
    for plugin in sorted(plugins, key=lambda one: one.file.last_reading):
        if plugin.file.readings:
            entries[plugin.file.shown] = plugin.entries
            modified = plugin.file.modified
    text = "Pairs of name and address, and of address and name, in hosts files and in the Corefile."
    family = GaugeMetricFamily(ENTRIES, text, labels=["hostsfile"])
    for path, number in entries.items():
        family.add_metric([path], number)
    yield family
    text = "When the hosts file that was read last had been written."
    yield GaugeMetricFamily("coredns_hosts_reload_timestamp_seconds", text, value=modified)


def register(plugins: Iterable[Hosts]) -> None:
    """Expose these plugins, whichever they are when somebody asks."""
    metrics.registry.register(metrics.Folded(lambda: families(plugins)))
