from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedns.cluster.addresses import address_text, pack_address
from kubedns.cluster.objects import (
    NO_PORTS,
    Endpoint,
    EndpointSlice,
    Namespace,
    Object,
    ObjectError,
    Pod,
    Port,
    Service,
    decode,
)

if TYPE_CHECKING:
    from kubedns.cluster.objects import Kind

META = {"name": "web", "namespace": "default"}
SLICE_META = {**META, "name": "web-x", "labels": {"kubernetes.io/service-name": "web"}}


def slice_of(*endpoints: Any) -> dict[str, Any]:
    return {"metadata": SLICE_META, "endpoints": list(endpoints)}


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        pytest.param("Namespace", {"metadata": {"name": "prod"}}, Namespace("prod"), id="namespace"),
        pytest.param("Service", {"metadata": META}, Service("default", "web"), id="bare service"),
        pytest.param(
            "Service",
            {
                "metadata": META,
                "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}, {"name": None, "port": None}]},
            },
            Service("default", "web", cluster_ips=("10.0.0.1",), ports=(Port("", 80, ""), Port("", -1, ""))),
            id="clusterIP, null port",
        ),
        pytest.param(
            "Service",
            {
                "metadata": META,
                "spec": {"type": "LoadBalancer", "clusterIPs": ["10.0.0.1", "fd00::1"], "externalIPs": ["192.0.2.1"]},
                "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}, {"hostname": "lb.example"}, None]}},
            },
            Service(
                "default",
                "web",
                "LoadBalancer",
                ("10.0.0.1", "fd00::1"),
                external_ips=("192.0.2.1", "192.0.2.2", "lb.example"),
            ),
            id="load balancer",
        ),
        pytest.param(
            "Service",
            {"metadata": META, "spec": {"type": "ExternalName", "externalName": "a.example", "clusterIP": ""}},
            Service("default", "web", "ExternalName", (), "a.example"),
            id="external name",
        ),
        pytest.param(
            "EndpointSlice",
            slice_of(
                {"addresses": ["10.0.0.1"], "conditions": {"ready": True}, "hostname": "a", "zone": "z1"},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": False, "serving": True}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": None}, "targetRef": {"name": "p" * 63}},
                {"addresses": ["10.0.0.4"], "conditions": None, "targetRef": {"name": "p" * 64}},
                {"addresses": ["FD00:0::5", "::ffff:10.0.0.6", "db.example", "::1.2.3.4"]},
            ),
            EndpointSlice(
                "default",
                "web-x",
                "web",
                NO_PORTS,
                (
                    Endpoint(b"\x0a\0\0\1", "a", zone="z1"),
                    Endpoint(b"\x0a\0\0\3", target="p" * 63),
                    Endpoint(b"\x0a\0\0\4"),
                    Endpoint(b"\xfd" + bytes(14) + b"\5", spelling="FD00:0::5"),
                    Endpoint(b"\x0a\0\0\6", spelling="::ffff:10.0.0.6"),
                    Endpoint("db.example"),
                    Endpoint(bytes(12) + b"\1\2\3\4", spelling="::1.2.3.4"),
                ),
            ),
            id="slice: readiness, spelling, names",
        ),
        pytest.param(
            "EndpointSlice", {"metadata": META}, EndpointSlice("default", "web", ""), id="slice without a service"
        ),
        pytest.param(
            "Pod",
            {"metadata": META, "status": {"podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.8"}], "phase": "Running"}},
            Pod("default", "web", "10.0.0.9"),
            id="pod",
        ),
        pytest.param("Pod", {"metadata": {**META, "deletionTimestamp": "now"}}, None, id="pod that is ending"),
        pytest.param("Pod", {"metadata": META, "status": {"phase": "Failed"}}, None, id="pod that failed"),
    ],
)
def test_decode(kind: Kind, raw: dict[str, Any], expected: Object | None) -> None:
    assert decode(kind, raw) == expected
    assert decode(kind, json.dumps(raw).encode()) == expected


@pytest.mark.parametrize(
    ("kind", "raw", "error"),
    [
        pytest.param("Service", None, "Service: ", id="nothing"),
        pytest.param("Service", [], "Service: ", id="a list"),
        pytest.param("Service", {}, "Service: metadata.name is missing", id="no metadata"),
        pytest.param("Service", {"metadata": {"name": 5}}, "Service: ", id="a number for a name"),
        pytest.param("Service", {"metadata": META, "spec": "x"}, "Service default/web: ", id="text for a spec"),
        pytest.param(
            "Service",
            {"metadata": META, "spec": {"ports": [{"port": "80"}]}},
            "$.spec.ports[0].port",
            id="port as text",
        ),
        pytest.param("Service", {"metadata": META, "spec": {"ports": [{"port": 65536}]}}, "65535", id="high port"),
        pytest.param("Service", {"metadata": META, "spec": {"ports": [{"port": 10**40}]}}, "", id="huge port"),
        pytest.param("EndpointSlice", slice_of({"addresses": "10.0.0.1"}), "addresses", id="text for addresses"),
        pytest.param("EndpointSlice", slice_of({"conditions": {"ready": "yes"}}), "ready", id="text for a condition"),
        pytest.param("Pod", {"metadata": META, "status": {"podIP": 10}}, "podIP", id="number for an address"),
    ],
)
def test_unusable(kind: Kind, raw: Any, error: str) -> None:
    with pytest.raises(ObjectError) as raised:
        decode(kind, raw)
    assert error in str(raised.value)


def test_targets_can_be_left_out() -> None:
    raw = slice_of({"addresses": ["10.0.0.1"], "targetRef": {"name": "web-0"}})
    held = decode("EndpointSlice", raw, targets=False)
    assert isinstance(held, EndpointSlice)
    assert held.endpoints == (Endpoint(b"\x0a\0\0\1"),)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["ports", "ip", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["metadata", "spec", "status", "endpoints", "ports", "addresses", "conditions", "ready", "name"]
)
OBJECTS = st.dictionaries(FIELDS, st.dictionaries(FIELDS, JSON, max_size=3) | st.lists(JSON, max_size=2) | JSON)


@given(kind=st.sampled_from(["Namespace", "Service", "EndpointSlice", "Pod"]), raw=OBJECTS, named=st.booleans())
def test_anything_gives_an_object_or_an_object_error(kind: Kind, raw: dict[str, Any], named: bool) -> None:
    if named:
        raw = {**raw, "metadata": META}
    try:
        decode(kind, raw)
    except ObjectError as error:
        assert str(error).startswith(kind)  # noqa: PT017 - either outcome will do


@pytest.mark.parametrize(
    "text", ["", "10.0.0", "010.0.0.1", "1.2.3.4.5", "fe80::1%eth0", "::1::", "\0", "é", "\ud800", "None", "10.0.0.1/8"]
)
def test_what_is_no_address(text: str) -> None:
    assert pack_address(text) is None


@given(st.ip_addresses())
def test_address_text_is_canonical(address: Any) -> None:
    octets = pack_address(str(address))
    assert octets is not None
    if len(octets) == 16 or address.version == 4:
        assert address_text(octets) == address.compressed
    assert pack_address(address_text(octets)) == octets
