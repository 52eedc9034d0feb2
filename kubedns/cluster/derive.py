"""EndpointSlices of Services that have a selector, made from Pods as the endpointslice controller makes them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from kubedns.cluster.addresses import pack_address
from kubedns.cluster.objects import (
    HEADLESS,
    LONGEST_TARGET,
    NO_PORTS,
    Endpoint,
    EndpointSlice,
    Port,
    endpoint,
    labels_of,
    shared_ports,
    texts,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kubedns.cluster.schema import PodMessage, PodSpec, ServiceMessage

FAMILY_OF_LENGTH = {4: "IPv4", 16: "IPv6"}  # octets of an address
_OVER = frozenset({"Succeeded", "Failed"})  # phases whose pods the controller passes over


@dataclass(frozen=True, slots=True)
class RulePort:
    """`target` is a number, or the name of a container's port."""

    name: str
    protocol: str
    target: int | str


@dataclass(frozen=True, slots=True)
class Rule:
    """What of a Service decides its endpoints; without `families`, addresses of every family."""

    namespace: str
    service: str
    selector: tuple[tuple[str, str], ...]
    families: tuple[str, ...]
    ports: tuple[RulePort, ...]
    publish_not_ready: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """What of a Pod may make it an endpoint; `ports` are its containers'."""

    namespace: str
    name: str
    labels: tuple[tuple[str, str], ...]
    addresses: tuple[str, ...]
    ready: bool
    hostname: str
    subdomain: str
    ports: tuple[Port, ...]


def rule_of(message: ServiceMessage) -> Rule | None:
    """Return what decides a Service's endpoints, None where it has no selector or is an ExternalName."""
    spec, metadata = message.spec, message.metadata
    if spec is None or metadata is None or not spec.selector or spec.type == "ExternalName":
        return None
    families = tuple(family for family in spec.ipFamilies or () if family)
    if not families:
        packed = [pack_address(text) for text in spec.clusterIPs or [spec.clusterIP] if text and text != HEADLESS]
        families = tuple(FAMILY_OF_LENGTH[len(octets)] for octets in packed if octets)
    ports = tuple(
        RulePort(port.name or "", port.protocol or "TCP", port.targetPort or port.port or 0)
        for port in spec.ports or ()
        if port
    )
    selector = tuple(sorted(texts(spec.selector).items()))
    publish = bool(spec.publishNotReadyAddresses)
    return Rule(metadata.namespace or "", metadata.name or "", selector, families, ports, publish)


def candidate_of(message: PodMessage) -> Candidate | None:
    """Return what may make a Pod an endpoint, None where it has no address or has run its course.

    A Pod without status conditions but with an address was written by hand, and is meant to be ready.
    """
    metadata, spec, status = message.metadata, message.spec, message.status
    if metadata is None or status is None or status.phase in _OVER:
        return None
    listed = (one.ip for one in status.podIPs or () if one)
    addresses = tuple(dict.fromkeys(text for text in (status.podIP, *listed) if text))
    if not addresses:
        return None
    conditions = {one.type: one.status for one in status.conditions or () if one}
    ready = metadata.deletionTimestamp is None and (not conditions or conditions.get("Ready") == "True")
    hostname, subdomain = (spec.hostname or "", spec.subdomain or "") if spec else ("", "")
    return Candidate(
        metadata.namespace or "",
        metadata.name or "",
        _shared_labels(tuple(sorted(labels_of(message).items()))),
        addresses,
        ready,
        hostname,
        subdomain,
        _container_ports(spec),
    )


def _container_ports(spec: PodSpec | None) -> tuple[Port, ...]:
    """Return the named ports of containers, and of init containers that keep running (sidecars)."""
    if spec is None:
        return ()
    sidecars = [one for one in spec.initContainers or () if one and one.restartPolicy == "Always"]
    containers = [*(spec.containers or ()), *sidecars]
    ports = [port for one in containers if one for port in one.ports or () if port and port.name and port.containerPort]
    return shared_ports(tuple(Port(port.name or "", port.containerPort or 0, port.protocol or "TCP") for port in ports))


@lru_cache(maxsize=4096)
def _shared_labels(labels: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return one tuple for all that are equal: the pods of a Deployment have the same labels."""
    return labels


class Candidates:
    """Pods by namespace and label, so that a Service need not look at each of them."""

    def __init__(self) -> None:
        self._all: dict[str, list[Candidate]] = defaultdict(list)
        self._labelled: dict[tuple[str, str, str], list[Candidate]] = defaultdict(list)

    def add(self, pod: Candidate) -> None:
        self._all[pod.namespace].append(pod)
        for key, value in pod.labels:
            self._labelled[pod.namespace, key, value].append(pod)

    def selected_by(self, rule: Rule) -> Iterable[Candidate]:
        """Yield the Pods that have all labels of the selector."""
        fewest: Sequence[Candidate] = self._all.get(rule.namespace, ())
        for key, value in rule.selector:
            labelled = self._labelled.get((rule.namespace, key, value), ())
            if len(labelled) < len(fewest):
                fewest = labelled
        wanted = set(rule.selector)
        return (pod for pod in fewest if wanted.issubset(pod.labels))


def derive_slices(rule: Rule, pods: Candidates, *, targets: bool = True) -> list[EndpointSlice]:
    """Return a Service's slices: one for each address family and each set of ports that its pods turn out to have."""
    grouped: dict[tuple[str, tuple[Port, ...]], list[Endpoint]] = defaultdict(list)
    for pod in pods.selected_by(rule):
        if not (pod.ready or rule.publish_not_ready):
            continue
        ports = _ports(rule, pod)
        hostname = pod.hostname if pod.subdomain == rule.service else ""
        served: set[str] = set()
        for text in pod.addresses:
            octets = pack_address(text)
            family = FAMILY_OF_LENGTH[len(octets)] if octets else ""
            # The controller takes a pod's first address of each family.
            if not octets or family in served or (rule.families and family not in rule.families):
                continue
            served.add(family)
            target = pod.name if targets and len(pod.name) <= LONGEST_TARGET else ""
            grouped[family, ports].append(endpoint(text, hostname, target))
    return [
        EndpointSlice(
            rule.namespace, f"{rule.service}-{family.lower()}-{number}", rule.service, ports, tuple(endpoints)
        )
        for number, ((family, ports), endpoints) in enumerate(sorted(grouped.items(), key=lambda item: item[0]), 1)
    ]


def _ports(rule: Rule, pod: Candidate) -> tuple[Port, ...]:
    """Return a Service's ports as numbered by a pod; those that the pod does not have are left out."""
    numbers = {(port.name, port.protocol): port.number for port in reversed(pod.ports)}
    resolved = [
        Port(
            port.name,
            port.target if isinstance(port.target, int) else numbers.get((port.target, port.protocol), 0),
            port.protocol,
        )
        for port in rule.ports
    ]
    ports = tuple(port for port in resolved if port.number > 0)
    return shared_ports(ports) if ports else NO_PORTS
