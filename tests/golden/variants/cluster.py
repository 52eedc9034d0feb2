"""A cluster made to be hard: every shape that the API lets in, by hand, and some at random from a fixed seed."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Object = dict[str, Any]

SERIALS = itertools.count()  # no two slices have one name
LONG = "l" + "0123456789" * 6 + "-z"  # 63 octets, as long as a label can be
NAMESPACES = ("default", "shop", "svc", "quiet", LONG)
OWN_ADDRESS = "198.18.0.53"  # the server's own, as tests.golden.serve says
CHAIN = 12  # aliases, one more than may be followed
CONDITIONS: Sequence[Object | None] = (
    {"ready": True},
    {"ready": False},
    {"ready": None},
    {},
    None,
    {"ready": False, "serving": True, "terminating": True},
    {"ready": True, "serving": False},
)
PORTS: Sequence[Object] = (
    {"name": "http", "port": 80, "protocol": "TCP"},
    {"name": "dns", "port": 53, "protocol": "UDP"},
    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    {"name": "assoc", "port": 9999, "protocol": "SCTP"},
)
SLICE_PORTS: Sequence[Object] = (
    *PORTS,
    {"name": None, "port": 7, "protocol": "TCP"},
    {"name": "any", "port": None, "protocol": "TCP"},
)


def namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def service(name: str, ips: Sequence[str], ports: Sequence[Object] = (), *, within: str = "default") -> Object:
    spec = {"type": "ClusterIP", "clusterIP": ips[0], "clusterIPs": list(ips), "ports": list(ports)}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": within}, "spec": spec}


def external(name: str, target: str) -> Object:
    spec = {"type": "ExternalName", "externalName": target}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def endpoint(*addresses: str, hostname: str = "", pod: str = "", conditions: Object | None = None) -> Object:
    made: Object = {"addresses": list(addresses), "conditions": conditions}
    if hostname:
        made["hostname"] = hostname
    if pod:
        made["targetRef"] = {"kind": "Pod", "name": pod}
    return made


def pieces(
    name: str, endpoints: Sequence[Object], ports: Sequence[Object] | None = PORTS[:1], *, within: str = "default"
) -> Iterator[Object]:
    """Yield a slice for each family among the endpoints, labelled with the Service's name."""
    for family in ("IPv4", "IPv6"):
        of_family = [one for one in endpoints if (":" in one["addresses"][0]) == (family == "IPv6")]
        labels = {"kubernetes.io/service-name": name} if name else None
        metadata = {"name": f"{name[:40]}-{next(SERIALS)}", "namespace": within, "labels": labels}
        if of_family:
            yield {
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
                "addressType": family, "endpoints": of_family, "ports": None if ports is None else list(ports),
            }  # fmt: skip


def pod(name: str, ip: str | None, *, within: str = "default", phase: str = "Running", **metadata: str) -> Object:
    status = {"phase": phase, "podIP": ip} if ip else {"phase": phase}
    named = {"name": name, "namespace": within, **metadata}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": named, "status": status}


def by_hand() -> Iterator[Object]:
    yield from map(namespace, NAMESPACES)
    yield service("web", ["10.96.0.20"], PORTS)
    yield from pieces("web", [endpoint("10.1.0.20", pod="web-a"), endpoint("10.1.0.21", pod="p" * 64)], SLICE_PORTS)
    yield service("web", ["10.96.1.20"], PORTS[:1], within="shop")
    yield service("dual", ["10.96.0.30", "fd00:96::30"], PORTS[:2])
    yield service("no-ports", ["10.96.0.31"])
    yield service("no-endpoints", ["10.96.0.32"], PORTS[:1])
    yield service("pod", ["10.96.0.33"], PORTS[:1], within="svc")
    yield service(LONG, ["10.96.0.34"], PORTS[:1], within=LONG)
    yield from pieces(LONG, [endpoint("10.1.0.34", hostname=LONG)], within=LONG)
    yield service("states", ["None"], PORTS[:1])
    states = [endpoint(f"10.1.1.{at}", conditions=one) for at, one in enumerate(CONDITIONS)]
    yield from pieces("states", states)
    yield service("none-ready", ["None"], PORTS[:1])
    yield from pieces("none-ready", [endpoint("10.1.2.1", conditions={"ready": False})])
    yield service("no-slices", ["None"], PORTS[:1])
    yield service("port-less", ["None"])
    yield from pieces("port-less", [endpoint("10.1.2.2"), endpoint("10.1.2.3", hostname="named")], None)
    yield from pieces("port-less", [endpoint("10.1.2.4")], PORTS[:2])
    yield service("names", ["None"], PORTS[:1], within="shop")
    named = [endpoint("10.1.3.1", "10.1.3.2", hostname="twin"), endpoint("fd00:1::3", hostname="twin")]
    odd = [endpoint("fd00:1:2::"), endpoint("::ffff:10.1.3.9"), endpoint("10.1.3.4", pod=LONG)]
    yield from pieces("names", [*named, *odd], SLICE_PORTS, within="shop")
    yield from pieces("names", [endpoint("10.1.3.4", pod=LONG)], PORTS[1:3], within="shop")  # there once more
    yield from pieces("absent", [endpoint("10.1.4.1")])
    yield from pieces("", [endpoint("10.1.4.2")])
    yield from aliases()
    yield from pods()


def aliases() -> Iterator[Object]:
    zone = "svc.cluster.local"
    yield external("outside", "api.example.com")
    yield external("with-dot", "api.example.com.")
    yield external("to-service", f"web.default.{zone}")
    yield external("to-both", f"dual.default.{zone}.")
    yield external("to-headless", f"names.shop.{zone}")
    yield external("to-endpoint", f"twin.names.shop.{zone}")
    yield external("to-port", f"_http._tcp.web.default.{zone}")
    yield external("to-pod", "10-1-0-20.default.pod.cluster.local")
    yield external("to-outside", f"outside.default.{zone}")
    yield external("to-nothing", f"nothing.default.{zone}")
    yield external("to-hidden", f"web.shop.{zone}")
    yield external("to-itself", f"to-itself.default.{zone}")
    yield external("below-itself", f"a.below-itself.default.{zone}")
    yield external("loop-a", f"loop-b.default.{zone}")
    yield external("loop-b", f"loop-a.default.{zone}")
    yield external("to-ip", "192.0.2.77")
    yield external("to-ip6", "fd00::77")
    for at in range(CHAIN):
        yield external(f"chain-{at}", f"chain-{at + 1}.default.{zone}" if at + 1 < CHAIN else f"web.default.{zone}")


def pods() -> Iterator[Object]:
    yield pod("web-a", "10.1.0.20")
    yield pod("host-a", "192.168.5.1", within="shop")
    yield pod("host-b", "192.168.5.1")
    yield pod("six", "fd00:1:2::7")
    yield pod("starting", None)
    yield pod("over", "10.1.0.90", phase="Succeeded")
    yield pod("going", "10.1.0.91", deletionTimestamp="2026-01-01T00:00:00Z")


def in_front() -> Iterator[Object]:
    """Yield the Services, one of each kind, that the server itself stands behind."""
    yield service("kube-dns", ["10.96.0.10", "fd00:96::10"], PORTS[1:3])
    yield from pieces("kube-dns", [endpoint(OWN_ADDRESS), endpoint("10.1.0.11")], PORTS[1:3])
    yield service("dns-nodes", ["None"], PORTS[1:2])
    yield from pieces("dns-nodes", [endpoint(OWN_ADDRESS, hostname="node-a"), endpoint("10.1.0.11")], PORTS[1:2])


def at_random(seed: int, services: int = 40) -> Iterator[Object]:
    """Yield Services of both kinds with slices that overlap in addresses, hosts and ports."""
    chosen = random.Random(seed)
    for number in range(services):
        name, within = f"r{number}", chosen.choice(("default", "shop"))
        addresses = [f"10.97.0.{number}", f"fd00:97::{number:x}" if number else "fd00:97::"]
        ips = ["None"] if number % 2 else addresses[: chosen.randint(1, 2)]
        yield service(name, ips, chosen.sample(PORTS, chosen.randint(0, 4)), within=within)
        for _ in range(chosen.randint(0, 3)):
            hosts = chosen.sample(range(16), chosen.randint(0, 8))
            endpoints = [_endpoint(number, host, chosen) for host in hosts]
            yield from pieces(name, endpoints, chosen.sample(SLICE_PORTS, chosen.randint(0, 3)), within=within)


def _endpoint(number: int, host: int, chosen: random.Random) -> Object:
    """Return an endpoint whose name follows from its address, so that an address has one name in a Service."""
    address = f"10.2.{number}.{host}" if host % 3 else f"fd00:2:a{number:x}::{host + 1:x}"
    return endpoint(
        address, hostname=f"host-{host // 2}" if host % 2 else "", pod=f"pod-{host}" if host % 4 == 0 else "",
        conditions=chosen.choice(CONDITIONS),
    )  # fmt: skip
