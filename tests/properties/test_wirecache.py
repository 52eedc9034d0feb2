"""A reply from the wire cache is the chain's, octet for octet, whatever has changed in between."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubedns.server.chain import link_chain
from kubedns.server.dispatch import Dispatcher, Served
from plugins import cache, errors, hosts, loadbalance
from tests.plugins.helpers import directive
from tests.plugins.kubernetes.cluster import SVC, Made, Running, fill, namespace, of
from tests.plugins.kubernetes.test_fresh import ASKED, CHANGES, remove
from tests.properties.records import in_order
from tests.server.running import stepping
from tests.wire.asking import TCP, UDP, UDP6, datagram, opt, with_opt

TYPES = {"A": 1, "AAAA": 28, "SRV": 33, "PTR": 12, "SOA": 6, "TXT": 16, "ANY": 255}
OPTIONS = ("pods verified", "pods insecure\nfallthrough in-addr.arpa", "ignore empty_service\nfallthrough prod~")
HOSTS = """hosts {
10.9.9.9 a.default.svc.cluster.local extra.example.org three.example.com.prod.svc.cluster.local
fallthrough
}"""
# The search path's misses, several right below one parent.
PARENTS = (
    "a.default~",
    "example.com.prod~",
    "x.a.default~",
    "b.prod~",
    "com.prod~",
    "example.com.cluster.local.",
    "example.com~",
    "p.q.b.prod~",
    "dns.cluster.local.",
    "default.pod.cluster.local.",
)
DEEP = [f"{label}.{parent}" for label in ("one", "two", "three") for parent in PARENTS]
# Names made of addresses, several right below one parent.
ALIKE = [
    *(f"{last}.0.0.10.in-addr.arpa." for last in (1, 2, 3, 4, 99)),
    *(f"10-0-0-{last}.default.pod.cluster.local." for last in (1, 2, 3, "x")),
]
CLIENTS = st.sampled_from((UDP, UDP6, TCP))


@dataclass
class Clock:
    """What stands still until it is set."""

    time: float

    def __call__(self) -> float:
        return self.time


def chain(running: Running, clock: Clock, *more: str) -> list[tuple[str, Any]]:
    made: list[tuple[str, Any]] = [("errors", errors.setup(directive("errors"), running.block))]
    if "cache" in more:
        made.append(("cache", cache.setup(directive("cache 30"), running.block)))
        made[-1][1].clock = clock
    made.append(("loadbalance", loadbalance.setup(directive("loadbalance"), running.block)))
    if "hosts" in more:
        made.append(("hosts", hosts.setup(directive(HOSTS), running.block)))
    assert all(plugin.cacheable and plugin.heeds_denials for _, plugin in made)
    return [*made, ("kubernetes", running.plugin)]


def message(asked: str, kind: int, size: int) -> bytes:
    plain = datagram(asked.replace("~", SVC), kind)
    return with_opt(plain, opt(size)) if size else plain


PASSED = st.sampled_from((0.0, 0.0, 0.3, 1.0, 3.0, 29.0, 30.0, 61.0))  # seconds
STARTED = 1000.0


@settings(max_examples=90)
@given(
    st.sampled_from(OPTIONS),
    st.sampled_from(((), ("hosts",), ("cache",))),
    st.sets(st.sampled_from(sorted(TYPES)), min_size=1, max_size=2),
    st.sampled_from((0, 512, 1232)),
    CLIENTS,
    st.lists(st.tuples(CHANGES, PASSED), min_size=4, max_size=12),
)
def test_the_wire_cache_and_the_chain_agree(
    options: str,
    before: tuple[str, ...],
    kinds: set[str],
    size: int,
    client: Any,
    changes: list[tuple[tuple[Made, bool], float]],
) -> None:
    """After each change all questions are asked three times: the third time most of them are kept; then some new ones.

    Time passes meanwhile, so that serials move and TTLs count down.
    """
    kinds = {*kinds, "PTR"}
    messages = [
        message(asked, TYPES[kind], size) for asked in [*ASKED, *DEEP, *ALIKE] for kind in sorted({"A", *kinds})
    ]
    with pytest.MonkeyPatch.context() as patch, stepping() as stepped:
        clock = Clock(STARTED)
        patch.setattr("plugins.kubernetes.local_addresses", lambda: [bytes((10, 0, 0, 3))])
        patch.setattr("kubedns.server.wirecache.monotonic", clock)
        running = Running(options.replace("~", SVC))
        patch.setattr(running.index, "_now", clock)
        fill(running.index, (namespace("default"), namespace("prod")))
        one = Served(".", link_chain(chain(running, clock, *before)), cacheable=True, denials=True)
        dispatcher = Dispatcher("dns://:53", [one], stepped.stepper)
        ready = dispatcher.ready(client.transport)[client.ipv6]
        given = 0
        for number, ((made, comes), passed) in enumerate(changes):
            never = [message(f"{label}{number}.{parent}", 1, size) for parent in PARENTS for label in ("n", "two", "m")]
            clock.time += passed
            if comes:
                running.index.upsert(of(made))
            else:
                remove(running, made)
            for sent in [*messages * 3, *never]:
                kept = ready(sent, clock())
                fresh = stepped.call(partial(dispatcher.answer, sent, client, clock()))
                if kept is not None:
                    given += 1
                    assert in_order(kept) == in_order(fresh)
        assert given
        assert any(shelf.below for shelf in dispatcher.shelves.values())
