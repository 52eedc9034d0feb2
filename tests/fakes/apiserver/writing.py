"""CREATE, UPDATE, PATCH and DELETE, with the defaults that the API server fills in for its clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from tests.fakes.apiserver.statuses import StatusError, not_found
from tests.fakes.apiserver.store import Stored, key_of, timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.fakes.apiserver.resources import Resource, Target
    from tests.fakes.apiserver.store import Store, Table

MERGE_PATCHES = {"application/merge-patch+json", "application/strategic-merge-patch+json"}
MERGE_KEYS = {"ports": "port", "containers": "name", "conditions": "type", "podIPs": "ip"}  # patchMergeKey in types.go
_METADATA = "metadata"


def read_object(body: bytes) -> dict[str, Any]:
    """Return a request's object, JSON or YAML."""
    try:
        value = msgspec.json.decode(body) if body[:1] == b"{" else yaml.safe_load(body)
    except (msgspec.DecodeError, yaml.YAMLError) as error:
        raise StatusError(400, f"the object provided is unrecognized: {error}") from None
    if not isinstance(value, dict) or not isinstance(value.get(_METADATA), dict):
        raise StatusError(400, "the object provided is unrecognized")
    return value


def refuse_protobuf(content_type: str) -> None:
    """Raise StatusError, 415: `kubectl create -f` sends JSON, but `kubectl create namespace` Protocol Buffers."""
    if content_type.startswith("application/vnd.kubernetes.protobuf"):
        raise StatusError(415, "the body of the request was in an unknown format - accepted media types include: "
                          "application/json, application/yaml")  # fmt: skip


def create(store: Store, table: Table, target: Target, body: bytes, *, dry: bool = False) -> Stored:
    """Create with defaults; raises StatusError for what is there already, or has no namespace to be in."""
    resource = table.resource
    value = read_object(body)
    metadata = value[_METADATA]
    if resource.namespaced:
        metadata["namespace"] = namespace = target.namespace or metadata.get("namespace") or "default"
        if namespace not in store.tables["namespaces"].items:
            raise not_found("", "namespaces", namespace)
    if not metadata.get("name"):
        raise StatusError(422, f'{resource.kind} "" is invalid: metadata.name: Required value: name is required')
    key = key_of(resource, metadata.get("namespace", ""), metadata["name"])
    if key in table.items:
        shown = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
        details = {"name": metadata["name"], "group": resource.group, "kind": resource.plural}
        raise StatusError(409, f'{shown} "{metadata["name"]}" already exists', reason="AlreadyExists", details=details)
    metadata["creationTimestamp"] = timestamp()
    return store.put(table, with_defaults(resource, value, store), dry=dry)


def update(store: Store, table: Table, target: Target, body: bytes, *, dry: bool = False) -> Stored:
    stored = existing(table, target)
    value = read_object(body)
    wanted = value[_METADATA].get("resourceVersion")
    if wanted and wanted != str(stored.version):
        raise StatusError(
            409,
            f'Operation cannot be fulfilled on {target.plural} "{target.name}": the object has been modified; please '
            "apply your changes to the latest version and try again",
            details={"name": target.name, "kind": target.plural},
        )
    return _replace(store, table, target, msgspec.json.decode(stored.item), value, dry=dry)


def patch(store: Store, table: Table, target: Target, content_type: str, body: bytes, *, dry: bool = False) -> Stored:
    """Apply a merge patch (RFC 7396) or a strategic one."""
    if content_type.split(";", maxsplit=1)[0].strip() not in MERGE_PATCHES:
        raise StatusError(415, "the body of the request was in an unknown format - accepted media types include: "
                          + ", ".join(sorted(MERGE_PATCHES)))  # fmt: skip
    before = msgspec.json.decode(existing(table, target).item)
    try:
        change = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise StatusError(400, f"error decoding patch: {error}") from None
    value = merged(before, change, strategic="strategic" in content_type)
    return _replace(store, table, target, before, value, dry=dry)


def delete(store: Store, table: Table, target: Target, *, dry: bool = False) -> Stored:
    """Delete; with a Namespace goes what is in it, which a controller sees to in a real cluster."""
    stored = existing(table, target)
    if dry:
        return stored
    if target.plural == "namespaces":
        for other in store.tables.values():
            for key in [key for key in other.items if key.startswith(f"{target.name}/")]:
                store.delete(other, key)
    return store.delete(table, stored.key)


def existing(table: Table, target: Target) -> Stored:
    """Raise StatusError, 404, where there is no such object."""
    stored = table.items.get(key_of(table.resource, target.namespace, target.name))
    if stored is None:
        raise not_found(target.group, target.plural, target.name)
    return stored


def merged(value: Any, change: Any, *, strategic: bool, field: str = "") -> Any:
    """Return a value with a patch applied; null deletes, lists with a merge key are merged if it is strategic."""
    if strategic and isinstance(change, list) and isinstance(value, list) and field in MERGE_KEYS:
        return _merged_list(value, change, MERGE_KEYS[field])
    if not isinstance(change, dict):
        return change
    fresh = strategic and change.get("$patch") == "replace"
    result = dict(value) if isinstance(value, dict) and not fresh else {}
    for name, part in change.items():
        if strategic and name.startswith("$"):
            continue  # the order of elements, which keys to retain: nothing here depends on them
        if part is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), part, strategic=strategic, field=name)
    return result


def _merged_list(value: list[Any], change: list[Any], key: str) -> list[Any]:
    elements = {each.get(key): each for each in value}
    for part in change:
        if part.get("$patch") == "delete":
            elements.pop(part.get(key), None)
        else:
            elements[part.get(key)] = merged(elements.get(part.get(key)), part, strategic=True)
    return list(elements.values())


def _replace(
    store: Store, table: Table, target: Target, before: Mapping[str, Any], value: dict[str, Any], *, dry: bool
) -> Stored:
    """Store an object's next version; the subresource `status` takes nothing but that, all else all but that."""
    if target.subresource == "status":
        value = {**before, "status": value.get("status")}
    kept = {name: before[_METADATA][name] for name in ("uid", "creationTimestamp") if name in before[_METADATA]}
    where = {"name": target.name, **({"namespace": target.namespace} if table.resource.namespaced else {})}
    if table.resource.kind == "Service" and target.subresource != "status":
        address = (before.get("spec") or {}).get("clusterIP")  # may be left out, but never changes
        held = {} if address is None else {"clusterIP": address}
        value["spec"] = _service_spec({**held, **(value.get("spec") or {})}, store)
    kept["resourceVersion"] = before[_METADATA]["resourceVersion"]
    value = {**value, _METADATA: {**value[_METADATA], **where, **kept}}
    unchanged = {name: part for name, part in value.items() if name not in {"kind", "apiVersion"}} == before
    return existing(table, target) if unchanged else store.put(table, value, dry=dry)


def with_defaults(resource: Resource, value: dict[str, Any], store: Store) -> dict[str, Any]:
    """Return a new object as the API server would store it."""
    match resource.kind:
        case "Namespace":
            metadata = value[_METADATA]
            metadata["labels"] = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": metadata["name"]}
            return {**value, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
        case "Service":
            return {**value, "spec": _service_spec(value.get("spec") or {}, store), "status": {"loadBalancer": {}}}
        case "Pod":
            return {"status": {"phase": "Pending"}, **value}
        case "Deployment" | "DaemonSet" | "PodDisruptionBudget" | "HorizontalPodAutoscaler":
            return {**value, "status": {}}
        case _:
            return value


def _service_spec(spec: dict[str, Any], store: Store) -> dict[str, Any]:
    ports = [{"protocol": "TCP", "targetPort": port.get("port"), **port} for port in spec.get("ports") or ()]
    full = {**spec, "type": spec.get("type", "ClusterIP"), "sessionAffinity": "None"}
    if ports:
        full["ports"] = ports
    if full["type"] == "ExternalName":
        return full
    address = spec.get("clusterIP") or _free_cluster_ip(store)
    family = "IPv6" if ":" in address else "IPv4"
    return {
        "clusterIP": address,
        "clusterIPs": [address],
        "ipFamilies": [family],
        "ipFamilyPolicy": "SingleStack",
        "internalTrafficPolicy": "Cluster",
        **full,
    }


def _free_cluster_ip(store: Store) -> str:
    taken = {stored.fields.get("spec.clusterIP") for stored in store.tables["services"].items.values()}
    candidates = (f"10.96.{number >> 8}.{number & 255}" for number in range(1, 1 << 16))
    return next(address for address in candidates if address not in taken)
