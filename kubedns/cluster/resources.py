"""What is asked of an API server: four resources, each with the selectors that keep away what nobody needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubedns.cluster.objects import Kind
    from kubedns.cluster.reading import Filters

RUNNING = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"


@dataclass(frozen=True, slots=True)
class Resource:
    """`name` is the plural that requests and RBAC have, `group` empty for the core API."""

    kind: Kind
    group: str
    name: str
    labels: str = ""
    fields: str = ""

    @property
    def path(self) -> str:
        """Of all objects of the cluster."""
        return f"/apis/{self.group}/v1/{self.name}" if self.group else f"/api/v1/{self.name}"

    @property
    def query(self) -> Mapping[str, str]:
        """The selectors, as every list and watch has them."""
        selectors = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {name: text for name, text in selectors.items() if text}

    @property
    def rule(self) -> str:
        """The entry of a ClusterRole's `rules` that allows all that is asked."""
        return f'- {{apiGroups: ["{self.group}"], resources: ["{self.name}"], verbs: ["list", "watch"]}}'


def wanted(filters: Filters) -> tuple[Resource, ...]:
    """Return what has to be followed for these options, the small ones first."""
    labels = str(filters.labels)
    found = [
        Resource("Namespace", "", "namespaces", str(filters.namespace_labels)),
        Resource("Service", "", "services", labels),
    ]
    if not filters.noendpoints:
        found.append(Resource("EndpointSlice", "discovery.k8s.io", "endpointslices", labels))
    if filters.pods:
        found.append(Resource("Pod", "", "pods", labels, RUNNING))
    return tuple(found)
