"""What the server serves: the resources, where they are, and what discovery says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_WORKLOAD = b'"spec":{},"status":{}'
_EMPTY_SERVICE = b'"spec":{},"status":{"loadBalancer":{}}'


@dataclass(frozen=True, slots=True)
class Resource:
    """`empty` is what a bookmark's object has besides its metadata: Go's zero value of the type, encoded."""

    plural: str
    kind: str
    empty: bytes
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    short: tuple[str, ...] = ()

    @property
    def group_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def head(self) -> bytes:
        """How an object starts wherever it stands alone; an item of a list has neither field."""
        return f'{{"kind":"{self.kind}","apiVersion":"{self.group_version}",'.encode()


NAMESPACES = Resource("namespaces", "Namespace", b'"spec":{},"status":{}', namespaced=False, short=("ns",))
SERVICES = Resource("services", "Service", _EMPTY_SERVICE, short=("svc",))
PODS = Resource("pods", "Pod", b'"spec":{"containers":null},"status":{}', short=("po",))
ENDPOINT_SLICES = Resource(
    "endpointslices", "EndpointSlice", b'"addressType":"","endpoints":null,"ports":null', "discovery.k8s.io"
)
SERVICE_IMPORTS = Resource(
    "serviceimports", "ServiceImport", b'"spec":{}', "multicluster.x-k8s.io", "v1alpha1", short=("svcim",)
)
READABLE = (NAMESPACES, SERVICES, PODS, ENDPOINT_SLICES)  # what a cluster's DNS server may list and watch
_RBAC = "rbac.authorization.k8s.io"
BUILT_IN = (
    *READABLE,
    Resource("configmaps", "ConfigMap", b"", short=("cm",)),
    Resource("serviceaccounts", "ServiceAccount", b"", short=("sa",)),
    Resource("deployments", "Deployment", _WORKLOAD, "apps", short=("deploy",)),
    Resource("daemonsets", "DaemonSet", _WORKLOAD, "apps", short=("ds",)),
    Resource("horizontalpodautoscalers", "HorizontalPodAutoscaler", _WORKLOAD, "autoscaling", "v2", short=("hpa",)),
    Resource("networkpolicies", "NetworkPolicy", b'"spec":{}', "networking.k8s.io", short=("netpol",)),
    Resource("poddisruptionbudgets", "PodDisruptionBudget", _WORKLOAD, "policy", short=("pdb",)),
    Resource("clusterroles", "ClusterRole", b'"rules":null', _RBAC, namespaced=False),
    Resource("clusterrolebindings", "ClusterRoleBinding", b'"roleRef":{}', _RBAC, namespaced=False),
    Resource("roles", "Role", b'"rules":null', _RBAC),
    Resource("rolebindings", "RoleBinding", b'"roleRef":{}', _RBAC),
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names; `name` is empty for a collection, `namespace` for all namespaces."""

    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def locate(path: str) -> Target | None:
    """Return what a path names, whether or not there is such a resource; None outside /api/V/… and /apis/G/V/…."""
    match path.strip("/").split("/"):
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            return None
    match rest:
        case ["namespaces", namespace, "status" | "finalize" as subresource]:
            return Target(group, version, "namespaces", "", namespace, subresource)
        case ["namespaces", namespace, plural, *more]:
            return Target(group, version, plural, namespace, *more) if len(more) <= 2 else None
        case [plural, *more] if plural:
            return Target(group, version, plural, "", *more) if len(more) <= 2 else None
        case _:
            return None


def discovery(path: str, resources: tuple[Resource, ...]) -> dict[str, Any] | None:
    """Return the discovery document at a path, None where there is none."""
    groups = sorted({resource.group for resource in resources if resource.group})
    match path.strip("/").split("/"):
        case ["version"]:
            return {"major": "1", "minor": "36", "gitVersion": "v1.36.0", "platform": "linux/amd64"}
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name, resources) for name in groups]}
        case ["apis", group] if group in groups:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, resources)}
        case ["api", version]:
            return _resource_list("", version, resources)
        case ["apis", group, version]:
            return _resource_list(group, version, resources)
        case ["openapi", "v3"]:
            return {"paths": {}}
        case _:
            return None


def _group(name: str, resources: tuple[Resource, ...]) -> dict[str, Any]:
    version = next(resource.version for resource in resources if resource.group == name)
    described = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [described], "preferredVersion": described}


def _resource_list(group: str, version: str, resources: tuple[Resource, ...]) -> dict[str, Any] | None:
    """Return an APIResourceList (k8s.io/apimachinery, meta/v1)."""
    here = [resource for resource in resources if (resource.group, resource.version) == (group, version)]
    if not here:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": here[0].group_version,
        "resources": [
            {
                "name": resource.plural,
                "singularName": resource.kind.lower(),
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
                "shortNames": list(resource.short),
            }
            for resource in here
        ],
    }
