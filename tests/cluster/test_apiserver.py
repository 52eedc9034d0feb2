"""Addresses and credentials: from a pod's mounted files, from a kubeconfig, from an endpoint."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from kubedns import __version__
from kubedns.cluster.apiserver import NO_CLUSTER, USER_AGENT, Access
from kubedns.cluster.failures import AccessError
from tests.cluster.following import FAST, contents, following, held_of, run, service, some_objects
from tests.loading import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.following import Followed
    from tests.fakes.apiserver import APIServer

IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}


@pytest.fixture
def pod_access(api: APIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Access:
    """What a pod of the API server's cluster has."""
    for name, value in api.environment().items():
        monkeypatch.setenv(name, value)
    return Access(mounted=api.service_account(tmp_path / "mounted"))


def mounted(api: APIServer, access: Access) -> None:
    """Replace the files as the kubelet does."""
    api.service_account(access.mounted)


def test_the_user_agent() -> None:
    assert re.fullmatch(rf"kubedns/{re.escape(__version__)} \(linux/\w+/python3\.\d+\.\S+\)", USER_AGENT)


@pytest.mark.parametrize(
    ("access", "environment", "text", "option"),
    [
        (Access(), {}, NO_CLUSTER, ""),
        (Access(), {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, NO_CLUSTER, ""),
        (Access(), {"KUBERNETES_SERVICE_HOST": "", "KUBERNETES_SERVICE_PORT": "443"}, NO_CLUSTER, ""),
        (
            Access(),
            IN_CLUSTER,
            "open /var/run/secrets/kubernetes.io/serviceaccount/token: no such file or directory",
            "",
        ),
        (Access(kubeconfig=("/nope/config", "")), {}, "stat /nope/config: no such file or directory", "kubeconfig"),
        (
            Access("https://a", ("/nope/c", "/nope/k", "/nope/ca")),
            {},
            (
                "invalid configuration: [unable to read client-cert /nope/c for  due to open /nope/c: no such file or "
                "directory, unable to read client-key /nope/k for  due to open /nope/k: no such file or directory, "
                "unable to read certificate-authority /nope/ca for  due to open /nope/ca: no such file or directory]"
            ),
            "tls",
        ),
    ],
    ids=["no environment", "no port", "empty host", "no token", "no kubeconfig", "no tls files"],
)
def test_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, access: Access, environment: dict[str, str], text: str, option: str
) -> None:
    for name in IN_CLUSTER:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AccessError) as caught:
        access.check()
    assert str(caught.value) == text
    assert caught.value.option == option


BROKEN = {
    "not YAML": "{",
    "empty": "",
    "text": "hello",
    "no context": "apiVersion: v1\nkind: Config\ncurrent-context: nope\ncontexts: []\nclusters: []\nusers: []\n",
    "no cluster": "current-context: a\ncontexts: [{name: a, context: {cluster: x, user: y}}]\nclusters: []\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_kubeconfig(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)

    async def scenario() -> None:
        async with following(path, synced=False):
            pass

    with pytest.raises(AccessError, match=re.escape(f"invalid configuration: {path}: ")):
        run(scenario())


def test_a_pod_sends_its_token(api: APIServer, pod_access: Access) -> None:
    async def scenario() -> None:
        objects = some_objects(3)
        api.put(*objects)
        async with following(pod_access) as followed:
            assert contents(followed.index) == held_of(objects)

    run(scenario())
    assert {request.headers["authorization"] for request in api.requests()} == {f"Bearer {api.token}"}
    assert {request.headers["user-agent"] for request in api.requests()} == {USER_AGENT}


def test_a_context_of_a_kubeconfig(api: APIServer, kubeconfig: Path) -> None:
    config = yaml.safe_load(kubeconfig.read_text())
    context = config["contexts"][0]
    config["contexts"].append({**context, "name": "other"})
    config["contexts"].insert(0, {"name": "wrong", "context": {**context["context"], "cluster": "nope"}})
    config["current-context"] = "wrong"
    kubeconfig.write_text(yaml.safe_dump(config))

    async def scenario() -> None:
        async with following(Access(kubeconfig=(str(kubeconfig), "other"))) as followed:
            assert followed.index.synced

    run(scenario())
    assert api.count() > 0


def test_a_token_that_is_replaced_in_time_is_never_refused(api: APIServer, pod_access: Access) -> None:
    async def scenario() -> None:
        async with following(pod_access) as followed:
            await followed.until(lambda: api.watches() == followed.watching == 4)
            await asyncio.sleep(FAST.short)
            api.rotate_token(keep_old=True)
            mounted(api, pod_access)
            api.forget_requests()
            api.end_watches()
            await followed.until(lambda: api.count("watch") >= 4)
            assert {request.headers["authorization"] for request in api.requests()} == {f"Bearer {api.token}"}
            assert followed.log.lines == []

    run(scenario())


@pytest.mark.parametrize("way", ["pod", "kubeconfig"])
def test_a_token_that_is_refused_is_read_again_at_once(
    api: APIServer, pod_access: Access, kubeconfig: Path, way: str
) -> None:
    async def scenario() -> None:
        access = pod_access if way == "pod" else Access(kubeconfig=(str(kubeconfig), ""))
        async with following(access) as followed:
            await followed.until(lambda: api.watches() == followed.watching == 4)
            await asyncio.sleep(FAST.short)
            api.rotate_token()
            api.end_watches()
            await followed.until(lambda: any("(401)" in line for line in followed.log.lines))
            mounted(api, pod_access)
            api.kubeconfig(kubeconfig)
            api.put(service("late", "10.96.1.1"))
            await followed.until_holds([service("late", "10.96.1.1")])
            await followed.until(lambda: told(followed, "Failed to watch") == told(followed, "again after"))
            assert 1 <= told(followed, "Failed to watch") <= 4

    run(scenario())


def told(followed: Followed, text: str) -> int:
    return sum(text in line for line in followed.log.lines)


def test_a_ca_that_is_replaced_makes_a_new_client(api: APIServer, pod_access: Access) -> None:
    async def scenario() -> None:
        async with following(pod_access) as followed:
            await followed.until(lambda: api.watches() == followed.watching == 4)
            await asyncio.sleep(FAST.short)
            api.rotate_ca()
            api.end_watches(how="close")
            await followed.until(lambda: any("certificate" in line for line in followed.log.lines))
            mounted(api, pod_access)
            api.put(service("late", "10.96.1.1"))
            await followed.until_holds([service("late", "10.96.1.1")])
            errors = [line for line in followed.log.lines if line.startswith("ERROR")]
            assert len(errors) == 1

    run(scenario())


def test_files_that_are_gone_for_a_moment(api: APIServer, pod_access: Access) -> None:
    async def scenario() -> None:
        async with following(pod_access) as followed:
            await followed.until(lambda: api.watches() == followed.watching == 4)
            await asyncio.sleep(FAST.short)
            away = pod_access.mounted.with_name("away")
            pod_access.mounted.rename(away)
            api.end_watches()
            api.put(service("late", "10.96.1.1"))
            await followed.until_holds([service("late", "10.96.1.1")])
            away.rename(pod_access.mounted)

    run(scenario())


def test_readers_of_manifests_do_without_the_client() -> None:
    code = (
        "import kubedns.__main__, plugins.kubernetes, sys; "
        "sys.exit(len({'kubernetes', 'aiohttp'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_client_comes_without_its_other_half_and_is_whole_for_others() -> None:
    code = (
        "import asyncio, sys\n"
        "from kubedns.cluster import apiserver\n"
        "ours = apiserver._import_client()\n"
        "assert not {'requests', 'urllib3', 'kubernetes.client', 'kubernetes'} & sys.modules.keys()\n"
        "assert apiserver._import_client() is ours\n"
        "import kubernetes\n"
        "from kubernetes import aio\n"
        "assert kubernetes.aio.client.CoreV1Api and kubernetes.client.CoreV1Api and kubernetes.aio.watch.Watch\n"
        "assert aio.client.ApiClient is ours.client.ApiClient\n"
        "assert kubernetes.__version__\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
