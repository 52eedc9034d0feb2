"""The server as a process, its cluster an API server's."""

from __future__ import annotations

import asyncio
import signal
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from kubedns.cluster.apiserver import NO_CLUSTER, Access
from kubedns.cluster.reading import Filters
from kubedns.plugin.contract import StartLaterError
from plugins.kubernetes import sources
from tests.cluster.following import endpoint_slice, namespace, service
from tests.end_to_end.client import Asked, ask_all, compose
from tests.end_to_end.server import Ports, run, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.apiserver import APIServer

COREFILE = """.:{port} {{
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig kubeconfig
        startup_timeout 1200ms
        {more}
    }}
}}
"""
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3


@pytest.fixture
def port() -> Iterator[int]:
    with Ports() as ports:
        yield ports.take()


def rcode(port: int, name: str) -> int:
    (reply,) = ask_all(port, [Asked(compose(name, "A"))])
    assert reply is not None
    return reply[3] & 15


def until_rcode(port: int, name: str, wanted: int) -> None:
    end = time.monotonic() + 10
    while (found := rcode(port, name)) != wanted:
        assert time.monotonic() < end, found
        time.sleep(0.01)


def test_a_reload_lists_nothing_again(tmp_path: Path, api: APIServer, kubeconfig: Path, port: int) -> None:
    assert kubeconfig.parent == tmp_path
    api.put(namespace("default"), service("web", "10.96.1.1"), endpoint_slice("web-x", "web", "10.1.1.1"))
    with serving(tmp_path, COREFILE.format(port=port, more="")) as server:
        until_rcode(port, "web.default.svc.cluster.local.", NOERROR)
        api.wait_for_watches("*", 3)
        before = api.count()
        for more in ("ttl 7", "pods insecure", "fallthrough", "namespaces default"):
            (tmp_path / "Corefile").write_text(COREFILE.format(port=port, more=more))
            assert "Reloading complete" in server.reload()
            assert rcode(port, "web.default.svc.cluster.local.") == NOERROR
        assert api.count() == before
        (tmp_path / "Corefile").write_text(COREFILE.format(port=port, more="noendpoints"))
        assert "Reloading complete" in server.reload()
        assert api.count() == before + 2
        assert server.end(signal.SIGTERM) == 0
        assert server.errors.text == ""


def test_what_is_followed_shows_in_the_metrics(tmp_path: Path, api: APIServer, kubeconfig: Path, port: int) -> None:
    assert kubeconfig.parent == tmp_path
    api.put(namespace("default"), service("web", "10.96.1.1"), service("db", "None"), endpoint_slice("x", "web"))
    with Ports() as ports:
        shown = ports.take()
        corefile = COREFILE.format(port=port, more="").replace("errors", f"errors\n    prometheus 127.0.0.1:{shown}")
        with serving(tmp_path, corefile):
            until_rcode(port, "web.default.svc.cluster.local.", NOERROR)
            api.wait_for_watches("*", 3)
            at = f'host="127.0.0.1:{api.port}",resource'
            kinds = {"Namespace": 1, "Service": 2, "EndpointSlice": 1}
            for name, held in kinds.items():
                assert metric(shown, f'kubedns_kubernetes_objects{{{at}="{name}"}}') == held
                assert metric(shown, f'kubedns_kubernetes_relists_total{{{at}="{name}"}}') == 0
                assert metric(shown, f'kubedns_kubernetes_watching{{{at}="{name}"}}') == 1
                assert 0 <= metric(shown, f'kubedns_kubernetes_silent_seconds{{{at}="{name}"}}') < 30
            api.refuse()
            api.delete("services", "db", "default")
            api.compact()
            api.listen()
            for name, held in {**kinds, "Service": 1}.items():
                until_metric(shown, f'kubedns_kubernetes_relists_total{{{at}="{name}"}}', 1)
                assert metric(shown, f'kubedns_kubernetes_objects{{{at}="{name}"}}') == held


def metric(port: int, series: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    (line,) = [line for line in lines if line.startswith(f"{series} ")]
    return float(line.split()[-1])


def until_metric(port: int, series: str, wanted: float) -> None:
    end = time.monotonic() + 20
    while (found := metric(port, series)) != wanted:
        assert time.monotonic() < end, found
        time.sleep(0.02)


def test_starting_without_the_api_server_and_living_on_without_it(
    tmp_path: Path, api: APIServer, kubeconfig: Path, port: int
) -> None:
    assert kubeconfig.parent == tmp_path
    api.put(namespace("default"), service("web", "10.96.1.1"))
    api.refuse()
    try:
        with serving(tmp_path, COREFILE.format(port=port, more="")) as server:
            waiting = "[INFO] plugin/kubernetes: waiting for Kubernetes API before starting server"
            assert server.output.all.count(waiting) == 2
            assert "[WARNING] plugin/kubernetes: starting server with unsynced Kubernetes API" in server.output.all
            assert rcode(port, "web.default.svc.cluster.local.") == SERVFAIL
            api.listen()
            until_rcode(port, "web.default.svc.cluster.local.", NOERROR)
            until_rcode(port, "nope.default.svc.cluster.local.", NXDOMAIN)
            api.refuse()
            time.sleep(0.3)
            assert rcode(port, "web.default.svc.cluster.local.") == NOERROR
            assert rcode(port, "nope.default.svc.cluster.local.") == NXDOMAIN
            assert "Reloading complete" in server.reload()
            assert rcode(port, "web.default.svc.cluster.local.") == NOERROR
            assert server.end(signal.SIGTERM) == 0
            assert len([line for line in server.output.all if "connection refused" in line]) <= 2
            assert server.errors.text == ""
    finally:
        api.listen()


def test_an_edit_while_the_api_server_is_away_takes_nothing_away(
    tmp_path: Path, api: APIServer, kubeconfig: Path, port: int
) -> None:
    """What is known is served for as long as what the new options ask for can't be read; a signal ends the wait."""
    assert kubeconfig.parent == tmp_path
    api.put(namespace("default"), service("web", "10.96.1.1"))
    with serving(tmp_path, COREFILE.format(port=port, more="")) as server:
        until_rcode(port, "web.default.svc.cluster.local.", NOERROR)
        api.refuse()
        try:
            (tmp_path / "Corefile").write_text(COREFILE.format(port=port, more="labels x!=y"))
            server.send(signal.SIGUSR1)
            server.output.wait_for("waiting for Kubernetes API")
            time.sleep(1.5)  # longer than a start may take
            assert rcode(port, "web.default.svc.cluster.local.") == NOERROR
            assert rcode(port, "nope.default.svc.cluster.local.") == NXDOMAIN
            assert server.end(signal.SIGTERM) == 0
            assert "unsynced" not in server.output.text
            assert server.output.text.count("waiting for Kubernetes API") == 1
        finally:
            api.listen()


def test_a_cluster_that_cannot_be_read_is_no_reason_to_give_up_the_one_known(
    api: APIServer, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "REPLACING", 0.3)

    async def main() -> None:
        cluster = sources.LiveCluster(
            Access(kubeconfig=(str(kubeconfig), "")), Filters(), sources.Wait(0.1, replaces=True)
        )
        with pytest.raises(StartLaterError, match=r"not read in 300ms: the one known is served on"):
            await cluster.start()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    api.refuse()
    try:
        asyncio.run(main())
    finally:
        api.listen()


def test_a_change_is_answered_at_once(tmp_path: Path, api: APIServer, kubeconfig: Path, port: int) -> None:
    assert kubeconfig.parent == tmp_path
    api.put(namespace("default"))
    with serving(tmp_path, COREFILE.format(port=port, more="")):
        for number in range(20):
            name = f"s{number}.default.svc.cluster.local."
            assert rcode(port, name) == NXDOMAIN
            api.put(service(f"s{number}", f"10.96.1.{number}"))
            start = time.monotonic()
            until_rcode(port, name, NOERROR)
            assert time.monotonic() - start < 1
            api.delete("services", f"s{number}", "default")
            until_rcode(port, name, NXDOMAIN)


@pytest.mark.parametrize(
    ("block", "shown"),
    [
        (
            "",
            [
                f"plugin/kubernetes: {NO_CLUSTER}",
                "  --> Corefile:2:5",
            ],
        ),
        (
            "kubeconfig absent",
            ["plugin/kubernetes: stat absent: no such file or directory", "  --> Corefile:3:16"],
        ),
        (
            "endpoint https://127.0.0.1:1\n    tls cert key ca",
            [
                "plugin/kubernetes: invalid configuration: [unable to read client-cert cert for  due to open cert:",
                "  --> Corefile:4:9",
            ],
        ),
    ],
    ids=["in-cluster", "kubeconfig", "tls"],
)
def test_what_is_wrong_is_said_at_its_word(tmp_path: Path, block: str, shown: list[str]) -> None:
    (tmp_path / "Corefile").write_text(f".:53 {{\n    kubernetes cluster.local {{\n    {block}\n    }}\n}}\n")
    ended = run(tmp_path, "-conf", "Corefile")
    assert ended.returncode == 1
    for line in shown:
        assert line in ended.stdout + ended.stderr


def test_a_kubeconfig_that_says_nothing_is_no_start(tmp_path: Path, port: int) -> None:
    (tmp_path / "kubeconfig").write_text("{}")
    (tmp_path / "Corefile").write_text(COREFILE.format(port=port, more=""))
    ended = run(tmp_path, "-conf", "Corefile")
    assert ended.returncode == 1
    assert "plugin/kubernetes: invalid configuration: " in ended.stdout + ended.stderr
