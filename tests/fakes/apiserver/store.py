"""The objects, each as the octets that leave, and every change to them since the last compaction.

Rules of this file:

- Versions count changes of all resources together, as etcd's revisions do.
- A state of the past is the present with the later changes undone, so pages of a list stay consistent.
"""

from __future__ import annotations

import uuid
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.fakes.apiserver.resources import Resource

FIRST_VERSION = 400
_METADATA_ORDER = (
    *("name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp"),
    *("deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers"),
)
_NO_LABELS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Stored:
    """An object at one version; `item` is its JSON without kind and apiVersion, `fields` what fieldSelectors see."""

    key: str  # NAMESPACE/NAME, or NAME where there are no namespaces: etcd's order of a list
    version: int
    item: bytes
    labels: Mapping[str, str]
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """`old` is None for a creation, `new` for a deletion; watches hear of it `times` times."""

    key: str
    version: int
    old: Stored | None
    new: Stored | None
    times: int


@dataclass(slots=True)
class Table:
    """All objects of one resource."""

    resource: Resource
    items: dict[str, Stored] = field(default_factory=dict)
    log: list[Change] = field(default_factory=list)
    _sorted: list[Stored] | None = None

    def apply(self, change: Change) -> None:
        if change.new is None:
            del self.items[change.key]
        else:
            self.items[change.key] = change.new
        self.log.append(change)
        self._sorted = None

    def now(self) -> list[Stored]:
        """Return all objects in order of their keys; the list is not to be changed."""
        if self._sorted is None:
            self._sorted = [self.items[key] for key in sorted(self.items)]
        return self._sorted

    def at(self, version: int) -> list[Stored]:
        """Return all objects in order as they were at a version, which must not be compacted away."""
        later = self.since(version)
        if not later:
            return self.now()
        items: dict[str, Stored | None] = dict(self.items)
        for change in reversed(later):
            items[change.key] = change.old
        return [stored for _, stored in sorted(items.items()) if stored is not None]

    def since(self, version: int) -> list[Change]:
        return self.log[bisect_right(self.log, version, key=lambda change: change.version) :]

    def renumber(self, numbers: Callable[[], int]) -> None:
        """Give every object a new version and forget what was."""
        self.items = {key: restamped(stored, numbers()) for key, stored in self.items.items()}
        self.log = []
        self._sorted = None


class Store:
    """`version` is that of the last change; changes up to `floor` are compacted away."""

    def __init__(self, resources: tuple[Resource, ...], changed: Callable[[Table, Change], None]) -> None:
        self.version = FIRST_VERSION
        self.floor = FIRST_VERSION
        self.tables = {resource.plural: Table(resource) for resource in resources}
        self._kinds = {resource.kind: self.tables[resource.plural] for resource in resources}
        self._changed = changed

    def table_of_kind(self, kind: str) -> Table:
        return self._kinds[kind]

    def put(self, table: Table, value: Mapping[str, Any], announce: int = 1, *, dry: bool = False) -> Stored:
        """Create or update; uid and creationTimestamp are made where neither `value` nor what was before has them.

        A `dry` run returns what would be stored.
        """
        metadata = dict(value.get("metadata") or {})
        if table.resource.namespaced:
            metadata.setdefault("namespace", "default")
        key = key_of(table.resource, metadata.get("namespace", ""), metadata["name"])
        old = table.items.get(key)
        before = {} if old is None else msgspec.json.decode(old.item)["metadata"]
        metadata.setdefault("uid", before.get("uid") or str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", before.get("creationTimestamp") or timestamp())
        version = self.version + 1
        metadata["resourceVersion"] = str(version)
        stored = _stored(key, version, {**value, "metadata": metadata})
        if not dry:
            self.version = version
            self._commit(table, Change(key, version, old, stored, announce))
        return stored

    def delete(self, table: Table, key: str, announce: int = 1) -> Stored:
        """Return the object as it was, at the version of its deletion. KeyError: there is none."""
        old = table.items[key]
        change = Change(key, self.next_version(), old, None, announce)
        self._commit(table, change)
        return restamped(old, change.version)

    def compact(self) -> None:
        """Forget all changes so far; the version moves on, as if another resource had changed meanwhile."""
        self.version += 10
        self.floor = self.version
        for table in self.tables.values():
            table.log.clear()

    def begin_epoch(self) -> None:
        """Number everything from 1 on, as etcd restored from a backup may: clients' versions lie in the future."""
        self.version = self.floor = 0
        for table in self.tables.values():
            table.renumber(self.next_version)
        self.floor = self.version

    def _commit(self, table: Table, change: Change) -> None:
        table.apply(change)
        self._changed(table, change)

    def next_version(self) -> int:
        self.version += 1
        return self.version


def key_of(resource: Resource, namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if resource.namespaced else name


def restamped(stored: Stored, version: int) -> Stored:
    """Return an object with another resourceVersion: a DELETED event's object has that of the deletion."""
    value = msgspec.json.decode(stored.item)
    value["metadata"]["resourceVersion"] = str(version)
    return Stored(stored.key, version, msgspec.json.encode(value), stored.labels, stored.fields)


def timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _stored(key: str, version: int, value: Mapping[str, Any]) -> Stored:
    metadata = value["metadata"]
    ordered = {name: metadata[name] for name in _METADATA_ORDER if name in metadata} | metadata
    rest = {name: part for name, part in value.items() if name not in {"kind", "apiVersion", "metadata"}}
    item = msgspec.json.encode({"metadata": ordered, **rest})
    return Stored(key, version, item, metadata.get("labels") or _NO_LABELS, _fields(metadata, rest))


def _fields(metadata: Mapping[str, Any], rest: Mapping[str, Any]) -> dict[str, str]:
    """Return what fieldSelectors of these resources may name, but only where it is set."""
    spec, status = rest.get("spec") or {}, rest.get("status") or {}
    found = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata.get("namespace"),
        "status.phase": status.get("phase"),
        "status.podIP": status.get("podIP"),
        "spec.nodeName": spec.get("nodeName"),
        "spec.clusterIP": spec.get("clusterIP"),
        "spec.type": spec.get("type"),
    }
    return {name: value for name, value in found.items() if isinstance(value, str)}
