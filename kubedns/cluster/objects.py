"""Kubernetes objects, cut down to the fields that DNS answers are made from.

Decoding takes the plain values that JSON and YAML give. A null field is a missing one; a field of another type than
the API's makes the whole object unusable: ObjectError, and no other exception.
"""

from __future__ import annotations

from functools import lru_cache
from sys import intern
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import msgspec

from kubedns.cluster.addresses import address_text, pack_address
from kubedns.cluster.schema import (
    AnyMessage,
    EndpointSliceMessage,
    Metadata,
    NamespaceMessage,
    PodMessage,
    PortMessage,
    ServiceMessage,
    ServiceSpec,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

Kind = Literal["Namespace", "Service", "EndpointSlice", "Pod"]

KINDS: Mapping[tuple[str, str], Kind] = {
    ("v1", "Namespace"): "Namespace",
    ("v1", "Service"): "Service",
    ("v1", "Pod"): "Pod",
    ("discovery.k8s.io/v1", "EndpointSlice"): "EndpointSlice",
    ("discovery.k8s.io/v1beta1", "EndpointSlice"): "EndpointSlice",
}
SERVICE_NAME_LABEL = "kubernetes.io/service-name"
HEADLESS = "None"
LONGEST_LABEL = 63  # octets of a DNS label (RFC 1035 §2.3.4)
LONGEST_TARGET = 63  # characters; a pod name longer than a DNS label can't be one
# A field selector can't be applied to files, so this does it: the API's pods of these phases are not watched.
ENDED_PHASES = frozenset({"Succeeded", "Failed", "Unknown"})
_MESSAGES: Mapping[Kind, type[AnyMessage]] = {
    "Namespace": NamespaceMessage,
    "Service": ServiceMessage,
    "EndpointSlice": EndpointSliceMessage,
    "Pod": PodMessage,
}
_NO_METADATA = Metadata()


class ObjectError(Exception):
    """An object that can't be used; the text names it, the field, and what is wrong there."""


class Value(msgspec.Struct, frozen=True, gc=False):
    """An unchanging value with slots that the garbage collector does not walk: it can't be in a cycle.

    There may be hundreds of thousands, each a third smaller than a named tuple, and a full collection over those
    would hold the loop for a tenth of a second.
    """


class Port(NamedTuple):
    """A port of a Service or an EndpointSlice; number -1 where there is none, empty text for null."""

    name: str
    number: int
    protocol: str


NO_PORTS = (Port("", -1, ""),)


class Endpoint(Value, frozen=True):
    """One address of a ready endpoint.

    `address` is 4 or 16 octets, or text where the API holds a name (addressType FQDN). `spelling` is the API's own
    text of an IP address where that is not the canonical one: names are made from it, comparisons never.
    """

    address: bytes | str
    hostname: str = ""
    target: str = ""
    zone: str = ""
    spelling: str = ""

    @property
    def text(self) -> str:
        """The address as the API spells it."""
        if self.spelling:
            return self.spelling
        return self.address if isinstance(self.address, str) else address_text(self.address)


class Namespace(Value, frozen=True):
    """A namespace exists, or does not."""

    name: str

    @property
    def namespace(self) -> str:
        """Empty: a Namespace is in none. Here so that all objects have namespace and name."""
        return ""


class Service(Value, frozen=True):
    """`external_ips` holds spec.externalIPs, then of each load-balancer ingress its ip, else its hostname."""

    namespace: str
    name: str
    type: str = "ClusterIP"
    cluster_ips: tuple[str, ...] = ()
    external_name: str = ""
    ports: tuple[Port, ...] = NO_PORTS
    external_ips: tuple[str, ...] = ()

    @property
    def headless(self) -> bool:
        """The first cluster IP decides."""
        return bool(self.cluster_ips) and self.cluster_ips[0] == HEADLESS


class EndpointSlice(Value, frozen=True):
    """The ready endpoints of a slice; `service` is empty where the label that names the Service is missing.

    `plain` follows from the rest: no endpoint has a hostname, or an address that is spelled otherwise than usual, and
    the Service's name and the namespace are labels, as the API has them be.
    """

    namespace: str
    name: str
    service: str
    ports: tuple[Port, ...] = NO_PORTS
    endpoints: tuple[Endpoint, ...] = ()
    plain: bool = True

    def __post_init__(self) -> None:
        labels = _is_label(self.service) and _is_label(self.namespace)
        if not labels or any(one.hostname or one.spelling for one in self.endpoints):
            msgspec.structs.force_setattr(self, "plain", False)


class Pod(Value, frozen=True):
    """`ip` is status.podIP as the API spells it, empty before the pod has one."""

    namespace: str
    name: str
    ip: str


Object = Namespace | Service | EndpointSlice | Pod


def _is_label(text: str) -> bool:
    """Tell whether a text is a label of letters, digits and hyphens (RFC 1123 §2.1)."""
    return len(text) <= LONGEST_LABEL and text.isascii() and text.replace("-", "a").isalnum()


def kind_of(raw: Mapping[str, Any]) -> Kind | None:
    """Return the kind of a decoded object, None for those that DNS has no use for."""
    version, kind = raw.get("apiVersion"), raw.get("kind")
    return KINDS.get((version, kind)) if isinstance(version, str) and isinstance(kind, str) else None


def decode(kind: Kind, raw: object, *, targets: bool = True) -> Object | None:
    """Return the object of one API value: plain values, or JSON's octets; None for a Pod that is ending or ended.

    `targets=False` leaves out the names of the pods behind endpoints, a fifth of what large slices cost.
    Raises ObjectError.
    """
    return from_message(read_message(kind, raw), targets=targets)


def read_message(kind: Kind, raw: object) -> AnyMessage:
    """Return an API value's fields, with a name at least, and with a namespace but for a Namespace.

    `raw` is plain values, or JSON's octets. Raises ObjectError.
    """
    try:
        message = _typed(raw, _MESSAGES[kind])
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise ObjectError(f"{_description(kind, raw)}: {error}") from None
    metadata = message.metadata
    if metadata is None or not metadata.name:
        raise ObjectError(f"{kind}: metadata.name is missing")
    metadata.namespace = "" if kind == "Namespace" else intern(metadata.namespace or "default")
    return message


def from_message(message: AnyMessage, *, targets: bool = True) -> Object | None:
    """Return the object of the fields that read_message gave."""
    metadata = message.metadata or _NO_METADATA
    namespace, name = metadata.namespace or "", metadata.name or ""
    match message:
        case EndpointSliceMessage():
            return _slice(message, namespace, name, targets=targets)
        case ServiceMessage():
            return _service(message, namespace, intern(name))
        case PodMessage():
            return _pod(message, namespace, name)
        case NamespaceMessage():
            return Namespace(intern(name))


def labels_of(message: AnyMessage) -> dict[str, str]:
    """Return metadata.labels, a null value as an empty one."""
    return texts((message.metadata or _NO_METADATA).labels)


def texts(raw: Mapping[str, str | None] | None) -> dict[str, str]:
    """Return a mapping of text with its nulls as empty text."""
    return {key: value or "" for key, value in (raw or {}).items()}


_Message = TypeVar("_Message", bound=msgspec.Struct)


def _typed(raw: object, wanted: type[_Message]) -> _Message:
    if isinstance(raw, (bytes, bytearray, memoryview, msgspec.Raw)):
        return msgspec.json.decode(raw, type=wanted)
    return msgspec.convert(raw, wanted)


def _description(kind: Kind, raw: object) -> str:
    """Return the kind and, where it can be read, the name of an object that can't."""
    try:
        metadata = _typed(raw, NamespaceMessage).metadata or _NO_METADATA
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return kind
    return f"{kind} {metadata.namespace or 'default'}/{metadata.name}" if metadata.name else kind


def _service(message: ServiceMessage, namespace: str, name: str) -> Service:
    spec = message.spec or ServiceSpec()
    balancer = message.status and message.status.loadBalancer
    ingress = [one.ip or one.hostname for one in (balancer and balancer.ingress) or () if one]
    return Service(
        namespace,
        name,
        intern(spec.type or "ClusterIP"),
        _present(spec.clusterIPs or (spec.clusterIP,)),
        spec.externalName or "",
        _ports(spec.ports),
        _present([*(spec.externalIPs or ()), *ingress]),
    )


def _pod(message: PodMessage, namespace: str, name: str) -> Pod | None:
    status = message.status
    ending = message.metadata is not None and message.metadata.deletionTimestamp is not None
    if ending or (status is not None and status.phase in ENDED_PHASES):
        return None
    return Pod(namespace, name, (status and status.podIP) or "")


def _slice(message: EndpointSliceMessage, namespace: str, name: str, *, targets: bool) -> EndpointSlice:
    service = labels_of(message).get(SERVICE_NAME_LABEL, "")
    endpoints: list[Endpoint] = []
    for one in message.endpoints or ():
        if one is None or (one.conditions is not None and one.conditions.ready is False):
            continue
        zone = intern(one.zone) if one.zone else ""
        target = (one.targetRef.name if targets and one.targetRef else None) or ""
        if len(target) > LONGEST_TARGET:
            target = ""
        endpoints.extend([endpoint(text, one.hostname or "", target, zone) for text in one.addresses or () if text])
    return EndpointSlice(namespace, name, intern(service), _ports(message.ports), tuple(endpoints))


def endpoint(address: str, hostname: str = "", target: str = "", zone: str = "") -> Endpoint:
    """Return the Endpoint of an address as the API spells it."""
    octets = pack_address(address)
    if octets is None:
        return Endpoint(address, hostname, target, zone)
    usual = ":" not in address or address_text(octets) == address  # an IPv4 address has one spelling alone
    return Endpoint(octets, hostname, target, zone, "" if usual else address)


def _present(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(value for value in values if value)


def _ports(messages: list[PortMessage | None] | None) -> tuple[Port, ...]:
    ports = [
        Port(intern(one.name or ""), -1 if one.port is None else one.port, intern(one.protocol or ""))
        for one in messages or ()
        if one
    ]
    return shared_ports(tuple(ports)) if ports else NO_PORTS


@lru_cache(maxsize=1024)
def shared_ports(ports: tuple[Port, ...]) -> tuple[Port, ...]:
    """Return one tuple for all that are equal: thousands of Services have the same port 80."""
    return ports


_KIND_OF_TYPE: Mapping[type, Kind] = {
    Namespace: "Namespace",
    Service: "Service",
    EndpointSlice: "EndpointSlice",
    Pod: "Pod",
}


def kind_of_object(value: Object) -> Kind:
    """Return the kind of an object of ours."""
    return _KIND_OF_TYPE[type(value)]
