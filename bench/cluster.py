"""The cluster that is asked about: 8,200 Services of 18 endpoints each, what 5,000 nodes run at Kubernetes' limits.

Every fifth Service is headless. All names and addresses follow from a Service's number, so that questions can be made
without reading the cluster.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

ZONE = "cluster.local"
SERVICES = 8_200
ENDPOINTS = 18  # of each Service
NAMESPACES = 100
FIRST_ENDPOINT = IPv4Address("10.128.0.0")
FIRST_SERVICE_NETWORK = 96  # 10.96.0.0/12, as kubeadm has it
PER_THIRD_OCTET = 250
PORT = 80
ENDPOINT_PORT = 8080


def headless(number: int) -> bool:
    return number % 5 == 0


def namespace(number: int) -> str:
    """Return the namespace of a Service."""
    return f"ns-{number % NAMESPACES}"


def domain_name(number: int) -> str:
    """Return a Service's name in the DNS, without the last dot."""
    return f"svc-{number}.{namespace(number)}.svc.{ZONE}"


def cluster_ip(number: int) -> str:
    rest, last = divmod(number, PER_THIRD_OCTET)
    second, third = divmod(rest, PER_THIRD_OCTET)
    return f"10.{FIRST_SERVICE_NETWORK + second}.{third}.{last + 1}"


def endpoints(number: int) -> list[IPv4Address]:
    """Return the addresses behind a Service."""
    first = FIRST_ENDPOINT + number * ENDPOINTS
    return [first + place for place in range(ENDPOINTS)]


def objects() -> Iterator[dict[str, Any]]:
    """Yield all objects of the cluster as the API gives them."""
    for number in range(NAMESPACES):
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace(number)}}
    for number in range(SERVICES):
        yield _service(number)
        yield endpoint_slice(number)


def write_manifests(path: Path) -> None:
    """Write the cluster as one List, as `kubectl get -o json` prints it."""
    path.write_text("".join(_list(objects())), encoding="ascii")


def _list(items: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield '{"apiVersion": "v1", "kind": "List", "items": [\n'
    for place, item in enumerate(items):
        yield (",\n" if place else "") + json.dumps(item)
    yield "\n]}\n"


def _service(number: int) -> dict[str, Any]:
    ip = "None" if headless(number) else cluster_ip(number)
    port = {"name": "http", "port": PORT, "protocol": "TCP", "targetPort": ENDPOINT_PORT}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"svc-{number}", "namespace": namespace(number)},
        "spec": {"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ipFamilies": ["IPv4"], "ports": [port]},
    }


def endpoint_slice(number: int) -> dict[str, Any]:
    """Return the EndpointSlice of a Service, a new object each time."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"svc-{number}-x",
            "namespace": namespace(number),
            "labels": {"kubernetes.io/service-name": f"svc-{number}"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": ENDPOINT_PORT, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [str(address)],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": f"p-{int(address)}", "namespace": namespace(number)},
            }
            for address in endpoints(number)
        ],
    }
