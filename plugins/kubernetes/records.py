"""Objects to candidates, candidates to records: what stands behind a service's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kubedns.cluster.addresses import IPV4_SIZE, pack_address
from kubedns.wire.records import RR, address, srv
from plugins.kubernetes.names import below, endpoint_name, host_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubedns.cluster.objects import Endpoint, EndpointSlice, Port, Service
    from plugins.kubernetes.names import ServiceName

NO_PORT = -1  # a Service or slice that declares no port: it has addresses, but no SRV record
WEIGHT = 100  # shared by all candidates of a name


class Candidate(NamedTuple):
    """One address behind a name, at one port; `target` is the name that an SRV record gives it, wire octets.

    `target` is None where what the API holds makes no name: no SRV record can lead there. `host` is an address's
    octets, or a name's where a slice of type FQDN holds one.
    """

    target: bytes | None
    host: bytes
    is_name: bool
    port: int


def service_candidates(service: Service, asked: ServiceName, target: bytes) -> list[Candidate] | None:
    """Return a ClusterIP service's candidates: matching ports by cluster IPs; None where no port matches."""
    ports = [port for port in service.ports if _matches(port, asked)]
    if not ports:
        return None
    packed = [octets for octets in map(pack_address, service.cluster_ips) if octets is not None]
    return [Candidate(target, octets, False, port.number) for port in ports for octets in packed]


def endpoint_candidates(
    slices: Sequence[EndpointSlice], asked: ServiceName, target: bytes, *, pod_names: bool
) -> list[Candidate] | None:
    """Return ready endpoints by matching slice ports, of one endpoint where it is asked for; None where none match.

    `target` is the service's own name, below which each endpoint has one.
    """
    found = []
    for piece in slices:
        ports = [port for port in piece.ports if _matches(port, asked)]
        if not ports:
            continue
        for endpoint in piece.endpoints:
            label = endpoint_label(endpoint, pod_names=pod_names)
            if asked.endpoint and asked.endpoint != label.lower():
                continue
            host, is_name = _host(endpoint)
            if host is not None:
                owner = below(target, label)
                found += [Candidate(owner, host, is_name, port.number) for port in ports]
    return found or None


def endpoint_label(endpoint: Endpoint, *, pod_names: bool) -> str:
    """Return an endpoint's name below its service: its hostname, its pod's name if wanted, else its dashed address."""
    if endpoint.hostname:
        return endpoint.hostname
    if pod_names and endpoint.target:
        return endpoint.target
    return dashed(endpoint.text)


def targets_at(piece: EndpointSlice, packed: bytes, primary: bytes, *, pod_names: bool) -> list[bytes | None]:
    """Return the names of a slice's endpoints with an address; most slices need no search for that."""
    if piece.plain and not pod_names and len(packed) == IPV4_SIZE:
        return [endpoint_name("{}-{}-{}-{}".format(*packed), piece.service, piece.namespace, primary)]
    labels = [endpoint_label(one, pod_names=pod_names) for one in piece.endpoints if one.address == packed]
    return [below(primary, label, piece.service, piece.namespace, "svc") for label in labels]


def dashed(text: str) -> str:
    """Return an address as a label."""
    label = text.replace(".", "-").replace(":", "-")
    return label + "0" if label.endswith("-") else label


def address_records(owner: bytes, candidates: Sequence[Candidate], size: int, ttl: int) -> list[RR]:
    """Return A (size 4) or AAAA (size 16) records at a name, each address once."""
    hosts = dict.fromkeys(one.host for one in candidates if not one.is_name and len(one.host) == size)
    return [address(owner, host, ttl) for host in hosts]


def service_records(owner: bytes, candidates: Sequence[Candidate], ttl: int) -> tuple[list[RR], list[RR]]:
    """Return SRV records and their targets' addresses, each pair once (RFC 2782).

    The weight is shared out before duplicates go: a dual-stack service with one port has one record of weight 50.
    """
    weight = max(1, WEIGHT // len(candidates)) if candidates else WEIGHT
    listed = [one for one in candidates if one.port != NO_PORT]
    targets = dict.fromkeys((one.host if one.is_name else one.target, one.port) for one in listed)
    hosts = dict.fromkeys((one.target, one.host) for one in listed if not one.is_name)
    answer = [srv(owner, target, ttl, weight=weight, port=port) for target, port in targets if target is not None]
    return answer, [address(target, host, ttl) for target, host in hosts if target is not None]


def _matches(port: Port, asked: ServiceName) -> bool:
    return (not asked.port or port.name.lower() == asked.port) and (
        not asked.protocol or port.protocol.lower() == asked.protocol
    )


def _host(endpoint: Endpoint) -> tuple[bytes | None, bool]:
    if isinstance(endpoint.address, bytes):
        return endpoint.address, False
    return host_name(endpoint.address), True
