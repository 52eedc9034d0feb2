"""What is dropped to make room is freed at once: no cycle waits for a garbage collector that hardly ever comes."""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING

import pytest

from bench.processes import free_ports
from kubedns.wire.numbers import RRType
from tests.cluster.following import endpoint_slice, namespace, service
from tests.listeners.running import run
from tests.server.costing import serving
from tests.wire.asking import datagram, opt, with_opt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ZONE = "cluster.local"
ENDPOINTS = 18
COREFILE = """\
.:53 {{
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa
    prometheus 127.0.0.1:{port}
    loadbalance
}}
"""
SERVICES = 1500  # more than loadbalance keeps the orders of
FEW = 100  # objects in cycles that asyncio and others leave


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_nothing_that_is_dropped_is_in_a_cycle(tmp_path: Path) -> None:
    items = [namespace("default")]
    for number in range(SERVICES):
        addresses = [f"10.{number >> 8}.{number & 255}.{place}" for place in range(ENDPOINTS)]
        items += [service(f"s{number}", "None"), endpoint_slice(f"s{number}-x", f"s{number}", *addresses)]
    (tmp_path / "cluster.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))

    def questions() -> Iterator[bytes]:
        for number in range(SERVICES):
            name = f"s{number}.default.svc.{ZONE}."
            yield datagram(name)
            yield with_opt(datagram(f"_http._tcp.{name}", RRType.SRV), opt(4096))
            yield datagram(f"x.{name}")

    async def ask() -> int:
        async with serving(COREFILE.format(port=free_ports(1)[0]), tmp_path / "cluster.json") as served:
            gc.collect()
            for _ in range(3):
                await served.octets(questions())
            return gc.collect()

    assert run(ask()) < FEW
