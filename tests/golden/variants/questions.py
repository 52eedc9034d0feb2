"""What to ask of a cluster: every name that its objects make, and names beside them, for each type."""

from __future__ import annotations

import ipaddress
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TYPES = ("A", "AAAA", "SRV")
ALL_TYPES = (*TYPES, "CNAME", "TXT", "MX", "PTR", "NS", "SOA", "HTTPS", "CAA", "ANY")
PORTS = ("_http._tcp", "_dns._udp", "http.TCP", "_._tcp", "_._", "_any._", "_http._udp", "_none._tcp", "_assoc._sctp")
PODS = (
    "10-1-0-20", "10-1-0-90", "10-1-0-91", "192-168-5-1", "fd00-1-2--7", "fd00-1-2-0-0-0-0-7", "1-2-3", "300-1-1-1",
    "1-2-3-4-", "--", "--1", "01-2-3-4", "2001-db8--1", "none", "x.10-1-0-20", "x.y.10-1-0-20", "x.y.z.10-1-0-20",
)  # fmt: skip
APEXES = ("cluster.local.", "in-addr.arpa.", "ip6.arpa.")
OTHERS = (
    "svc.cluster.local.", "pod.cluster.local.", "Ns.Dns.cluster.local.", "dns.cluster.local.",
    "none.cluster.local.", "dns-version.cluster.local.", "ns.dns.in-addr.arpa.", "5.10.in-addr.arpa.",
    "01.2.3.4.in-addr.arpa.", "example.com.",
    "web.default.svc.in-addr.arpa.", "1.0.0.2.ip6.arpa.", "a.b.c.web.default.svc.cluster.local.",
)  # fmt: skip


def questions(objects: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return names and types, each once."""
    return list(dict.fromkeys(_questions(list(objects))))


def _questions(objects: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    yield from product((*APEXES, *OTHERS), ALL_TYPES)
    namespaces = [one["metadata"]["name"] for one in objects if one["kind"] == "Namespace"]
    for namespace in (*namespaces, "absent"):
        yield from product((f"{namespace}.svc.cluster.local.", f"{namespace}.pod.cluster.local."), ALL_TYPES)
        yield from product((f"{pod}.{namespace}.pod.cluster.local." for pod in PODS), TYPES)
    addresses = set()
    for one in objects:
        namespace = one["metadata"].get("namespace")
        if one["kind"] == "Service":
            name = f"{one['metadata']['name']}.{namespace}.svc.cluster.local."
            yield from product((name, name.capitalize(), f"none.{name}"), ALL_TYPES)
            yield from product((f"{port}.{name}" for port in PORTS), TYPES)
            addresses |= set(one["spec"].get("clusterIPs", ())) - {"None"}
        if one["kind"] == "EndpointSlice":
            name = f"{(one['metadata']['labels'] or {}).get('kubernetes.io/service-name', 'none')}.{namespace}"
            labels = {label for each in one["endpoints"] for label in _labels(each)}
            yield from product((f"{label}.{name}.svc.cluster.local." for label in sorted(labels)), TYPES)
            addresses |= {address for each in one["endpoints"] for address in each["addresses"]}
    # What the address of a mapped one reverses to is another address's name.
    reversed_names = (ipaddress.ip_address(text).reverse_pointer + "." for text in addresses if "ffff" not in text)
    yield from product(sorted(reversed_names), ("PTR", "A", "SOA"))


def _labels(endpoint: dict[str, Any]) -> Iterator[str]:
    """Yield every label that an endpoint could have."""
    yield endpoint.get("hostname", "none")
    yield endpoint.get("targetRef", {}).get("name", "none")[:63]
    for address in endpoint["addresses"]:
        dashed = address.replace(".", "-").replace(":", "-")
        yield from (dashed, f"{dashed}0")
