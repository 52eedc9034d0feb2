"""What a query costs in instructions and octets, so that a regression shows on any machine, however busy.

A bound is what was counted, on the dearer of the two Pythons, and a tenth more. One that a change makes too large
is lowered; one that it makes too small is a question: is it worth it? docs/performance.md says what a microsecond goes
to.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from bench.processes import free_ports
from kubedns.wire.numbers import Rcode, RRType
from tests.cluster.following import endpoint_slice, namespace, service
from tests.fakes.upstream import Upstream, answering
from tests.listeners.running import run
from tests.server.costing import serving, traced
from tests.wire.asking import datagram, opt, with_opt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.server.costing import Octets, Served

NAMES = 60  # of each class: a batch is read and sent at once
ENDPOINTS = 18
ALL_TURNS = 73  # times asked until another order is drawn: once to be compiled, then each record so often as SENDINGS
FLOOD = 20_480  # more than is remembered of what came once
TOGETHER = 1024  # messages between two turns of the loop
ALONE = 262  # instructions of a wake-up for one ready reply: what counts at low rates
ZONE = "cluster.local"
COREFILE = """\
.:53 {{
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    prometheus 127.0.0.1:{port}
    forward . {upstream} {{
        max_concurrent 1000
    }}
    cache 30 {{
        disable success cluster.local
        disable denial cluster.local
    }}
    loadbalance
}}
"""


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NAMES Services with an address, and as many headless ones with ENDPOINTS each."""
    items = [namespace("default")]
    for number in range(NAMES):
        items.append(service(f"plain{number}", f"10.96.0.{number}"))
        items.append(endpoint_slice(f"plain{number}-x", f"plain{number}", f"10.1.0.{number}"))
        items.append(service(f"headless{number}", "None"))
        addresses = [f"10.2.{number}.{place}" for place in range(ENDPOINTS)]
        items.append(endpoint_slice(f"headless{number}-x", f"headless{number}", *addresses))
    path = tmp_path_factory.mktemp("cluster") / "cluster.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return path


def plain() -> list[bytes]:
    return [datagram(f"plain{number}.default.svc.{ZONE}.") for number in range(NAMES)]


def headless() -> list[bytes]:
    return [datagram(f"headless{number}.default.svc.{ZONE}.") for number in range(NAMES)]


def srv() -> list[bytes]:
    names = [f"_http._tcp.headless{number}.default.svc.{ZONE}." for number in range(NAMES)]
    return [with_opt(datagram(one, RRType.SRV), opt(4096)) for one in names]


def missing() -> list[bytes]:
    return [datagram(f"host{number}.example.com.default.svc.{ZONE}.") for number in range(NAMES)]


def reverse() -> list[bytes]:
    return [datagram(f"{number}.0.1.10.in-addr.arpa.", RRType.PTR) for number in range(NAMES)]


def elsewhere() -> list[bytes]:
    return [datagram(f"name{number}.example.net.") for number in range(NAMES)]


def pods() -> list[bytes]:
    return [datagram(f"10-9-8-{number}.default.pod.{ZONE}.") for number in range(NAMES)]


@dataclass(frozen=True)
class Case:
    """Questions asked so many times before they are counted: once to be compiled, twice to be kept.

    `most` is instructions, and `least` tells that they are those of what is meant to be counted; `octets` are what a
    query needs on the way and gives back.
    """

    messages: list[bytes]
    before: int
    most: int
    octets: int
    rcode: Rcode = Rcode.NOERROR
    least: int = 0


CASES = {
    "ready": Case(plain(), 1, 107, 183),
    "ready, in turning order": Case(headless(), 1, 154, 930),
    "ready, SRV with EDNS": Case(srv(), 1, 154, 3420),
    "ready, another order drawn": Case(headless(), ALL_TURNS, 930, 3800, least=500),
    "ready, another order of SRV with EDNS drawn": Case(srv(), ALL_TURNS, 1240, 8900, least=500),
    "first asked": Case(plain(), 0, 4830, 8990),
    "no such name": Case(missing(), 0, 182, 5850, Rcode.NXDOMAIN),
    "reverse": Case(reverse(), 1, 541, 1000),
    "ready, forwarded once": Case(elsewhere(), 2, 107, 200),
    "cached, forwarded once": Case(elsewhere(), 1, 2570, 4190),
    "pod": Case(pods(), 1, 280, 312),
}


@asynccontextmanager
async def asked_before(messages: list[bytes], times: int, manifests: Path) -> AsyncIterator[Served]:
    """Serve, with an upstream behind; the messages have been asked some times."""
    async with Upstream(answering()).serving() as upstream:
        corefile = COREFILE.format(port=free_ports(1)[0], upstream=upstream.address)
        async with serving(corefile, manifests) as served:
            for _ in range(times):
                await served.ask(messages)
            yield served


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_query_runs_no_more_instructions(case: Case, manifests: Path) -> None:
    async def count() -> float:
        async with asked_before(case.messages, case.before, manifests) as served:
            return await served.instructions(case.messages, case.rcode)

    assert case.least <= run(count()) <= case.most


def test_a_query_that_comes_alone_runs_no_more_instructions(manifests: Path) -> None:
    async def count() -> int:
        async with asked_before(plain(), 2, manifests) as served:
            await served.ask(plain()[:1], counting=True)
            return served.listener.instructions

    assert run(count()) <= ALONE


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_query_needs_no_more_memory_on_the_way(case: Case, manifests: Path) -> None:
    async def measure() -> Octets:
        async with asked_before(case.messages, case.before, manifests) as served:
            with traced():
                return await served.octets(case.messages)

    assert run(measure()).most <= case.octets


def test_a_reply_that_is_ready_leaves_nothing_behind(manifests: Path) -> None:
    async def measure() -> Octets:
        async with asked_before(plain(), 2, manifests) as served:
            with traced():
                await served.octets(plain())
                return await served.octets(plain() * 10)

    assert run(measure()).kept < 1


def test_a_flood_of_random_names_fills_nothing(manifests: Path) -> None:
    behind = missing()[0].partition(b"\x07example")[2]

    def names(first: int) -> list[bytes]:
        numbers = range(first, first + TOGETHER)
        return [datagram(b"\x0chost%08d\x07example%b" % (number, behind[:-4])) for number in numbers]

    async def count() -> list[int]:
        async with asked_before([], 0, manifests) as served:
            return [await served.blocks(names(first)) for first in range(0, 2 * FLOOD, TOGETHER)]

    counts = run(count())
    half = len(counts) // 2
    assert sum(counts[:half]) < 1.5 * FLOOD  # a hash of each at most
    assert sum(counts[half:]) < 1_000
