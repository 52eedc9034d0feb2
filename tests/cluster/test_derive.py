from __future__ import annotations

from typing import Any

import pytest

from kubedns.cluster.derive import Candidates, candidate_of, derive_slices, rule_of
from kubedns.cluster.objects import NO_PORTS, Port, read_message
from kubedns.cluster.schema import PodMessage, ServiceMessage

HTTP = {"name": "http", "port": 80, "targetPort": 8080}


def service(**spec: Any) -> ServiceMessage:
    raw = {"metadata": {"name": "web", "namespace": "d"}, "spec": {"selector": {"app": "web"}, "ports": [HTTP], **spec}}
    message = read_message("Service", raw)
    assert isinstance(message, ServiceMessage)
    return message


def pod(name: str, *ips: str, ready: str | None = "True", **more: Any) -> PodMessage:
    status: dict[str, Any] = {"podIP": ips[0] if ips else None, "podIPs": [{"ip": ip} for ip in ips]}
    if ready is not None:
        status["conditions"] = [{"type": "Ready", "status": ready}]
    metadata = {"name": name, "namespace": "d", "labels": {"app": "web", "x": "y"}, **more.pop("metadata", {})}
    raw = {"metadata": metadata, "spec": more.pop("spec", None), "status": {**status, **more}}
    message = read_message("Pod", raw)
    assert isinstance(message, PodMessage)
    return message


def derived(message: ServiceMessage, *pods: PodMessage) -> list[tuple[tuple[Port, ...], list[tuple[str, str, str]]]]:
    rule, candidates = rule_of(message), Candidates()
    for one in pods:
        candidate = candidate_of(one)
        if candidate is not None:
            candidates.add(candidate)
    slices = [] if rule is None else derive_slices(rule, candidates)
    assert all((one.namespace, one.service) == ("d", "web") for one in slices)
    assert len({one.name for one in slices}) == len(slices)
    return [(one.ports, [(end.text, end.hostname, end.target) for end in one.endpoints]) for one in slices]


PORTS = (Port("http", 8080, "TCP"),)
NAMED = {"containers": [{"ports": [{"name": "web", "containerPort": 9000}]}]}
SIDECAR = {"initContainers": [{"restartPolicy": "Always", "ports": [{"name": "web", "containerPort": 9001}]}]}


@pytest.mark.parametrize(
    ("message", "pods", "expected"),
    [
        pytest.param(service(), [pod("a", "10.0.0.1")], [(PORTS, [("10.0.0.1", "", "a")])], id="ready"),
        pytest.param(service(), [pod("a", "10.0.0.1", ready="False")], [], id="not ready"),
        pytest.param(
            service(), [pod("a", "10.0.0.1", ready=None)], [(PORTS, [("10.0.0.1", "", "a")])], id="written by hand"
        ),
        pytest.param(
            service(publishNotReadyAddresses=True),
            [pod("a", "10.0.0.1", ready="False")],
            [(PORTS, [("10.0.0.1", "", "a")])],
            id="published though not ready",
        ),
        pytest.param(
            service(),
            [pod("a", "10.0.0.1", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})],
            [],
            id="terminating",
        ),
        pytest.param(service(), [pod("a", "10.0.0.1", phase="Succeeded")], [], id="succeeded"),
        pytest.param(service(), [pod("a")], [], id="no address yet"),
        pytest.param(service(), [pod("a", "10.0.0.1", metadata={"labels": {"app": "db"}})], [], id="other label"),
        pytest.param(service(), [pod("a", "10.0.0.1", metadata={"namespace": "e"})], [], id="other namespace"),
        pytest.param(service(selector=None), [pod("a", "10.0.0.1")], [], id="no selector"),
        pytest.param(service(type="ExternalName"), [pod("a", "10.0.0.1")], [], id="external name"),
        pytest.param(
            service(clusterIPs=["10.96.0.1"]),
            [pod("a", "10.0.0.1", "fd00::1")],
            [(PORTS, [("10.0.0.1", "", "a")])],
            id="family of the cluster IP",
        ),
        pytest.param(
            service(clusterIP="None", ipFamilies=["IPv4", "IPv6"]),
            [pod("a", "10.0.0.1", "fd00::1")],
            [(PORTS, [("10.0.0.1", "", "a")]), (PORTS, [("fd00::1", "", "a")])],
            id="both families",
        ),
        pytest.param(
            service(clusterIP="None"),
            [pod("a", "10.0.0.1", spec={"hostname": "db-0", "subdomain": "web"})],
            [(PORTS, [("10.0.0.1", "db-0", "a")])],
            id="hostname",
        ),
        pytest.param(
            service(),
            [pod("a", "10.0.0.1", spec={"hostname": "db-0", "subdomain": "other"})],
            [(PORTS, [("10.0.0.1", "", "a")])],
            id="hostname of another subdomain",
        ),
        pytest.param(
            service(ports=[{"name": "http", "port": 80, "targetPort": "web"}]),
            [pod("a", "10.0.0.1", spec=NAMED), pod("b", "10.0.0.2", spec=SIDECAR), pod("c", "10.0.0.3")],
            [
                (NO_PORTS, [("10.0.0.3", "", "c")]),
                ((Port("http", 9000, "TCP"),), [("10.0.0.1", "", "a")]),
                ((Port("http", 9001, "TCP"),), [("10.0.0.2", "", "b")]),
            ],
            id="named target port",
        ),
        pytest.param(
            service(ports=[{"port": 80, "protocol": "UDP"}]),
            [pod("a", "10.0.0.1")],
            [((Port("", 80, "UDP"),), [("10.0.0.1", "", "a")])],
            id="no target port",
        ),
        pytest.param(service(ports=None), [pod("a", "10.0.0.1")], [(NO_PORTS, [("10.0.0.1", "", "a")])], id="no ports"),
    ],
)
def test_derived_slices(message: ServiceMessage, pods: list[PodMessage], expected: Any) -> None:
    assert derived(message, *pods) == expected
