"""Zones of the plugin: which one a name is in, and which one addresses point into."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubedns.plugin.contract import ServerBlock
from tests.plugins.kubernetes.cluster import NEXT, NODATA, NXDOMAIN, Running, fill, negative, reply, sample

if TYPE_CHECKING:
    from tests.plugins.kubernetes.cluster import Shown

ZONES = {
    "several, the same data under each": (
        "cluster.local other.test in-addr.arpa",
        {
            "web.default.svc.other.test. A": reply("@ A 10.96.0.20"),
            "web.default~ A": reply("@ A 10.96.0.20"),
            "nosuch.default.svc.other.test. A": negative("NXDOMAIN", "other.test."),
            "20.0.96.10.in-addr.arpa. PTR": reply("@ PTR web.default~"),
        },
    ),
    "the longest counts": (
        "local cluster.local",
        {
            "nosuch.default~ A": NXDOMAIN,
            "web.default.svc.local. A": reply("@ A 10.96.0.20"),
            "cluster.local. A": NODATA,
        },
    ),
    "capital letters": ("Cluster.LOCAL", {"web.default~ A": reply("@ A 10.96.0.20")}),
    "network": (
        "10.96.0.0/12 cluster.local",
        {
            "20.0.96.10.in-addr.arpa. PTR": reply("@ PTR web.default~"),
            "9.9.111.10.in-addr.arpa. PTR": negative("NXDOMAIN", "111.10.in-addr.arpa."),
            "20.1.244.10.in-addr.arpa. PTR": NEXT,
        },
    ),
    "in-addr.arpa first": (
        "in-addr.arpa cluster.local",
        {
            "20.0.96.10.in-addr.arpa. PTR": reply("@ PTR web.default.svc.in-addr.arpa."),
            "web.default~ A": reply("@ A 10.96.0.20"),
        },
    ),
    "a reverse zone first": (
        "10.in-addr.arpa cluster.local",
        {"20.0.96.10.in-addr.arpa. PTR": reply("@ PTR web.default~")},
    ),
    "the root": (
        ".",
        {
            "web.default.svc. A": reply("@ A 10.96.0.20"),
            "web.default.svc. SRV": reply(
                "@ SRV 0 50 80 web.default.svc.", "@ SRV 0 50 9090 web.default.svc.", ar=("@ A 10.96.0.20",)
            ),
            "20.0.96.10.in-addr.arpa. PTR": reply("@ PTR web.default.svc."),
        },
    ),
}


@pytest.mark.parametrize(("zones", "table"), ZONES.values(), ids=ZONES)
def test_zones(zones: str, table: dict[str, Shown]) -> None:
    running = sample(zones=zones)
    assert {question: running.ask(question) for question in table} == table


def test_zones_of_the_server_block() -> None:
    running = Running(zones="", block=ServerBlock(("cluster.local.", "96.10.in-addr.arpa."), manifests=Path()))
    fill(running.index)
    assert running.ask("web.default~ A") == reply("@ A 10.96.0.20")
    assert running.ask("20.0.96.10.in-addr.arpa. PTR") == reply("@ PTR web.default~")
    assert running.ask("example.com. A") == NEXT
