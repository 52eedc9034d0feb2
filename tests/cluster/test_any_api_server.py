"""What holds at any API server: the tests' own, and that of KUBECONFIG where the environment has it.

All is written through the Kubernetes API, into a namespace that is made for the test and deleted after it.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubedns.cluster.backoff import Timings
from kubedns.cluster.reading import Filters
from kubedns.cluster.selfcheck import check
from tests.cluster.following import contents, endpoint_slice, following, held_of, pod, run, service
from tests.cluster.test_apiserver_process import NOERROR, NXDOMAIN, until_rcode
from tests.cluster.writing import Writer
from tests.end_to_end.client import addresses
from tests.end_to_end.server import Ports, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubedns.cluster.objects import Object
    from tests.cluster.following import Followed, Raw
    from tests.fakes.apiserver import APIServer

REAL = os.environ.get("KUBECONFIG", "")
# Watches that end all the time; the rest as it is at a cluster that others use, too.
RESTLESS = replace(Timings(), watch=(1, 2), short=0.1)
COREFILE = """.:{port} {{
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        startup_timeout 10s
    }}
    loadbalance
}}
"""
SERVERS = ["the tests' own", *([pytest.param("KUBECONFIG", id="KUBECONFIG")] if REAL else [])]


@pytest.fixture(params=SERVERS)
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Writer]:
    if request.param == "KUBECONFIG":
        path = Path(REAL)
    else:
        api: APIServer = request.getfixturevalue("api")
        path = api.kubeconfig(tmp_path / "admin", admin=True)
    with Writer(path) as writer:
        yield writer


def without_address(name: str, **spec: object) -> Raw:
    """Return a Service whose address the API server is to choose."""
    value = service(name)
    value["spec"] = {"ports": value["spec"]["ports"], **spec}
    return value


def inside(followed: Followed, writer: Writer) -> set[Object]:
    """Return what is held of the test's namespace."""
    return {value for value in contents(followed.index) if value.namespace == writer.namespace}


async def until_inside(followed: Followed, writer: Writer, objects: list[Raw]) -> None:
    await followed.until(lambda: inside(followed, writer) == held_of(objects))


def test_objects_come_change_and_go(writer: Writer) -> None:
    async def scenario() -> None:
        before = writer.create(without_address("before"))
        async with following(writer.kubeconfig, RESTLESS) as followed:
            assert followed.index.has_namespace(writer.namespace)
            await until_inside(followed, writer, [before])
            db = writer.create(without_address("db", clusterIP="None"))
            ends = writer.create(endpoint_slice("db-x", "db", "10.1.0.1", "10.1.0.2"))
            alias = writer.create(without_address("alias", type="ExternalName", externalName="example.com"))
            await until_inside(followed, writer, [before, db, ends, alias])
            other = endpoint_slice("db-x", "db", "10.1.0.3")
            ends = writer.replace(ends, endpoints=other["endpoints"])
            await until_inside(followed, writer, [before, db, ends, alias])
            writer.delete(ends)
            writer.delete(before)
            await until_inside(followed, writer, [db, alias])

    run(scenario())


def test_pods_are_watched_while_they_run(writer: Writer) -> None:
    async def scenario() -> None:
        async with following(writer.kubeconfig, RESTLESS) as followed:
            value = pod("p", "10.1.0.9")
            value["spec"] = {"containers": [{"name": "c", "image": "none"}], "schedulerName": "nobody"}
            stored = writer.create(value)
            await followed.until(lambda: followed.index.pod(writer.namespace, "10.1.0.9"))
            writer.delete(stored)
            await followed.until(lambda: followed.index.pod(writer.namespace, "10.1.0.9") is None)

    run(scenario())


def test_nothing_is_missed_while_watches_end_all_the_time(writer: Writer) -> None:
    async def scenario() -> None:
        async with following(writer.kubeconfig, RESTLESS, Filters()) as followed:
            stored = [writer.create(endpoint_slice(f"s{number}", f"s{number}", "10.1.0.1")) for number in range(5)]
            for turn in range(2, 40):
                for place, value in enumerate(stored):
                    ends = endpoint_slice("x", "x", f"10.1.{place}.{turn}")["endpoints"]
                    stored[place] = await asyncio.to_thread(writer.replace, value, endpoints=ends)
                await asyncio.sleep(0.05)
            await until_inside(followed, writer, stored)
            watches = [one.statistics.watches for one in followed.source.reflectors]
            assert min(watches) > 1
            assert followed.log.lines == []

    run(scenario())


def test_a_self_check_of_the_whole_cluster_finds_nothing(writer: Writer) -> None:
    async def scenario() -> None:
        for number in range(12):
            writer.create(without_address(f"s{number}"))
        async with following(writer.kubeconfig, replace(Timings(), page=5)) as followed:
            await followed.until(lambda: all(one.statistics.watching for one in followed.source.reflectors))
            for one in followed.source.reflectors:
                assert await check(one, followed.index, 2.0) == 0
                assert one.statistics.checks == 1

    run(scenario())


def test_the_server_answers_what_the_cluster_has(tmp_path: Path, writer: Writer) -> None:
    zone = f"{writer.namespace}.svc.cluster.local."
    with Ports() as ports:
        port = ports.take()
        with serving(tmp_path, COREFILE.format(port=port, kubeconfig=writer.kubeconfig)):
            until_rcode(port, f"web.{zone}", NXDOMAIN)
            web = writer.create(without_address("web"))
            until_rcode(port, f"web.{zone}", NOERROR)
            assert addresses(port, f"web.{zone}") == [web["spec"]["clusterIP"]]
            until_rcode(port, f"db.{zone}", NXDOMAIN)
            db = writer.create(without_address("db", clusterIP="None"))
            writer.create(endpoint_slice("db-x", "db", "10.1.0.1", "10.1.0.2"))
            until_rcode(port, f"db.{zone}", NOERROR)
            assert addresses(port, f"db.{zone}") == ["10.1.0.1", "10.1.0.2"]
            writer.delete(web)
            writer.delete(db)
            until_rcode(port, f"web.{zone}", NXDOMAIN)
            until_rcode(port, f"db.{zone}", NXDOMAIN)
