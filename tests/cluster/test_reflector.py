from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kubedns.cluster.reading import Filters
from kubedns.cluster.selector import parse_selector
from kubedns.cluster.selfcheck import check
from tests.cluster.following import (
    CALM,
    FAST,
    contents,
    endpoint_slice,
    following,
    held_of,
    namespace,
    pod,
    run,
    service,
    some_objects,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kubedns.cluster.backoff import Timings
    from kubedns.cluster.reflector import Reflector
    from tests.cluster.following import Followed, Raw
    from tests.fakes.apiserver import APIServer

paging = pytest.mark.parametrize("api", ["paging_api"], indirect=True)
both = pytest.mark.parametrize("api", ["streaming_api", "paging_api"], indirect=True)


def reflector(followed: Followed, resource: str) -> Reflector:
    return next(one for one in followed.source.reflectors if one.resource.name == resource)


@both
def test_a_first_list_then_what_changes(api: APIServer, kubeconfig: Path) -> None:
    async def scenario() -> None:
        objects = some_objects()
        api.put(*objects)
        async with following(kubeconfig) as followed:
            assert followed.index.synced
            assert contents(followed.index) == held_of(objects)
            api.put(service("late", "10.96.7.7"))
            api.delete("services", "s3", "default")
            await followed.until_holds(
                [*(each for each in objects if each["metadata"]["name"] != "s3"), service("late", "10.96.7.7")]
            )
            assert followed.log.lines == []

    run(scenario())


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), {"namespaces": {}, "services": {}, "endpointslices": {}}),
        (Filters(noendpoints=True), {"namespaces": {}, "services": {}}),
        (
            Filters(pods=True, labels=parse_selector("app in (b, a), !old, tier=gold, x"), noendpoints=True),
            {
                "namespaces": {},
                "services": {"labelSelector": "app in (a,b),!old,tier=gold,x"},
                "pods": {
                    "labelSelector": "app in (a,b),!old,tier=gold,x",
                    "fieldSelector": "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown",
                },
            },
        ),
        (
            Filters(namespace_labels=parse_selector("team!=x"), noendpoints=True),
            {"namespaces": {"labelSelector": "team!=x"}, "services": {}},
        ),
    ],
    ids=["default", "noendpoints", "pods and labels", "namespace_labels"],
)
@both
def test_only_what_is_needed_is_asked_for(
    api: APIServer, kubeconfig: Path, filters: Filters, expected: dict[str, dict[str, str]]
) -> None:
    async def scenario() -> None:
        async with following(kubeconfig, filters=filters) as followed:
            await followed.until(lambda: api.watches() == followed.watching == len(expected))

    run(scenario())
    requests = api.requests()
    assert {request.verb for request in requests} <= {"list", "watch"}
    assert {request.resource for request in requests} == set(expected)
    for request in requests:
        selectors = {name: text for name, text in request.query.items() if name.endswith("Selector")}
        assert selectors == expected[request.resource]
        assert request.headers["user-agent"].startswith("kubedns/")
        assert request.headers["accept"] == "application/json"


@paging
def test_a_paged_list_asks_for_the_newest_and_the_watch_goes_on_from_there(api: APIServer, kubeconfig: Path) -> None:
    async def scenario() -> None:
        version = api.put(*some_objects())
        async with following(kubeconfig) as followed:
            await followed.until(lambda: api.watches() == followed.watching == 4)
        lists = api.requests("list", "services")
        assert [request.query["limit"] for request in lists] == ["7", "7", "7"]
        assert [("continue" in request.query) for request in lists] == [False, True, True]
        assert all("resourceVersion" not in request.query for request in lists)
        refused, watch = api.requests("watch", "services")
        assert refused.status == 422
        assert watch.query["resourceVersion"] == str(version)
        assert watch.query["allowWatchBookmarks"] == "true"
        assert 300 <= int(watch.query["timeoutSeconds"]) <= 600

    run(scenario())


@both
def test_a_watch_that_ends_is_resumed_from_the_last_version(api: APIServer, kubeconfig: Path) -> None:
    async def scenario() -> None:
        api.put(*some_objects(5))
        async with following(kubeconfig) as followed:
            await followed.until(lambda: api.watches() == followed.watching == 4)
            version = api.put(service("s1", "10.96.5.5"))
            await followed.until(lambda: followed.index.service("default", "s1").cluster_ips == ("10.96.5.5",))  # type: ignore[union-attr]
            await asyncio.sleep(FAST.short)
            api.forget_requests()
            api.end_watches("services")
            await followed.until(lambda: api.count("watch", "services") == 1)
            assert api.requests("watch", "services")[0].query["resourceVersion"] == str(version)
            assert api.count("list") == 0
            assert followed.log.lines == []

    run(scenario())


def test_a_bookmark_moves_the_version(api: APIServer, kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with following(kubeconfig) as followed:
            await followed.until(lambda: api.watches() == followed.watching == 4)
            version = api.put(namespace("other"))  # no event for Services
            seen = followed.source.statistics.resources["Service"].bookmarks
            api.send_bookmark("services")
            await followed.until(lambda: followed.source.statistics.resources["Service"].bookmarks > seen)
            await asyncio.sleep(FAST.short)
            api.forget_requests()
            api.end_watches("services")
            await followed.until(lambda: api.count("watch", "services") == 1)
            assert api.requests("watch", "services")[0].query["resourceVersion"] == str(version)

    run(scenario())


@paging
def test_an_expired_continue_token_starts_the_list_over(api: APIServer, kubeconfig: Path) -> None:
    async def scenario() -> None:
        objects = some_objects()
        api.put(*objects)
        api.fail("status", verb="list", resource="services", code=410, skip=1)
        async with following(kubeconfig) as followed:
            assert contents(followed.index) == held_of(objects)
        continued = [("continue" in request.query) for request in api.requests("list", "services")]
        assert continued == [False, True, False, True, True]

    run(scenario())


@both
def test_a_relist_drops_what_is_gone_and_touches_nothing_else(api: APIServer, kubeconfig: Path) -> None:
    async def scenario() -> None:
        objects = some_objects()
        api.put(*objects)
        async with following(kubeconfig) as followed:
            await followed.until(lambda: api.watches() == followed.watching == 4)
            await asyncio.sleep(FAST.relist)
            stays, goes = (followed.index.service_token("default", name) for name in ("s1", "s2"))
            kept = followed.index.service("default", "s1")
            serial = followed.index.serial.value
            api.delete("services", "s2", "default", announce=0)
            api.inject("services", api.error_event(410))
            await followed.until(lambda: goes.stale)
            assert not stays.stale
            assert followed.index.service("default", "s1") is kept
            assert followed.index.serial.value >= serial
            await followed.until(lambda: followed.source.statistics.resources["Service"].relists == 1)

    run(scenario())


@both
def test_a_self_check_sets_right_what_was_missed(api: APIServer, kubeconfig: Path) -> None:
    async def scenario() -> None:
        objects = some_objects()
        api.put(*objects)
        async with following(kubeconfig) as followed:
            await followed.until(lambda: api.watches() == followed.watching == 4)
            one = reflector(followed, "services")
            assert await check(one, followed.index, 0.0) == 0
            api.put(service("s1", "10.96.9.1"), service("missed", "10.96.9.2"), announce=0)
            api.delete("services", "s2", "default", announce=0)
            assert await check(one, followed.index, 0.05) == 3
            wanted = [each for each in objects if (each["kind"], each["metadata"]["name"]) not in GONE]
            wanted += [service("s1", "10.96.9.1"), service("missed", "10.96.9.2")]
            assert contents(followed.index) == held_of(wanted)
            assert (one.statistics.checks, one.statistics.repaired) == (2, 3)
            assert await check(one, followed.index, 0.0) == 0

    run(scenario())


GONE = {("Service", "s1"), ("Service", "s2")}


def test_what_changes_during_a_self_check_is_no_difference(api: APIServer, kubeconfig: Path) -> None:
    async def scenario() -> None:
        objects = some_objects()
        api.put(*objects)
        async with following(kubeconfig) as followed:
            await followed.until(lambda: api.watches() == followed.watching == 4)
            one = reflector(followed, "services")
            running = asyncio.create_task(check(one, followed.index, 1.0))
            while not running.done():
                api.put(service("s1", f"10.96.9.{time.monotonic_ns() % 250}"), service("s5", "10.96.0.5"))
                api.delete("services", "s3", "default")
                await asyncio.sleep(0.002)
                api.put(service("s3", "10.96.0.3"))
                await asyncio.sleep(0.002)
            assert await running == 0

    run(scenario())


def test_self_checks_come_by_themselves_and_say_what_they_found(api: APIServer, kubeconfig: Path) -> None:
    async def scenario() -> None:
        api.put(*some_objects(3))
        async with following(kubeconfig, replace(CALM, check=0.2, settle=0.02)) as followed:
            await followed.until(lambda: api.watches() == followed.watching == 4)
            api.put(namespace("missed"), announce=0)
            await followed.until(lambda: followed.index.has_namespace("missed"))
            await followed.until(lambda: followed.log.lines)
            text = "WARNING self-check: 1 namespaces differed from the API server's and were set right"
            assert followed.log.lines == [text]

    run(scenario())


@pytest.mark.parametrize(
    ("breaks", "line", "timings"),
    [
        (lambda api: api.refuse(), "connection refused", CALM),
        (lambda api: api.fail("status", code=503, count=None), "(503)", CALM),
        (lambda api: api.fail("close", count=None), "Server disconnected", CALM),
        (lambda api: api.fail("silence", count=None), "no reply within 0.6 s", replace(CALM, answer=0.6)),
        (lambda api: api.fail("html", code=502, count=None), "a reply that is not the API's (502)", CALM),
        (lambda api: api.fail("mute", verb="watch", count=None), "", replace(CALM, silence=0.8)),
    ],
    ids=["refused", "503", "close", "silence", "html", "mute"],
)
def test_a_line_for_a_change_of_state_and_few_requests(
    api: APIServer, kubeconfig: Path, breaks: Callable[[APIServer], None], line: str, timings: Timings
) -> None:
    async def scenario() -> None:
        objects = some_objects(3)
        api.put(*objects)
        async with following(kubeconfig, timings) as followed:
            await followed.until(lambda: api.watches() == followed.watching == 4)
            await asyncio.sleep(FAST.short)
            breaks(api)
            if line != "connection refused":
                api.end_watches(how="reset")
            api.forget_requests()
            await asyncio.sleep(1.2)
            # Back-offs of 20 to 200 ms allow each resource a dozen tries, and aiohttp makes two requests of some.
            assert api.count() <= 100
            assert contents(followed.index) == held_of(objects)
            errors = [text for text in followed.log.lines if text.startswith("ERROR")]
            assert len(errors) <= 4
            if line == "connection refused":
                api.listen()
            api.heal()
            assert [text for text in errors if line not in text] == []
            await followed.until(lambda: api.watches() == followed.watching == 4)
            if errors:
                await followed.until(lambda: any("watching services again" in text for text in followed.log.lines))

    run(scenario())


@pytest.mark.parametrize(("api", "verb"), [("streaming_api", "watch"), ("paging_api", "list")], indirect=["api"])
def test_forbidden_names_what_is_missing(api: APIServer, kubeconfig: Path, verb: str) -> None:
    async def scenario() -> None:
        api.put(*some_objects(3))
        api.fail("status", verb=verb, resource="endpointslices", code=403, count=None)
        async with following(kubeconfig, synced=False) as followed:
            await followed.until(lambda: followed.log.lines)
            assert followed.log.lines[0] == (
                "ERROR Failed to watch endpointslices: endpointslices.discovery.k8s.io is forbidden: User "
                f'"system:serviceaccount:kube-system:coredns" cannot {verb} resource "endpointslices" in API group '
                '"discovery.k8s.io" at the cluster scope (403); both list and watch of endpointslices are needed: '
                "add to the ClusterRole's rules: "
                '- {apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"]}; '
                "what is known stays in service"
            )
            await asyncio.sleep(0.3)
            assert len(followed.log.lines) == 1
            assert not followed.index.synced
            assert followed.index.service("default", "s1") is not None
            api.heal()
            await followed.until(lambda: followed.index.synced)

    run(scenario())


def test_an_api_server_that_is_not_there_yet(api: APIServer, kubeconfig: Path) -> None:
    async def scenario() -> None:
        api.put(*some_objects(3))
        api.refuse()
        async with following(kubeconfig, synced=False) as followed:
            await asyncio.sleep(0.3)
            assert not followed.index.synced
            api.listen()
            await followed.until(lambda: followed.index.synced)
            assert len([line for line in followed.log.lines if line.startswith("ERROR")]) == 1

    run(scenario())


def test_a_server_that_is_frozen(api: APIServer, kubeconfig: Path) -> None:
    async def scenario() -> None:
        objects = some_objects(3)
        api.put(*objects)
        async with following(kubeconfig, FAST) as followed:
            await followed.until(lambda: api.watches() == followed.watching == 4)
            api.pause()
            await asyncio.sleep(FAST.silence + FAST.connect)
            assert contents(followed.index) == held_of(objects)
            api.resume()
            api.put(service("late", "10.96.1.1"))
            await followed.until_holds([*objects, service("late", "10.96.1.1")])

    run(scenario())


ODD: list[tuple[str, Raw]] = [
    ("no labels", {**endpoint_slice("odd", "", "10.1.1.1"), "metadata": {"name": "odd", "namespace": "default"}}),
    ("null endpoints", {**endpoint_slice("odd", "web"), "endpoints": None}),
    ("no ports", {**endpoint_slice("odd", "web", "10.1.1.1"), "ports": None}),
    (
        "null conditions",
        {**endpoint_slice("odd", "web"), "endpoints": [{"addresses": ["10.1.1.1"], "conditions": None}]},
    ),
    ("an IPv4-mapped address", endpoint_slice("odd", "web", "::ffff:10.1.1.1")),
    ("duplicate addresses", endpoint_slice("odd", "web", "10.1.1.1", "10.1.1.1")),
    ("an FQDN", {**endpoint_slice("odd", "web", "a.example.com"), "addressType": "FQDN"}),
    ("a name of 63 octets", service("x" * 63, "10.96.1.1")),
    ("a headless Service", service("odd", "None")),
    ("an ExternalName", {**service("odd"), "spec": {"type": "ExternalName", "externalName": "a.example.com"}}),
    ("no spec", {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "odd", "namespace": "default"}}),
    ("a Pod without address", {**pod("odd", ""), "status": {"phase": "Pending"}}),
]


@pytest.mark.parametrize("value", [value for _, value in ODD], ids=[name for name, _ in ODD])
def test_odd_objects(api: APIServer, kubeconfig: Path, value: Raw) -> None:
    async def scenario() -> None:
        async with following(kubeconfig) as followed:
            api.put(value)
            await followed.until_holds([value])
            name = value["metadata"]["name"]
            api.put(service(name, "10.96.3.3"), endpoint_slice(name, "web", "10.1.3.3"), pod(name, "10.1.3.3"))
            await followed.until(lambda: len(contents(followed.index)) == 3)
            assert followed.log.lines == []
            assert followed.source.statistics.resources["Service"].failures == 0

    run(scenario())


def test_an_unusable_object_is_counted_and_logged_once_and_the_old_one_stays(api: APIServer, kubeconfig: Path) -> None:
    async def scenario() -> None:
        api.put(service("web", "10.96.1.1"))
        async with following(kubeconfig) as followed:
            before = followed.index.service("default", "web")
            for _ in range(3):
                api.put(service("web", "10.96.1.1", ports="none"))
            await followed.until(lambda: followed.source.statistics.resources["Service"].unusable == 3)
            assert followed.index.service("default", "web") is before
            assert len(followed.log.lines) == 1
            assert "Service default/web" in followed.log.lines[0]

    run(scenario())


def test_a_pod_that_is_ending_is_known_until_it_is_deleted(api: APIServer, kubeconfig: Path) -> None:
    async def scenario() -> None:
        ending = {"deletionTimestamp": "2026-11-23T07:31:51Z"}
        api.put(pod("a", "10.1.1.1"), pod("new", "10.1.1.2", **ending))
        async with following(kubeconfig) as followed:
            assert followed.index.pod("default", "10.1.1.2") is None
            api.put(pod("a", "10.1.1.1", **ending), namespace("seen"))
            api.put(pod("b", "10.1.1.3"))
            await followed.until(lambda: followed.index.pod("default", "10.1.1.3"))
            assert followed.index.pod("default", "10.1.1.1") is not None
            api.delete("pods", "a", "default")
            await followed.until(lambda: followed.index.pod("default", "10.1.1.1") is None)

    run(scenario())


def test_events_that_come_twice(api: APIServer, kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with following(kubeconfig) as followed:
            api.put(service("web", "10.96.1.1"), announce=2)
            await followed.until_holds([service("web", "10.96.1.1")])
            api.delete("services", "web", "default", announce=2)
            await followed.until_holds([])
            assert followed.source.statistics.resources["Service"].failures == 0

    run(scenario())


def test_programming_durations(api: APIServer, kubeconfig: Path) -> None:
    def slice_changed(name: str, of: str, text: str) -> Raw:
        notes = {"endpoints.kubernetes.io/last-change-trigger-time": text}
        return endpoint_slice(name, of, "10.1.1.1", annotations=notes)

    async def scenario() -> None:
        ago = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 100))
        api.put(service("web", "10.96.1.1"), service("db", "None"), slice_changed("listed", "web", ago))
        async with following(kubeconfig) as followed:
            api.put(slice_changed("a", "web", ago), slice_changed("b", "web", ago), slice_changed("c", "db", ago))
            api.put(slice_changed("d", "nobody", ago), slice_changed("e", "web", "yesterday"))
            await followed.until(lambda: len(contents(followed.index)) == 8)
            measured = followed.source.statistics.programming
            assert sum(measured["cluster_ip"].counts) == 2
            assert sum(measured["headless_with_selector"].counts) == 1
            assert 190 <= measured["cluster_ip"].sum <= 250
            assert len(followed.log.lines) == 1

    run(scenario())


def test_statistics(api: APIServer, kubeconfig: Path) -> None:
    async def scenario() -> None:
        api.put(*some_objects(3))
        async with following(kubeconfig) as followed:
            await followed.until(lambda: api.watches() == followed.watching == 4)
            statistics = followed.source.statistics
            services = statistics.resources["Service"]
            assert statistics.host == f"127.0.0.1:{api.port}"
            assert statistics.requests["200", "GET"] >= 4
            assert services.lists == 1
            assert services.watching
            before = services.heard
            await followed.until(lambda: services.heard > before, patience=2)  # a bookmark

    run(scenario())


def test_changes_leave_nothing_to_the_garbage_collector(api: APIServer, kubeconfig: Path) -> None:
    """It hardly ever looks at what is older than a moment (server.lifecycle)."""

    async def scenario() -> None:
        changes = 300
        async with following(kubeconfig) as followed:
            await followed.until(lambda: api.watches() == followed.watching == 4)
            values = [endpoint_slice("web-x", "web", f"10.1.{n >> 8}.{n & 255}", "10.2.0.1") for n in range(changes)]
            api.put(service("web"), values[0])
            await followed.until_holds([service("web"), values[0]])
            gc.collect()
            gc.disable()
            try:
                api.put(*values[1:])
                await followed.until_holds([service("web"), values[-1]])
                assert followed.source.statistics.resources["EndpointSlice"].events >= changes
                assert gc.collect() < changes // 10
            finally:
                gc.enable()

    run(scenario())
