from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubedns.cluster.index import MOST_ADDRESS_TOKENS, SHARED_TOKENS, Index
from kubedns.cluster.objects import Endpoint, EndpointSlice, Namespace, Object, Pod, Port, Service, kind_of_object

if TYPE_CHECKING:
    from kubedns.cluster.objects import Kind
    from kubedns.tokens import Token

A, B, C = (bytes([10, 0, 0, last]) for last in (1, 2, 3))
WEB = Service("default", "web", cluster_ips=("10.0.0.1",))
WEB_SLICE = EndpointSlice("default", "web-x", "web", (Port("http", 80, "TCP"),), (Endpoint(B, "b"), Endpoint(C)))


class Clock:
    def __init__(self) -> None:
        self.time = 100.9

    def __call__(self) -> float:
        return self.time


def index_of(*objects: Object, zones_count: bool = False) -> tuple[Index, Clock]:
    clock = Clock()
    index = Index(clock, zones_count=zones_count)
    for value in objects:
        index.upsert(value)
    return index, clock


def test_look_ups() -> None:
    index, _ = index_of(
        Namespace("default"), WEB, WEB_SLICE, Pod("default", "p", "10.0.0.2"), Pod("a", "q", "10.0.0.2")
    )
    assert index.has_namespace("default")
    assert list(index.namespaces) == ["default"]
    assert index.service("default", "web") is WEB
    assert index.service("default", "Web") is None
    assert index.slices("default", "web") == (WEB_SLICE,)
    assert index.slices("default", "nope") == ()
    assert list(index.services_by_ip(A)) == [WEB]
    assert list(index.endpoints_by_ip(B)) == [(WEB_SLICE, Endpoint(B, "b"))]
    assert list(index.endpoints_by_ip(A)) == []
    assert index.pod("default", "10.0.0.2") == Pod("default", "p", "10.0.0.2")
    assert index.pod("prod", "10.0.0.2") is None
    assert [pod.name for pod in index.pods_by_ip("10.0.0.2")] == ["q", "p"]


def test_an_address_in_several_slices_and_twice_in_one() -> None:
    first = EndpointSlice("default", "one", "one", endpoints=(Endpoint(A, "x"), Endpoint(A, "y")))
    second = EndpointSlice("default", "two", "two", endpoints=(Endpoint(A),))
    index, _ = index_of(second, first)
    assert list(index.endpoints_by_ip(A)) == [
        (first, Endpoint(A, "x")),
        (first, Endpoint(A, "y")),
        (second, Endpoint(A)),
    ]
    index.remove("EndpointSlice", "default", "one")
    assert list(index.endpoints_by_ip(A)) == [(second, Endpoint(A))]
    index.remove("EndpointSlice", "default", "two")
    assert list(index.endpoints_by_ip(A)) == []


def test_the_same_cluster_ip_twice_gives_both_by_name() -> None:
    other = Service("default", "a", cluster_ips=("::ffff:10.0.0.1",))
    index, _ = index_of(WEB, other)
    assert list(index.services_by_ip(A)) == [other, WEB]
    index.remove("Service", "default", "a")
    assert list(index.services_by_ip(A)) == [WEB]


def test_a_slice_without_a_service_is_counted_and_kept_out() -> None:
    index, _ = index_of(WEB_SLICE)
    index.upsert(EndpointSlice("default", "web-x", "", endpoints=WEB_SLICE.endpoints))
    assert index.slices_without_service == 1
    assert index.slices("default", "web") == ()
    assert list(index.endpoints_by_ip(B)) == []


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        pytest.param(None, WEB, True, id="service added"),
        pytest.param(WEB, None, True, id="service deleted"),
        pytest.param(WEB, WEB, False, id="service unchanged"),
        pytest.param(WEB, Service("default", "web", cluster_ips=("10.0.0.2",)), False, id="cluster IP"),
        pytest.param(WEB, Service("default", "web", external_ips=("192.0.2.1",)), False, id="external IP"),
        pytest.param(WEB, Service("default", "web", external_name="a"), True, id="external name"),
        pytest.param(WEB, Service("default", "web", ports=(Port("", 80, ""),)), True, id="service ports"),
        pytest.param(None, WEB_SLICE, True, id="slice added"),
        pytest.param(WEB_SLICE, None, True, id="slice deleted"),
        pytest.param(
            EndpointSlice("d", "s", "s", endpoints=(Endpoint(A),)),
            EndpointSlice("d", "s", "s", endpoints=(Endpoint(A, target="p"),)),
            False,
            id="target name",
        ),
        pytest.param(
            EndpointSlice("d", "s", "s", endpoints=(Endpoint(A),)),
            EndpointSlice("d", "s", "s", endpoints=(Endpoint(A, zone="z"),)),
            False,
            id="zone",
        ),
        pytest.param(
            EndpointSlice("d", "s", "s", endpoints=(Endpoint(A),)),
            EndpointSlice("d", "s", "s", endpoints=(Endpoint(A, "h"),)),
            True,
            id="hostname",
        ),
        pytest.param(
            EndpointSlice("d", "s", "s"), EndpointSlice("d", "s", "s", (Port("", 1, ""),)), True, id="slice ports"
        ),
        pytest.param(Pod("d", "p", "10.0.0.1"), Pod("d", "p", "10.0.0.2"), True, id="pod IP"),
        pytest.param(Pod("d", "p", "10.0.0.1"), None, True, id="pod deleted"),
        pytest.param(None, Namespace("d"), False, id="namespace added"),
        pytest.param(Namespace("d"), None, False, id="namespace deleted"),
    ],
)
def test_serial(before: Object | None, after: Object | None, counts: bool) -> None:
    index, clock = index_of(*([before] if before is not None else []))
    clock.time, serial = 200.5, index.serial.value
    if after is not None:
        index.upsert(after)
    elif before is not None:
        index.remove(kind_of_object(before), before.namespace, before.name)
    assert index.serial.value == (200 if counts else serial)


def test_zones_count_where_asked() -> None:
    index, clock = index_of(EndpointSlice("d", "s", "s", endpoints=(Endpoint(A),)), zones_count=True)
    clock.time = 200
    index.upsert(EndpointSlice("d", "s", "s", endpoints=(Endpoint(A, zone="z"),)))
    assert index.serial.value == 200


def test_serial_is_0_before_any_change() -> None:
    assert index_of()[0].serial.value == 0
    assert index_of(Namespace("default"))[0].serial.value == 0


def test_what_strangers_ask_for_makes_nothing_grow() -> None:
    index, _ = index_of(WEB)
    absent = [index.service_token("default", f"nope-{number}") for number in range(3 * SHARED_TOKENS)]
    absent += [index.address_token(number.to_bytes(4, "big")) for number in range(3 * SHARED_TOKENS)]
    absent += [index.pods_token(f"10.0.{number >> 8}.{number & 255}") for number in range(SHARED_TOKENS)]
    assert len(set(absent)) <= SHARED_TOKENS
    assert index.service_token("default", "web") not in absent
    assert index.service_token("default", "web") is index.service_token("default", "web")


def test_tokens_of_addresses_have_a_bound() -> None:
    octets = [number.to_bytes(4, "big") for number in range(MOST_ADDRESS_TOKENS + 1)]
    index, _ = index_of(WEB, EndpointSlice("default", "web-x", "web", WEB_SLICE.ports, tuple(map(Endpoint, octets))))
    own = [index.address_token(one) for one in octets[:-1]]
    last = index.address_token(octets[-1])
    assert len(set(own)) == MOST_ADDRESS_TOKENS
    assert last not in own
    assert len(index._address_tokens) == MOST_ADDRESS_TOKENS  # noqa: SLF001 - its bound is the point
    index.remove("EndpointSlice", "default", "web-x")
    assert last.stale


def test_what_is_not_there_changes_when_it_comes_and_not_whenever_something_does() -> None:
    index, _ = index_of(Namespace("default"), WEB)
    asked = [index.service_token("default", "new"), index.address_token(C), index.pods_token("10.0.0.7")]
    for number in range(20):
        index.upsert(Service("other", f"s{number}"))
    spared = sum(not token.stale for token in asked)
    index.upsert(Service("default", "new", cluster_ips=("10.0.0.3",)))
    index.upsert(Pod("default", "p", "10.0.0.7"))
    assert spared  # each of 20 hashes is one of those once in SHARED_TOKENS
    assert all(token.stale for token in asked)


def test_of_a_slice_s_endpoints_those_that_stay_as_they_are_are_not_touched() -> None:
    stays, goes = Endpoint(A, "h"), Endpoint(B)
    index, _ = index_of(WEB, EndpointSlice("default", "web-x", "web", endpoints=(stays, goes)))
    kept, gone = index.address_token(A), index.address_token(B)
    index.upsert(EndpointSlice("default", "web-x", "web", endpoints=(stays,)))
    assert (kept.stale, gone.stale) == (False, True)
    twice = (stays, Endpoint(A, "i"))
    for endpoints in (twice, twice[::-1]):
        index.upsert(EndpointSlice("default", "web-x", "web", endpoints=endpoints))
        assert kept.stale
        kept = index.address_token(A)
    index.upsert(EndpointSlice("default", "web-x", "other", endpoints=twice[::-1]))
    assert kept.stale


def test_a_namespace_is_a_change_of_all_that_is_not_there() -> None:
    index, _ = index_of(WEB)
    asked = [index.service_token("late", "web"), index.address_token(C), index.namespaces_token()]
    index.upsert(Service("default", "other"))
    assert not asked[-1].stale
    index.upsert(Namespace("late"))
    assert all(token.stale for token in asked)


def test_tokens_flip_for_what_changed_and_nothing_else() -> None:
    index, _ = index_of(Namespace("default"), WEB, WEB_SLICE, Service("prod", "db", cluster_ips=("10.0.0.9",)))
    web, db = index.service_token("default", "web"), index.service_token("prod", "db")
    cluster_ip, pod_ip, everything = index.address_token(A), index.address_token(B), index.token()
    index.upsert(WEB_SLICE)
    index.upsert(Service("default", "web", cluster_ips=("10.0.0.1",)))
    assert not everything.stale
    index.upsert(EndpointSlice("default", "web-x", "web", WEB_SLICE.ports, (Endpoint(B, "other"),)))
    assert (web.stale, pod_ip.stale, everything.stale) == (True, True, True)
    assert (db.stale, cluster_ip.stale) == (False, False)
    web = index.service_token("default", "web")
    index.remove("Namespace", "", "default")
    assert (web.stale, cluster_ip.stale, db.stale) == (True, True, False)


def test_replace_all_drops_what_is_gone() -> None:
    index, _ = index_of(WEB, Service("default", "old"), WEB_SLICE)
    token = index.service_token("default", "web")
    index.replace_all(
        "Service", iter([Service("default", "web", cluster_ips=("10.0.0.1",)), Service("default", "new")])
    )
    assert not token.stale
    assert index.keys("Service") == [("default", "web"), ("default", "new")]
    assert index.slices("default", "web") == (WEB_SLICE,)


NAMES = st.sampled_from(["a", "b"])
OCTETS = st.sampled_from([A, B, C])
TEXTS = st.sampled_from(["10.0.0.1", "10.0.0.2", "::ffff:10.0.0.3", "None"])
ENDPOINTS = st.builds(Endpoint, OCTETS | st.just("db.example"), st.sampled_from(["", "h"]))
VALUES: st.SearchStrategy[Object] = st.one_of(
    st.builds(Namespace, NAMES),
    st.builds(Service, NAMES, NAMES, cluster_ips=st.lists(TEXTS, max_size=2).map(tuple)),
    st.builds(
        EndpointSlice,
        NAMES,
        NAMES,
        st.sampled_from(["a", "b", ""]),
        endpoints=st.lists(ENDPOINTS, max_size=3).map(tuple),
    ),
    st.builds(Pod, NAMES, NAMES, TEXTS | st.just("")),
)
KINDS: st.SearchStrategy[Kind] = st.sampled_from(["Namespace", "Service", "EndpointSlice", "Pod"])
STEPS = st.one_of(
    st.tuples(st.just("upsert"), VALUES),
    st.tuples(st.just("remove"), KINDS, NAMES, NAMES),
    st.tuples(st.just("replace_all"), KINDS, st.lists(VALUES, max_size=4)),
)


def views(index: Index) -> dict[Any, Any]:
    """Every look-up there can be, under the arguments of the token that stands for it."""
    found: dict[Any, Any] = {}
    for namespace in "ab":
        for name in "ab":
            seen = index.service(namespace, name), tuple(index.slices(namespace, name)), index.has_namespace(namespace)
            found["service", namespace, name] = seen
        for text in ("10.0.0.1", "10.0.0.2", "None"):
            found["pod", namespace, text] = index.pod(namespace, text), index.has_namespace(namespace)
    for octets in (A, B, C):
        services = list(index.services_by_ip(octets))
        endpoints = [
            (held.namespace, held.name, held.service, endpoint) for held, endpoint in index.endpoints_by_ip(octets)
        ]
        users = [one.namespace for one in services] + [namespace for namespace, *_ in endpoints]
        found["address", octets] = services, endpoints, [index.has_namespace(name) for name in users]
    found["namespaces",] = sorted(index.namespaces)
    return found


def tokens(index: Index) -> dict[Any, Token]:
    given: dict[Any, Token] = {}
    for key in views(index):
        match key:
            case ("service", namespace, name):
                given[key] = index.service_token(namespace, name)
            case ("address", octets):
                given[key] = index.address_token(octets)
            case ("pod", _, text):
                given[key] = index.pods_token(text)
            case ("namespaces",):
                given[key] = index.namespaces_token()
    return given


def take(index: Index, step: tuple[Any, ...]) -> None:
    match step:
        case ("upsert", value):
            index.upsert(value)
        case ("remove", kind, namespace, name):
            index.remove(kind, "" if kind == "Namespace" else namespace, name)
        case ("replace_all", kind, values):
            index.replace_all(kind, [value for value in values if kind_of_object(value) == kind])


@settings(max_examples=150)
@given(st.lists(STEPS, max_size=12))
def test_any_changes_equal_an_index_built_afresh_and_flip_what_they_touch(steps: list[tuple[Any, ...]]) -> None:
    index, _ = index_of()
    held: dict[tuple[Kind, str, str], Object] = {}
    for step in steps:
        before, given_before, everything = views(index), tokens(index), index.token()
        take(index, step)
        after = views(index)
        for key, token in given_before.items():
            assert token.stale or before[key] == after[key]
        assert everything.stale or before == after
        match step:
            case ("upsert", value):
                held[kind_of_object(value), value.namespace, value.name] = value
            case ("remove", kind, namespace, name):
                held.pop((kind, "" if kind == "Namespace" else namespace, name), None)
            case ("replace_all", kind, values):
                held = {key: value for key, value in held.items() if key[0] != kind}
                kept = [value for value in values if kind_of_object(value) == kind]
                held.update({(kind, value.namespace, value.name): value for value in kept})
    assert views(index) == views(index_of(*held.values())[0])
    assert len(index._service_tokens) <= len(index.keys("Service"))  # noqa: SLF001 - its bound is the point
    assert all(map(index.has_address, index._address_tokens))  # noqa: SLF001
