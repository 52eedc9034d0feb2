"""A cluster from files: what they may look like, and what happens when they change or break under a running server."""

from __future__ import annotations

import json
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.end_to_end.client import addresses, ask, compose, parse
from tests.end_to_end.server import Ports, Server, run, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECOND = 1.0  # what a change may take from disk to answer
SLACK = 1.0  # and what a machine may add that is busy with other tests
NXDOMAIN = 3


def service(name: str, ip: str) -> dict[str, Any]:
    spec = {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def listed(*objects: dict[str, Any]) -> dict[str, Any]:
    """Return objects as `kubectl get -o yaml` prints several."""
    return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": list(objects)}


def documents(*objects: dict[str, Any]) -> str:
    return yaml.safe_dump_all(objects)


A, B, C = service("a", "10.96.0.1"), service("b", "10.96.0.2"), service("c", "10.96.0.3")
FORMS = {
    "a file of documents": {"cluster.yaml": documents(A, B, C)},
    "a dump in YAML": {"dump.yml": yaml.safe_dump(listed(A, B, C))},
    "a dump in JSON": {"dump.json": json.dumps(listed(A, B, C), indent=4)},
    "a folder": {
        "a.json": json.dumps(A),
        "b.yaml": "# nothing but a comment\n---\n" + documents(B),
        "deep/er/c.yml": yaml.safe_dump(listed(C)),
        "README.md": "{ not a manifest",
        ".hidden.yaml": "{ not a manifest",
        "other.yaml": documents({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}}),
    },
}


@contextmanager
def serving_manifests(folder: Path, manifests: Path, options: str = "") -> Iterator[tuple[Server, int]]:
    with Ports() as ports:
        port = ports.take()
        corefile = f"cluster.local:{port} {{\n errors\n kubernetes {{\n{options}\n}}\n}}\n"
        with serving(folder, corefile, "--manifests", str(manifests)) as server:
            yield server, port


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def name_of(service: str) -> str:
    return f"{service}.shop.svc.cluster.local"


def wait_for_answer(port: int, service: str, *ips: str) -> None:
    """Return once a Service has these addresses; fail when that takes longer than it may."""
    end = time.monotonic() + SECOND + SLACK
    while (found := addresses(port, name_of(service))) != list(ips):
        assert time.monotonic() < end, f"{service} still has {found}"
        time.sleep(0.02)


@pytest.mark.parametrize("form", FORMS)
def test_what_manifests_look_like(form: str, tmp_path: Path) -> None:
    files = FORMS[form]
    (tmp_path / "in").mkdir()
    write(tmp_path / "in", files)
    manifests = tmp_path / "in" if len(files) > 1 else tmp_path / "in" / next(iter(files))
    with serving_manifests(tmp_path, manifests) as (server, port):
        assert [addresses(port, name_of(one)) for one in "abc"] == [["10.96.0.1"], ["10.96.0.2"], ["10.96.0.3"]]
        assert "WARNING" not in server.output.text


def test_endpoints_are_derived_where_there_are_none(tmp_path: Path) -> None:
    headless = service("db", "None")
    headless["spec"] = {**headless["spec"], "selector": {"app": "db"}}
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"db-{at}", "namespace": "shop", "labels": {"app": "db" if at < 2 else "other"}},
            "spec": {"hostname": f"db-{at}", "subdomain": "db"},
            "status": {
                "phase": "Running",
                "podIP": f"10.244.0.{at}",
                "podIPs": [{"ip": f"10.244.0.{at}"}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
        for at in range(3)
    ]
    (tmp_path / "cluster.yaml").write_text(documents(headless, *pods))
    with serving_manifests(tmp_path, tmp_path / "cluster.yaml") as (_, port):
        assert addresses(port, name_of("db")) == ["10.244.0.0", "10.244.0.1"]
        assert addresses(port, name_of("db-1.db")) == ["10.244.0.1"]


def test_a_change_on_disk_is_served_within_a_second(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder, {"a.yaml": documents(A)})
    with serving_manifests(tmp_path, folder) as (server, port):
        write(folder, {"a.yaml": documents(service("a", "10.96.1.1"))})
        wait_for_answer(port, "a", "10.96.1.1")
        write(folder, {"new/b.json": json.dumps(B)})
        wait_for_answer(port, "b", "10.96.0.2")
        (tmp_path / "aside").write_text(documents(service("a", "10.96.1.2"), C))
        (tmp_path / "aside").replace(folder / "a.yaml")
        wait_for_answer(port, "a", "10.96.1.2")
        assert addresses(port, name_of("c")) == ["10.96.0.3"]
        (folder / "new" / "b.json").unlink()
        wait_for_answer(port, "b")
        reply = ask(port, compose(name_of("b")))
        assert reply is not None
        assert parse(reply).rcode() == NXDOMAIN
        assert "WARNING" not in server.output.text


def test_a_configmaps_links_are_followed(tmp_path: Path) -> None:
    """The kubelet changes a mounted ConfigMap by turning one link, `..data`, to another folder."""
    folder = tmp_path / "mounted"
    write(folder, {"..1/cluster.yaml": documents(A), "..2/cluster.yaml": documents(B)})
    (folder / "..data").symlink_to("..1")
    (folder / "cluster.yaml").symlink_to("..data/cluster.yaml")
    with serving_manifests(tmp_path, folder) as (_, port):
        assert addresses(port, name_of("a")) == ["10.96.0.1"]
        (folder / "..new").symlink_to("..2")
        (folder / "..new").replace(folder / "..data")
        wait_for_answer(port, "b", "10.96.0.2")
        assert addresses(port, name_of("a")) == []


BROKEN = {
    "YAML": ("cluster.yaml", documents(A) + "---\nkind: [\n", r"cluster\.yaml:\d+:\d+: "),
    "a tab": ("cluster.yaml", "kind: Service\n\tmetadata: {}\n", r"cluster\.yaml:2:1: "),
    "JSON": ("cluster.json", json.dumps(listed(A, B))[:-20], r"cluster\.json:1:\d+: "),
    "no text": ("cluster.yaml", "kind: \0\n", r"cluster\.yaml:1:7: "),
    "nothing": ("cluster.yaml", "", r"cluster\.yaml: empty"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_breaks_is_told_and_what_it_held_stays(kind: str, tmp_path: Path) -> None:
    file, text, place = BROKEN[kind]
    manifests = tmp_path / file
    manifests.write_text(json.dumps(listed(A, B)) if file.endswith("json") else documents(A, B))
    with serving_manifests(tmp_path, manifests) as (server, port):
        manifests.write_text(text)
        line = server.output.wait_for(place, timeout=SECOND + SLACK)
        assert line.startswith("[WARNING] plugin/kubernetes: ")
        assert "what was read before stays in service" in line
        assert [addresses(port, name_of(one)) for one in "ab"] == [["10.96.0.1"], ["10.96.0.2"]]
        time.sleep(0.5)
        assert len([one for one in server.output.all if "WARNING" in one]) == 1  # told once, not at each look
        manifests.write_text(json.dumps(listed(A, C)) if file.endswith("json") else documents(A, C))
        wait_for_answer(port, "c", "10.96.0.3")
        assert addresses(port, name_of("b")) == []


def test_an_object_that_cannot_be_used_leaves_the_others(tmp_path: Path) -> None:
    wrong = service("wrong", "10.96.0.9") | {"spec": {"clusterIP": ["a", "list"]}}
    (tmp_path / "cluster.yaml").write_text(documents(A, wrong, B))
    with serving_manifests(tmp_path, tmp_path / "cluster.yaml") as (server, port):
        assert [addresses(port, name_of(one)) for one in "ab"] == [["10.96.0.1"], ["10.96.0.2"]]
        assert "cluster.yaml" in server.output.wait_for("the object is left out", timeout=SECOND)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, r"absent: No such file or directory"),
        ({"absent": "kind: [\n"}, r"absent:\d+:\d+: "),
        ({"absent/a.yaml": documents(A), "absent/b.json": "{"}, r"absent/b\.json:1:\d+: "),
    ],
    ids=["missing", "broken", "one of two broken"],
)
def test_manifests_that_cannot_be_read_at_start(files: dict[str, str], said: str, tmp_path: Path) -> None:
    write(tmp_path, files)
    (tmp_path / "Corefile").write_text("cluster.local:1 {\n kubernetes\n}\n")
    ended = run(tmp_path, "--manifests", "absent")
    assert (ended.returncode, ended.stdout) == (1, "")
    first = ended.stderr.splitlines()[0]
    assert first.startswith("plugin/kubernetes: ")
    assert re.search(said, first)
    assert "Traceback" not in ended.stderr
