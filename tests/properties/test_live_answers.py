"""Whatever happens to a cluster, and in whatever order: afterwards every answer is one made afresh, whatever was kept.

The API server, the reflector, the plugins and both caches are the real ones; only the back-offs are shorter.
"""

from __future__ import annotations

import asyncio
import time
from itertools import product
from typing import TYPE_CHECKING, Any

import dns.message
import dns.rdatatype
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kubedns.cluster.live
from kubedns.server import parts
from kubedns.server.dispatch import Dispatcher
from kubedns.server.stepping import Stepper
from kubedns.server.wirecache import WireCache
from kubedns.wire.numbers import RRType
from tests.cluster.following import contents, held_of, run
from tests.loading import load
from tests.properties.test_reflector import (
    QUICK,
    STEPS,
    api,  # noqa: F401 - a fixture
    built_afresh,
    key_of,
    objects,
    start_over,
    take,
)
from tests.wire.asking import UDP, datagram

if TYPE_CHECKING:
    from pathlib import Path

    from kubedns.cluster.index import Index
    from kubedns.server.configuration import Configuration
    from tests.cluster.following import Raw
    from tests.fakes.apiserver import APIServer

COREFILE = """\
.:53 {{
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {}
        pods verified
        startup_timeout 1ms
    }}
    cache 30
    loadbalance
}}
"""
PATIENCE = 15.0  # seconds
TYPES = (RRType.A, RRType.AAAA, RRType.SRV)
OWNERS = ("", "_http._tcp.", "10-1-0-1.", "x.y.z.")
REVERSE = [f"{octet}.0.1.10.in-addr.arpa." for octet in range(1, 7)] + ["1.0.96.10.in-addr.arpa."]
QUESTIONS = [
    *((f"{left}{name}.{where}.svc.cluster.local.", kind)
      for left, name, where, kind in product(OWNERS, "abc", ("default", "other"), TYPES)),
    *((f"10-1-0-{octet}.{where}.pod.cluster.local.", RRType.A) for octet in range(1, 4) for where in ("default", "a")),
    *((f"{where}.svc.cluster.local.", RRType.A) for where in ("default", "other", "a")),
    *((name, RRType.PTR) for name in REVERSE),
]  # fmt: skip
Shown = tuple[int, tuple[tuple[str, ...], ...]]


class Fixed:
    """A cluster that is read already, in place of one that is followed."""

    def __init__(self, index: Index) -> None:
        self.index = index


class Answering:
    """A configuration, and the way to its answers that a listener takes: what is ready first."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        [group] = configuration.groups.values()
        self._stepper = Stepper(asyncio.get_running_loop())
        self._dispatcher = Dispatcher("dns://:53", group.served, self._stepper, wirecache=WireCache())
        self._ready = self._dispatcher.ready("udp").ipv4

    async def ask_all(self) -> list[bytes]:
        """Return what is answered to QUESTIONS; asked from a callback of the loop, as listeners do."""
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[list[Any]] = loop.create_future()
        loop.call_soon(lambda: asked.set_result([self._ask(*question) for question in QUESTIONS]))
        return [await one if isinstance(one, asyncio.Future) else one for one in await asked]

    def _ask(self, name: str, rrtype: RRType) -> Any:
        message, now = datagram(name, rrtype), time.monotonic()
        return self._ready(message, now) or self._dispatcher.answer(message, UDP, now)

    async def close(self) -> None:
        self._stepper.close()
        await parts.stop(self.configuration.parts)


def shown(octets: bytes) -> Shown:
    """Return RCODE and sections without what may differ: the records' order, and the SOA's serial."""
    message = dns.message.from_wire(octets, one_rr_per_rrset=True)
    sections = []
    for section in message.sections[1:]:
        lines = [rrset.to_text().split() for rrset in section]
        for words in lines:
            if words[3] == "SOA":
                words[6] = "SERIAL"
        sections.append(tuple(sorted(" ".join(words) for words in lines)))
    return int(message.rcode()), tuple(sections)


def shown_all(replies: list[bytes]) -> dict[tuple[str, RRType], Shown]:
    return {question: shown(octets) for question, octets in zip(QUESTIONS, replies, strict=True)}


def configured(kubeconfig: Path, shared: dict[Any, Any]) -> Configuration:
    return load(COREFILE.format(kubeconfig), root=kubeconfig.parent, manifests=None, previous=shared)


def cluster_of(configuration: Configuration) -> tuple[Any, Any]:
    [(key, cluster)] = [
        (key, value)
        for key, value in configuration.shared.kept.items()
        if isinstance(key, tuple) and key[0] == "kubernetes"
    ]
    return key, cluster


async def until_holds(index: Index, values: list[Raw]) -> None:
    wanted, end = held_of(values), time.monotonic() + PATIENCE
    while contents(index) != wanted or not index.synced:
        assert time.monotonic() < end, (wanted - contents(index), contents(index) - wanted)
        await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubedns.cluster.live, "Timings", lambda: QUICK)


@given(before=st.lists(objects(), max_size=12), steps=STEPS)
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_every_answer_after_anything_is_one_made_afresh(
    api: APIServer,  # noqa: F811 - the fixture
    before: list[Raw],
    steps: list[tuple[str, Any, int]],
) -> None:
    async def scenario() -> None:
        kubeconfig = start_over(api)
        model = {key_of(value): value for value in before}
        if before:
            api.put(*model.values())
        live = Answering(configured(kubeconfig, {}))
        key, cluster = cluster_of(live.configuration)
        for part in live.configuration.parts:
            await parts.start(part, live.configuration.plugins)
        try:
            for step in steps:
                await take(api, model, step)
                await live.ask_all()
            api.heal()
            await until_holds(cluster.index, list(model.values()))
            afresh = built_afresh(cluster.index)
            afresh.mark_synced()
            fresh = Answering(configured(kubeconfig, {key: Fixed(afresh)}))
            wanted = shown_all(await fresh.ask_all())
            await fresh.close()
            for _ in range(3):  # from the chain, or from what is kept, or is kept from now on
                assert shown_all(await live.ask_all()) == wanted
        finally:
            await live.close()

    run(scenario())
