"""What the recordings do not show of the API server: see the page API Concepts of its documentation."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from tests.fakes.apiserver import APIServer
from tests.fakes.client import SERVICES, STREAMING, ask, connect, next_event, pod, service, streaming

PODS = "/api/v1/pods"
NOT_DONE = "fieldSelector=status.phase!=Succeeded,status.phase!=Failed"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[APIServer]:
    with APIServer(tmp_path / "api", bookmark_every=0.2) as api:
        yield api


def names(api: APIServer, path: str) -> list[str]:
    return [item["metadata"]["name"] for item in ask(api, path).json["items"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("", ["a", "b", "c"], id="all"),
        pytest.param("?limit=2", ["a", "b"], id="a page"),
        pytest.param("?limit=2&resourceVersion=0", ["a", "b", "c"], id="the watch cache knows no pages"),
        pytest.param("?labelSelector=tier%3Dfront", ["a", "c"], id="labels"),
        pytest.param("?labelSelector=tier+in+(front),!old", ["a"], id="sets of labels"),
        pytest.param("?fieldSelector=metadata.name%3Db", ["b"], id="field"),
        pytest.param("?fieldSelector=metadata.namespace!%3Dprod", [], id="field that is not"),
    ],
)
def test_a_list_holds_what_was_asked_for(api: APIServer, query: str, expected: list[str]) -> None:
    api.put(service("a", tier="front"), service("b"), service("c", tier="front", old="yes"))
    assert names(api, SERVICES + query) == expected
    assert names(api, "/api/v1/namespaces/prod/services" + query) == expected
    assert names(api, "/api/v1/namespaces/elsewhere/services" + query) == []


def test_pages_are_of_one_version_whatever_changes(api: APIServer) -> None:
    api.put(*(service(name) for name in "abcd"))
    page = ask(api, f"{SERVICES}?limit=2").json
    api.delete("services", "c", "prod")
    api.put(service("d", changed="yes"), service("e"))
    rest = ask(api, f"{SERVICES}?limit=2&continue={page['metadata']['continue']}").json
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c", "d"]
    assert "labels" not in rest["items"][1]["metadata"]
    assert rest["metadata"] == {"resourceVersion": page["metadata"]["resourceVersion"]}
    assert names(api, SERVICES) == ["a", "b", "d", "e"]


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        pytest.param(f"{SERVICES}?continue=x", 400, "BadRequest", id="no continue token"),
        pytest.param(f"{SERVICES}?resourceVersion=x", 400, "BadRequest", id="no version"),
        pytest.param(f"{SERVICES}?labelSelector=a%3D%3D%3D", 400, "BadRequest", id="no selector"),
        pytest.param(f"{SERVICES}?fieldSelector=status.phase%3DRunning", 400, "BadRequest", id="no such field"),
        pytest.param(f"{SERVICES}?resourceVersion=3&resourceVersionMatch=Exact", 410, "Expired", id="compacted"),
        pytest.param(f"{SERVICES}?resourceVersion=9999", 504, "Timeout", id="version of the future"),
        pytest.param(f"{SERVICES}?watch=1&sendInitialEvents=true", 422, "Invalid", id="streaming without match"),
        pytest.param(f"{SERVICES}/web", 403, "Forbidden", id="get"),
        pytest.param("/apis/apps/v1/deployments", 403, "Forbidden", id="other resource"),
        pytest.param("/nothing", 404, "NotFound", id="no such path"),
    ],
)
def test_what_can_not_be_answered_gets_a_status(api: APIServer, path: str, status: int, reason: str) -> None:
    response = ask(api, path)
    assert (response.status, response.json["code"], response.json["reason"]) == (status, status, reason)


def test_an_older_server_knows_no_streaming_lists(tmp_path: Path) -> None:
    with APIServer(tmp_path, streaming_lists=False) as api:
        response = ask(api, f"{SERVICES}?{STREAMING}")
    assert response.status == 422
    assert "WatchList feature gate" in response.json["message"]


def test_a_watch_goes_on_from_a_version(api: APIServer) -> None:
    version = api.put(service("a"))
    api.put(service("b"))
    api.delete("services", "b", "prod")
    with streaming(api, f"{SERVICES}?watch=1&resourceVersion={version}") as response:
        assert next_event(response) == ("ADDED", "b", version + 1)
        assert next_event(response) == ("DELETED", "b", version + 2)
        api.put(service("a", changed="yes"))
        assert next_event(response) == ("MODIFIED", "a", version + 3)


def test_a_watch_sees_objects_enter_and_leave_its_selection(api: APIServer) -> None:
    api.put(pod("one", "Running"), pod("done", "Succeeded"))
    with streaming(api, f"{PODS}?{STREAMING}&{NOT_DONE}") as response:
        assert next_event(response)[:2] == ("ADDED", "one")
        assert next_event(response)[0] == "BOOKMARK"
        version = api.put(pod("one", "Failed"))
        assert next_event(response) == ("DELETED", "one", version)
        version = api.put(pod("done", "Running"))
        assert next_event(response) == ("ADDED", "done", version)


def test_bookmarks_come_to_who_allows_them(api: APIServer) -> None:
    with streaming(api, f"{SERVICES}?watch=1&resourceVersion={api.version}&allowWatchBookmarks=true") as response:
        version = api.put(pod("other", "Running"))
        while next_event(response) != ("BOOKMARK", "", version):
            pass
    assert ask(api, f"{SERVICES}?watch=1&resourceVersion={api.version}&timeoutSeconds=1").body == b""


def test_a_connection_serves_one_request_after_another(api: APIServer) -> None:
    connection = connect(api)
    for path in (f"{SERVICES}?watch=1&resourceVersion={api.version}&timeoutSeconds=1", SERVICES, PODS):
        connection.request("GET", path, headers={"Authorization": f"Bearer {api.token}"})
        with connection.getresponse() as response:
            assert response.status == 200
            response.read()
    connection.close()


def test_long_lists_are_compressed_for_who_takes_that(api: APIServer) -> None:
    api.put(*(service(f"s{n}") for n in range(2000)))
    assert ask(api, SERVICES, headers={"Accept-Encoding": "gzip"}).headers["content-encoding"] == "gzip"
    assert "content-encoding" not in ask(api, SERVICES).headers


def test_an_administrator_writes(api: APIServer) -> None:
    everywhere = "/api/v1/namespaces/prod/services"

    def write(method: str, path: str, body: object, kind: str = "application/json") -> int:
        headers = {"Content-Type": kind}
        return ask(api, path, method, body=body, token=api.admin_token, headers=headers).status

    assert write("POST", everywhere, service("web")) == 404  # there is no such Namespace yet
    assert write("POST", "/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": "prod"}}) == 201
    assert write("POST", everywhere, service("web")) == 201
    assert write("POST", everywhere, service("web")) == 409
    patch = {"metadata": {"labels": {"a": "b"}}}
    assert write("PATCH", f"{everywhere}/web", patch, "application/merge-patch+json") == 200
    assert write("PATCH", f"{everywhere}/web", patch, "application/apply-patch+yaml") == 415
    web = ask(api, f"{everywhere}/web", token=api.admin_token).json
    assert web["metadata"]["labels"] == {"a": "b"}
    assert web["spec"]["type"] == "ClusterIP"
    before = api.version
    assert write("PUT", f"{everywhere}/web", web) == 200
    assert api.version == before  # nothing has changed
    web["metadata"]["labels"]["a"] = "c"
    assert write("PUT", f"{everywhere}/web", web) == 200
    assert write("PUT", f"{everywhere}/web", web) == 409  # the version is the one before
    assert write("DELETE", "/api/v1/namespaces/prod", None) == 200
    assert names(api, SERVICES) == []
    assert ask(api, everywhere, "POST", body=service("web")).status == 403


def test_requests_are_counted_and_kept(api: APIServer) -> None:
    ask(api, f"{SERVICES}?limit=500", headers={"User-Agent": "test"})
    ask(api, f"{SERVICES}?watch=true&resourceVersion=1")
    ask(api, PODS, token="wrong")  # noqa: S106
    assert (api.count("list", "services"), api.count("watch", "services"), api.count("list")) == (1, 1, 2)
    (request,) = api.requests("list", "services")
    assert (request.query, request.headers["user-agent"], request.status) == ({"limit": "500"}, "test", 200)
    assert [request.status for request in api.requests("list", "pods")] == [401]
    with streaming(api, f"{PODS}?watch=1&resourceVersion={api.version}"):
        api.wait_for_watches("pods")
        assert [request.status for request in api.requests("watch", "pods")] == [200]


def test_tokens_change_while_it_runs(api: APIServer, tmp_path: Path) -> None:
    mounted = api.service_account(tmp_path / "mounted")
    old = (mounted / "token").read_text()
    api.rotate_token()
    api.service_account(mounted)
    assert ask(api, SERVICES, token=old).status == 401
    assert ask(api, SERVICES, token=(mounted / "token").read_text()).status == 200
    both = api.token
    api.rotate_token(keep_old=True)
    assert ask(api, SERVICES, token=both).status == 200


def test_the_authority_changes_while_it_runs(api: APIServer, tmp_path: Path) -> None:
    mounted = api.service_account(tmp_path / "mounted")
    old = ssl.create_default_context(cafile=str(mounted / "ca.crt"))
    api.rotate_ca()
    connection = connect(api)
    connection.connect()
    connection.close()
    stale = connect(api)
    stale._context = old  # type: ignore[attr-defined]  # noqa: SLF001
    with pytest.raises(ssl.SSLCertVerificationError):
        stale.connect()
    stale.close()


def test_a_kubeconfig_names_server_authority_and_token(api: APIServer, tmp_path: Path) -> None:
    value = yaml.safe_load(api.kubeconfig(tmp_path / "config").read_text())
    assert value["clusters"][0]["cluster"] == {"server": api.url, "certificate-authority": str(api.ca_file)}
    assert value["users"][0]["user"] == {"token": api.token}


def test_a_large_cluster_costs_little_to_serve(api: APIServer, tmp_path: Path) -> None:
    endpoints = [{"addresses": [f"10.128.0.{n}"], "conditions": {"ready": True}} for n in range(18)]
    items = [
        {"kind": "EndpointSlice", "metadata": {"name": f"s-{n}", "namespace": f"ns-{n % 100}"}, "endpoints": endpoints}
        for n in range(8_200)
    ]
    path = tmp_path / "cluster.json"
    path.write_bytes(msgspec.json.encode({"kind": "List", "items": items}))
    api.load(path)
    before = api.cpu
    assert len(names(api, "/apis/discovery.k8s.io/v1/endpointslices")) == 8_200
    assert api.cpu - before < 0.5


def test_the_process_goes_with_its_test(tmp_path: Path) -> None:
    code = f"""\
import os, pathlib
from tests.fakes.apiserver import APIServer
api = APIServer(pathlib.Path({str(tmp_path)!r})).__enter__()
print(api.port, flush=True)
os._exit(0)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True, capture_output=True, timeout=20
    )
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", int(run.stdout))):
                return
        time.sleep(0.05)
    pytest.fail("the API server still listens")
