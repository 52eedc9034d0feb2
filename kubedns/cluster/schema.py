"""The API's JSON as far as it is read: one Struct per message, every field may be null or missing.

Field names and types are those of k8s.io/api core/v1 and discovery/v1. msgspec skips all other fields unread, from
JSON's octets as from the plain values that YAML gives.
"""

# msgspec reads the annotations below at run time.
# ruff: noqa: N815 - spelled as the API spells them

from typing import Annotated, Any

from msgspec import Meta, Struct, field

PortNumber = Annotated[int, Meta(ge=0, le=65535)]
Texts = dict[str, str | None]


class Message(Struct, gc=False):
    """What an API object is made of; lives only while the object is decoded, so the collector need not know."""


class Annotations(Message):
    """Those that the API's machinery writes; a value of another type than text is as good as none."""

    trigger_time: Any = field(default=None, name="endpoints.kubernetes.io/last-change-trigger-time")
    initial_events_end: Any = field(default=None, name="k8s.io/initial-events-end")


class Metadata(Message):
    name: str | None = None
    namespace: str | None = None
    labels: Texts | None = None
    annotations: Annotations | None = None
    resourceVersion: Any = None
    deletionTimestamp: Any = None


class NamespaceMessage(Message):
    metadata: Metadata | None = None


class PortMessage(Message):
    name: str | None = None
    port: PortNumber | None = None
    protocol: str | None = None
    targetPort: int | str | None = None


class ServiceSpec(Message):
    type: str | None = None
    clusterIP: str | None = None
    clusterIPs: list[str | None] | None = None
    ipFamilies: list[str | None] | None = None
    externalName: str | None = None
    externalIPs: list[str | None] | None = None
    ports: list[PortMessage | None] | None = None
    selector: Texts | None = None
    publishNotReadyAddresses: bool | None = None


class Ingress(Message):
    ip: str | None = None
    hostname: str | None = None


class LoadBalancerStatus(Message):
    ingress: list[Ingress | None] | None = None


class ServiceStatus(Message):
    loadBalancer: LoadBalancerStatus | None = None


class ServiceMessage(Message):
    metadata: Metadata | None = None
    spec: ServiceSpec | None = None
    status: ServiceStatus | None = None


class EndpointConditions(Message):
    ready: bool | None = None


class TargetRef(Message):
    name: str | None = None


class EndpointMessage(Message):
    addresses: list[str | None] | None = None
    conditions: EndpointConditions | None = None
    hostname: str | None = None
    targetRef: TargetRef | None = None
    zone: str | None = None


class EndpointSliceMessage(Message):
    metadata: Metadata | None = None
    endpoints: list[EndpointMessage | None] | None = None
    ports: list[PortMessage | None] | None = None


class ContainerPort(Message):
    name: str | None = None
    containerPort: PortNumber | None = None
    protocol: str | None = None


class Container(Message):
    ports: list[ContainerPort | None] | None = None
    restartPolicy: str | None = None


class PodSpec(Message):
    hostname: str | None = None
    subdomain: str | None = None
    containers: list[Container | None] | None = None
    initContainers: list[Container | None] | None = None


class PodCondition(Message):
    type: str | None = None
    status: str | None = None


class PodAddress(Message):
    ip: str | None = None


class PodStatus(Message):
    phase: str | None = None
    podIP: str | None = None
    podIPs: list[PodAddress | None] | None = None
    conditions: list[PodCondition | None] | None = None


class PodMessage(Message):
    metadata: Metadata | None = None
    spec: PodSpec | None = None
    status: PodStatus | None = None


AnyMessage = NamespaceMessage | ServiceMessage | EndpointSliceMessage | PodMessage
