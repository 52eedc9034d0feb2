from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kubedns.cluster import manifests
from kubedns.cluster.index import Index
from kubedns.cluster.manifests import ManifestSource
from kubedns.cluster.reading import Filters, ManifestError
from kubedns.cluster.selector import parse_selector
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {tier: gold}}\n"
WEB = """apiVersion: v1
kind: Service
metadata: {name: web, namespace: default, labels: {tier: front}}
spec: {clusterIP: ADDRESS, selector: {app: web}, ports: [{port: 80, name: http}]}
"""
POD = """apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: default, labels: {app: web}}
status: {podIP: 10.244.0.1}
"""
SLICE = """apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x, namespace: default, labels: {kubernetes.io/service-name: web, tier: front}}
addressType: IPv4
endpoints: [{addresses: [10.244.0.9]}]
"""
OTHER = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"


def web(ip: str = "10.96.0.1") -> str:
    return WEB.replace("ADDRESS", ip)


def documents(*texts: str) -> str:
    return "---\n".join(texts)


def loaded(path: Path, filters: Filters | None = None) -> tuple[Index, list[str]]:
    lines: list[str] = []
    index = Index(time.time)
    ManifestSource(path, index, lines.append, filters).load()
    assert index.synced
    return index, lines


def names(index: Index) -> dict[str, list[str]]:
    kinds: tuple[Any, ...] = ("Namespace", "Service", "EndpointSlice", "Pod")
    return {kind: sorted(name for _, name in index.keys(kind)) for kind in kinds if index.keys(kind)}


def addresses(index: Index) -> list[str]:
    return [endpoint.text for held in index.slices("default", "web") for endpoint in held.endpoints]


SERVED = {"Namespace": ["default"], "Service": ["web"], "EndpointSlice": ["web-x"]}
WEB_JSON = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"}}
WEB_JSON_SERVED = {"Namespace": ["default"], "Service": ["web"]}


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        pytest.param("a.yaml", documents(NAMESPACE, web(), SLICE, OTHER), SERVED, id="documents"),
        pytest.param(
            "a.yaml",
            "apiVersion: v1\nitems:\n"
            + "".join("- " + one.replace("\n", "\n  ").rstrip() + "\n" for one in (NAMESPACE, web(), SLICE))
            + "kind: List\n",
            SERVED,
            id="List",
        ),
        pytest.param("a.json", json.dumps(WEB_JSON), WEB_JSON_SERVED, id="JSON object"),
        pytest.param(
            "a.json",
            json.dumps({"kind": "List", "apiVersion": "v1", "items": [WEB_JSON, {"kind": "ConfigMap"}]}),
            WEB_JSON_SERVED,
            id="JSON List",
        ),
        pytest.param(
            "a.json",
            json.dumps({"kind": "ServiceList", "apiVersion": "v1", "items": [{"metadata": WEB_JSON["metadata"]}]}),
            WEB_JSON_SERVED,
            id="JSON ServiceList whose items have no kind",
        ),
        pytest.param(
            "a.yaml",
            "kind: ServiceList\napiVersion: v1\nitems: [{metadata: {name: web, namespace: default}}]",
            WEB_JSON_SERVED,
            id="ServiceList whose items have no kind",
        ),
        pytest.param("a.yaml", json.dumps(WEB_JSON), WEB_JSON_SERVED, id="JSON by another name"),
        pytest.param(
            "a.json",
            json.dumps({"kind": "List", "apiVersion": "v1", "items": [1, None, WEB_JSON]}),
            WEB_JSON_SERVED,
            id="items that are no objects",
        ),
        pytest.param("a.yaml", "", {}, id="empty"),
        pytest.param("a.yaml", OTHER + "items: {a: b}\n", {}, id="unknown kinds are skipped"),
    ],
)
def test_forms(tmp_path: Path, file: str, text: str, expected: dict[str, list[str]]) -> None:
    (tmp_path / file).write_text(text)
    assert names(loaded(tmp_path / file)[0]) == expected
    assert names(loaded(tmp_path)[0]) == expected


@pytest.mark.parametrize(
    ("file", "text", "error"),
    [
        pytest.param("a.yaml", "a: 1\nb: [1", ":3:1: while parsing a flow sequence", id="YAML"),
        pytest.param("a.yaml", "- 1\n", ":1:1: not a Kubernetes object", id="a list"),
        pytest.param("a.json", '{"a": 1,\n "b": x}', ":2:7: JSON is malformed", id="JSON"),
        pytest.param("a.json", '{"a": 1,\n "b"', ":2:5: Input data was truncated", id="half of JSON"),
        pytest.param("a.json", "[1]", ":1:1: not a Kubernetes object", id="JSON list"),
        pytest.param(
            "a.json", '{"x":\n"[[",\n"y":' + "[" * 100_000, ":3:104: nested more than 100 deep", id="deep JSON"
        ),
        pytest.param("a.yaml", "x: [" + "[" * 500, ":1:103: nested more than 100 deep", id="deep YAML"),
    ],
)
def test_a_broken_file_is_reported_with_its_place(tmp_path: Path, file: str, text: str, error: str) -> None:
    path = tmp_path / file
    path.write_text(text)
    with pytest.raises(ManifestError) as raised:
        loaded(tmp_path)
    assert str(raised.value).startswith(f"{path}{error}")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="nope: No such file or directory"):
        loaded(tmp_path / "nope")


def test_an_unusable_object_is_left_out_and_logged_once(tmp_path: Path) -> None:
    bad = web().replace("port: 80", "port: http").replace("name: web,", "name: bad,")
    (tmp_path / "a.yaml").write_text(documents(web(), bad))
    index, lines = loaded(tmp_path)
    assert names(index)["Service"] == ["web"]
    assert len(lines) == 1
    assert lines[0].startswith(f"{tmp_path}/a.yaml:6: Service default/bad: ")


def test_slices_are_derived_where_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(documents(web(), POD))
    assert addresses(loaded(tmp_path)[0]) == ["10.244.0.1"]
    (tmp_path / "b.yaml").write_text(SLICE)
    assert addresses(loaded(tmp_path)[0]) == ["10.244.0.9"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param(Filters(), SERVED, id="none"),
        pytest.param(Filters(pods=True), {**SERVED, "Pod": ["web-1"]}, id="pods"),
        pytest.param(Filters(noendpoints=True), {"Namespace": ["default"], "Service": ["web"]}, id="noendpoints"),
        pytest.param(Filters(labels=parse_selector("tier=front"), pods=True), SERVED, id="labels"),
        pytest.param(Filters(labels=parse_selector("tier=back")), {"Namespace": ["default"]}, id="other labels"),
        pytest.param(
            Filters(namespace_labels=parse_selector("tier!=gold")),
            {"Service": ["web"], "EndpointSlice": ["web-x"]},
            id="namespace labels",
        ),
        pytest.param(
            Filters(namespace_labels=parse_selector("kubernetes.io/metadata.name=default")), SERVED, id="its own name"
        ),
    ],
)
def test_filters(tmp_path: Path, filters: Filters, expected: dict[str, list[str]]) -> None:
    (tmp_path / "a.yaml").write_text(documents(NAMESPACE, web(), SLICE, POD))
    assert names(loaded(tmp_path, filters)[0]) == expected


def test_hidden_files_are_passed_over_and_later_ones_count(tmp_path: Path) -> None:
    (tmp_path / "..old").mkdir()
    for file, ip in (("..old/a.yaml", "1"), (".z.yaml", "2"), ("a.yaml", "3"), ("b.yml", "4"), ("z.txt", "5")):
        (tmp_path / file).write_text(web(f"10.96.0.{ip}"))
    service = loaded(tmp_path)[0].service("default", "web")
    assert service is not None
    assert service.cluster_ips == ("10.96.0.4",)


class Watched:
    """A source that is being watched, and what it logged."""

    def __init__(self, path: Path) -> None:
        self.lines: list[str] = []
        self.index = Index(time.time)
        self.source = ManifestSource(path, self.index, self.lines.append)

    async def until(self, holds: Callable[[], bool]) -> float:
        """Return the seconds it took for something to hold."""
        start = time.monotonic()
        while not holds():
            assert time.monotonic() - start < 10, self.lines
            await asyncio.sleep(0.01)
        return time.monotonic() - start

    def ip(self) -> str:
        service = self.index.service("default", "web")
        return service.cluster_ips[0] if service is not None else ""


def watch(path: Path, story: Callable[[Watched], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        watched = Watched(path)
        await watched.source.start()
        task = asyncio.create_task(watched.source.watch())
        try:
            await story(watched)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    asyncio.run(run())


def test_a_change_is_served_within_a_second_and_a_broken_file_keeps_the_old(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(web("10.96.0.1"))

    async def story(watched: Watched) -> None:
        path.write_text(web("10.96.0.2"))
        assert await watched.until(lambda: watched.ip() == "10.96.0.2") < 1
        token = watched.index.token()
        path.write_text("a: [1\n")
        await watched.until(lambda: bool(watched.lines))
        path.write_text("")
        await watched.until(lambda: len(watched.lines) == 2)
        await asyncio.sleep(3 * manifests.POLL)
        assert len(watched.lines) == 2
        assert watched.lines[0].startswith(f"{path}:2:1: ")
        assert watched.lines[1] == f"{path}: empty; what was read before stays in service"
        assert (watched.ip(), token.stale) == ("10.96.0.2", False)
        path.write_text(web("10.96.0.3"))
        assert await watched.until(lambda: watched.ip() == "10.96.0.3") < 1
        path.unlink()
        await watched.until(lambda: len(watched.lines) == 3)
        assert watched.ip() == "10.96.0.3"

    watch(path, story)


def test_files_that_come_and_go_and_a_swapped_link(tmp_path: Path) -> None:
    for generation in (1, 2):
        (tmp_path / f"..{generation}").mkdir()
        (tmp_path / f"..{generation}" / "a.yaml").write_text(web(f"10.96.0.{generation}"))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")

    async def story(watched: Watched) -> None:
        assert watched.ip() == "10.96.0.1"
        (tmp_path / "..new").symlink_to("..2")
        (tmp_path / "..new").rename(tmp_path / "..data")
        assert await watched.until(lambda: watched.ip() == "10.96.0.2") < 1
        (tmp_path / "b.yaml").write_text(POD)
        await watched.until(lambda: addresses(watched.index) == ["10.244.0.1"])
        (tmp_path / "b.yaml").unlink()
        await watched.until(lambda: addresses(watched.index) == [])

    watch(tmp_path, story)


def test_a_broken_start_recovers_and_is_then_synced(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: [1\n")

    async def story() -> None:
        watched = Watched(path)
        with pytest.raises(ManifestError):
            await watched.source.start()
        task = asyncio.create_task(watched.source.watch())
        await watched.until(lambda: bool(watched.lines))
        assert not watched.index.synced
        path.write_text(web())
        await watched.until(lambda: watched.index.synced)
        assert watched.ip() == "10.96.0.1"
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(story())


def test_a_large_file_is_read_in_a_child_that_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    odd = SLICE.replace("[10.244.0.9]", "['::ffff:10.0.0.1', db.example]").replace("web-x", "web-y")
    path.write_text(documents(NAMESPACE, web(), SLICE, odd, POD, web("10.96.0.2").replace("name: web,", "name: more,")))
    here, _ = loaded(path)
    monkeypatch.setattr(manifests, "LARGEST_YAML", 0)

    async def story(watched: Watched) -> None:
        for kind in ("Namespace", "Service", "EndpointSlice", "Pod"):
            assert watched.index.keys(kind) == here.keys(kind)
        assert watched.index.slices("default", "web") == here.slices("default", "web")
        assert watched.index.service("default", "more") == here.service("default", "more")
        assert watched.lines == [
            f"{path}: 0 MB take about 1 s to read; until then, what was read before stays in service"
        ]
        path.write_text("a: [1\n")
        await watched.until(lambda: len(watched.lines) == 3)
        assert watched.lines[2].startswith(f"{path}:2:1: ")
        path.write_text(web("10.96.0.7"))
        await watched.until(lambda: watched.ip() == "10.96.0.7")

    watch(path, story)


def children() -> set[str]:
    """Return the process ids of this thread's children; other tests' servers may be among them."""
    return set(Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split())


def test_a_cancelled_source_leaves_no_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(documents(*(web().replace("name: web,", f"name: web-{number},") for number in range(3000))))
    monkeypatch.setattr(manifests, "LARGEST_YAML", 0)

    async def story() -> None:
        before = children()
        watched = Watched(path)
        task = asyncio.create_task(watched.source.start())
        await until(lambda: children() != before)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert children() == before

    asyncio.run(story())


def test_answers_go_on_while_much_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    endpoints = [{"addresses": [f"10.0.{high}.{low}"]} for high in range(4) for low in range(250)]
    items = [
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"s-{number}", "namespace": "default", "labels": {"kubernetes.io/service-name": "s"}},
            "endpoints": endpoints[:100],
        }
        for number in range(1000)
    ]
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))

    async def story() -> None:
        watched = Watched(path)
        task = asyncio.create_task(watched.source.start())
        turns = 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        await task
        assert turns > 20
        assert len(watched.index.keys("EndpointSlice")) == 1000

    asyncio.run(story())


def test_a_file_beyond_the_bound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    with path.open("wb") as file:
        file.truncate((256 << 20) + 1)
    with pytest.raises(ManifestError, match="256 MB is more than the 256 MB that are read"):
        loaded(path)
