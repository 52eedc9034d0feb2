"""Whatever happens, and in whatever order: afterwards the index holds what the API server holds."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubedns.cluster.addresses import pack_address
from kubedns.cluster.index import Index
from kubedns.cluster.selfcheck import check
from tests.cluster.following import (
    FAST,
    PLURALS,
    contents,
    endpoint_slice,
    following,
    held_of,
    namespace,
    pod,
    run,
    service,
)
from tests.fakes.apiserver import APIServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.cluster.following import Followed, Raw

NAMES = st.sampled_from(["a", "b", "c", "d"])
WHERE = st.sampled_from(["default", "other"])
OCTETS = st.integers(1, 6)
QUICK = replace(FAST, silence=0.3, connect=0.2, answer=0.3, list_silence=0.3, initial_silence=0.2, short=0.02, page=3)


@st.composite
def objects(draw: st.DrawFn) -> Raw:
    name, where = draw(NAMES), draw(WHERE)
    match draw(st.sampled_from(list(PLURALS))):
        case "Namespace":
            return namespace(name)
        case "Service":
            return service(name, draw(st.sampled_from(["None", "10.96.0.1", "10.96.0.2", "fd00::1"])), where)
        case "Pod":
            return pod(name, f"10.1.0.{draw(OCTETS)}", where)
    addresses = [f"10.1.0.{octet}" for octet in draw(st.lists(OCTETS, max_size=3))]
    return endpoint_slice(f"{name}-x", draw(st.sampled_from(["", "a", "b"])), *addresses, where=where)


FAILURES = st.sampled_from(
    [
        ("end_watches", ("*", "end")),
        ("end_watches", ("*", "line")),
        ("end_watches", ("services", "chunk")),
        ("end_watches", ("pods", "reset")),
        ("end_watches", ("*", "close")),
        ("compact", ()),
        ("restart", ()),
        ("inject", ("services", b"{")),
        ("inject", ("endpointslices", b'{"type":"ERROR","object":{"kind":"Status","code":410}}')),
        ("inject", ("namespaces", b'{"type":"ADDED","object":{"metadata":{"name":7}}}')),
        ("fail", ("status", 500)),
        ("fail", ("status", 410)),
        ("fail", ("status", 422)),
        ("fail", ("close", 0)),
        ("fail", ("cut_chunk", 0)),
    ]
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), objects(), st.sampled_from([1, 1, 1, 2])),
        st.tuples(st.just("delete"), objects(), st.just(1)),
        st.tuples(st.just("break"), FAILURES, st.just(1)),
        st.tuples(st.just("wait"), st.just(None), st.integers(0, 40)),
    ),
    min_size=5,
    max_size=30,
)


@pytest.fixture(scope="module", params=[True, False], ids=["streaming", "paging"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[APIServer]:
    folder = tmp_path_factory.mktemp("api")
    with APIServer(folder, bookmark_every=0.1, streaming_lists=request.param) as api:
        api.kubeconfig(folder / "kubeconfig")
        yield api


def key_of(value: Raw) -> tuple[str, str, str]:
    metadata = value["metadata"]
    return PLURALS[value["kind"]], metadata["name"], metadata.get("namespace", "")


async def take(api: APIServer, model: dict[tuple[str, str, str], Raw], step: tuple[str, Any, int]) -> None:
    match step:
        case ("put", dict() as value, announce):
            model[key_of(value)] = value
            api.put(value, announce=announce)
        case ("delete", dict() as value, _):
            if model.pop(key_of(value), {}):
                api.delete(*key_of(value))
        case ("break", ("fail", ("status", code)), _):
            api.fail("status", code=code, count=3)
        case ("break", ("fail", (mode, _)), _):
            api.fail(mode, count=3)
        case ("break", (name, arguments), _):
            getattr(api, name)(*arguments)
        case ("wait", None, milliseconds):
            await asyncio.sleep(milliseconds / 1000)


def built_afresh(index: Index) -> Index:
    fresh = Index(time.time)
    for value in contents(index):
        fresh.upsert(value)
    return fresh


def look_ups(index: Index) -> list[object]:
    """Return what plugins can find in an index."""
    texts = [f"10.1.0.{octet}" for octet in range(8)] + ["10.96.0.1", "10.96.0.2", "fd00::1"]
    packed = [octets for text in texts if (octets := pack_address(text))]
    found: list[object] = [sorted(index.namespaces)]
    found += [list(index.services_by_ip(octets)) for octets in packed]
    found += [list(index.endpoints_by_ip(octets)) for octets in packed]
    found += [list(index.pods_by_ip(text)) for text in texts]
    found += [index.slices(where, name) for where in ("default", "other") for name in "abcd"]
    found += [index.service(where, name) for where in ("default", "other") for name in "abcd"]
    return found


def start_over(api: APIServer) -> Path:
    api.heal()
    for plural in PLURALS.values():
        api.clear(plural)
    return api.folder / "kubeconfig"


@given(before=st.lists(objects(), max_size=12), steps=STEPS)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_an_index_after_anything_is_one_built_afresh(
    api: APIServer, before: list[Raw], steps: list[tuple[str, Any, int]]
) -> None:
    async def scenario() -> None:
        kubeconfig = start_over(api)
        model = {key_of(value): value for value in before}
        if before:
            api.put(*model.values())
        async with following(kubeconfig, QUICK, synced=False) as followed:
            for step in steps:
                await take(api, model, step)
            api.heal()
            await followed.until_holds(model.values())
            assert look_ups(followed.index) == look_ups(built_afresh(followed.index))
            await followed.until(lambda: followed.index.synced)

    run(scenario())


@given(before=st.lists(objects(), max_size=12), missed=st.lists(objects(), min_size=1, max_size=6))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_self_check_finds_every_event_that_was_lost(api: APIServer, before: list[Raw], missed: list[Raw]) -> None:
    async def scenario() -> None:
        kubeconfig = start_over(api)
        model = {key_of(value): value for value in before}
        if before:
            api.put(*model.values())
        async with following(kubeconfig, QUICK) as followed:
            await followed.until(lambda: all(one.statistics.watching for one in followed.source.reflectors))
            held = contents(followed.index)
            for place, value in enumerate(missed):
                if place % 3 == 2 and model.pop(key_of(value), {}):
                    api.delete(*key_of(value), announce=0)
                else:
                    model[key_of(value)] = value
                    api.put(value, announce=0)
            repaired = await check_all(followed)
            assert contents(followed.index) == held_of(model.values())
            assert repaired == len(keys(held ^ contents(followed.index)))

    run(scenario())


def keys(values: Iterable[object]) -> set[object]:
    return {(type(value), getattr(value, "namespace", ""), getattr(value, "name", "")) for value in values}


async def check_all(followed: Followed) -> int:
    return sum([await check(one, followed.index, 0.0) for one in followed.source.reflectors])
