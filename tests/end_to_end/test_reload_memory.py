"""Reloads while caches are full: memory stays what one configuration takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.end_to_end.client import Asked, ask_all, compose
from tests.end_to_end.server import Ports, serving

if TYPE_CHECKING:
    from pathlib import Path

SERVICES = 3000
RELOADS = 8
MOST_GROWTH = 12 << 20  # octets for all reloads; 55 MiB while each left its replies behind
COREFILE = """.:{port} {{
    kubernetes cluster.local {{
        ttl 30
    }}
    cache 3600 other.test
    loadbalance
}}
"""


def service(number: int) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"s{number}", "namespace": "default"},
        "spec": {
            "clusterIP": f"10.97.{number >> 8}.{number & 255}",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
    }


def test_replies_of_configurations_that_went_take_no_memory(tmp_path: Path) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
    items = [namespace, *(service(number) for number in range(SERVICES))]
    (tmp_path / "cluster.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    names = [f"s{number}.default.svc.cluster.local" for number in range(SERVICES)]
    batch = [Asked(compose(name, rrtype)) for name in names for rrtype in ("A", "SRV", "AAAA")]
    with Ports() as ports:
        port = ports.take()
        with serving(tmp_path, COREFILE.format(port=port), "--manifests", "cluster.json") as server:
            memory = []
            for _ in range(RELOADS):
                assert None not in ask_all(port, batch)
                memory.append(server.memory())
                assert "complete" in server.reload()
            growth = memory[-1] - memory[1]
            assert growth < MOST_GROWTH, [octets >> 20 for octets in memory]
