"""Counters of the server itself; the prometheus plugin exposes the registry."""

from prometheus_client import CollectorRegistry, Counter

registry = CollectorRegistry()

panics = Counter("coredns_panics", "Queries that ended in an exception in a plugin.", registry=registry)
