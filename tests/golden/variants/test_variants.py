"""The server beside a second reading of the specification, on clusters that nobody recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.end_to_end.server import Ports, serving
from tests.golden.ask import COMMAND, ask_rows, mismatches, read_rows, report
from tests.golden.compare import differences
from tests.golden.variants import cluster
from tests.golden.variants.model import Model, Options
from tests.golden.variants.questions import questions

if TYPE_CHECKING:
    from tests.golden.compare import Row

HERE = Path(__file__).parent
BUFSIZE = 4096
RECORDED = {
    "kubernetes-insecure": Options(ttl=30, pods="insecure"),
    "kubernetes-verified": Options(
        ttl=5,
        pods="verified",
        endpoint_pod_names=True,
        zones=("cluster.local.", "10.in-addr.arpa.", "0.1.0.0.0.0.d.f.ip6.arpa."),
    ),
}
VARIANTS = {
    "insecure": (
        "pods insecure\nttl 30",
        Options(ttl=30, pods="insecure"),
        [*cluster.by_hand(), *cluster.at_random(1)],
    ),
    "verified": (
        "pods verified\nendpoint_pod_names\nttl 3600",
        Options(ttl=3600, pods="verified", endpoint_pod_names=True),
        [*cluster.by_hand(), *cluster.in_front(), *cluster.at_random(2)],
    ),
    "narrow": (
        "namespaces default svc absent\nignore empty_service",
        Options(ttl=5, namespaces=("default", "svc", "absent"), ignore_empty_service=True),
        [*cluster.by_hand(), *cluster.at_random(3)],
    ),
}


@pytest.mark.parametrize("scenario", RECORDED)
def test_the_model_says_what_was_recorded(scenario: str) -> None:
    """Rows that other plugins, sizes or EDNS have a part in are left out."""
    objects = yaml.load((HERE.parent / "cluster.yaml").read_text(), Loader=yaml.CSafeLoader)["items"]
    model = Model(objects, RECORDED[scenario])
    rows = [
        row
        for row in read_rows(HERE.parent / scenario)
        if row.keys() == {"name", "type", "reply"} and row["reply"]["flags"] == "QR AA RD"
    ]
    assert len(rows) > 2000
    wrong = {
        (row["name"], row["type"]) for row in rows if differences(row["reply"], model.reply(row["name"], row["type"]))
    }
    assert wrong == set()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_server_says_what_the_model_says(variant: str, tmp_path: Path) -> None:
    properties, options, objects = VARIANTS[variant]
    manifests = tmp_path / "cluster.json"
    manifests.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    model = Model(objects, options)
    asked = questions(objects)
    rows: list[Row] = [{"name": name, "type": kind, "reply": model.reply(name, kind)} for name, kind in asked]
    for number, row in enumerate(rows):  # each over either transport, and at a size that nothing need be cut to
        if number % 2:
            row["tcp"] = True
        else:
            row["bufsize"] = BUFSIZE
            row["reply"]["edns"] = {"version": 0, "bufsize": BUFSIZE, "do": False}
    with Ports() as ports:
        port = ports.take()
        corefile = f".:{port} {{\n errors\n kubernetes cluster.local in-addr.arpa ip6.arpa {{\n{properties}\n}}\n}}\n"
        with serving(tmp_path, corefile, "--manifests", str(manifests), command=COMMAND):
            replies = ask_rows(port, rows)
    found = mismatches(rows, replies)
    assert not found, f"{len(found)} of {len(rows)} replies differ:\n{report(found)}"


CHAIN = """.:{port} {{
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        pods insecure
        ttl 30
    }}
    cache 30
    loadbalance
}}
"""


def test_so_it_does_behind_a_cache(tmp_path: Path) -> None:
    """Asked again, each in other letters: what was kept says the same, with what is left of its TTL."""
    objects = [*cluster.by_hand(), *cluster.at_random(5)]
    manifests = tmp_path / "cluster.json"
    manifests.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    model = Model(objects, Options(ttl=30, pods="insecure"))
    asked = questions(objects)
    rows: list[Row] = [{"name": name, "type": kind, "reply": model.reply(name, kind)} for name, kind in asked]
    for number, row in enumerate(rows):
        row["bufsize"] = BUFSIZE - number % 2  # sizes make other datagrams, not other entries
        row["reply"]["edns"] = {"version": 0, "bufsize": row["bufsize"], "do": False}
    with Ports() as ports:
        port = ports.take()
        with serving(tmp_path, CHAIN.format(port=port), "--manifests", str(manifests), command=COMMAND):
            for _ in range(3):
                found = mismatches(rows, ask_rows(port, rows), cached=True)
                assert not found, f"{len(found)} of {len(rows)} replies differ:\n{report(found)}"
