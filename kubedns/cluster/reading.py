"""A manifest's octets to what an Index takes and what EndpointSlices are derived from, batch by batch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from kubedns.cluster.derive import Candidate, Rule, candidate_of, rule_of
from kubedns.cluster.objects import (
    KINDS,
    EndpointSlice,
    Kind,
    Namespace,
    ObjectError,
    Pod,
    Service,
    from_message,
    labels_of,
    read_message,
)
from kubedns.cluster.schema import EndpointSliceMessage, PodMessage, PortMessage, ServiceMessage
from kubedns.cluster.selector import EVERYTHING, Selector
from kubedns.cluster.yaml_reader import DEEPEST, YamlError, read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST_FILE = 256 << 20  # octets
OBJECTS_PER_BATCH = 50
DEEPEST_LIST = 4  # Lists within Lists
_NAME_LABEL = "kubernetes.io/metadata.name"  # the API server sets it on every Namespace
_NO_OBJECT = "not a Kubernetes object, a mapping with apiVersion and kind"
_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+"|([\[{])|[\]}]')  # text is passed over
_BROKEN_JSON = (msgspec.DecodeError, UnicodeDecodeError)


class ManifestError(Exception):
    """A manifest that can't be read; the text starts with `FILE:LINE:COLUMN: ` as far as they are known."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What the API's watches would leave out: the kubernetes plugin's options of these names.

    `pods` is on for `pods verified`. `targets` says whether names of pods are wanted (`endpoint_pod_names`).
    """

    labels: Selector = EVERYTHING
    namespace_labels: Selector = EVERYTHING
    pods: bool = False
    noendpoints: bool = False
    targets: bool = True


class Part(msgspec.Struct):
    """What some part of a file holds besides EndpointSlices, filters applied.

    `declared` has the names of all Namespaces there, `mentioned` those of the namespaces that objects are in,
    `sliced` the Services that have an EndpointSlice there, kept or not. `complaints` are the texts of unusable
    objects, with their place. `unaddressed` names Services that no cluster IP was written for.
    """

    namespaces: list[Namespace] = []
    services: list[Service] = []
    pods: list[Pod] = []
    rules: list[Rule] = []
    candidates: list[Candidate] = []
    declared: set[str] = set()
    mentioned: set[str] = set()
    sliced: set[tuple[str, str]] = set()
    complaints: list[str] = []
    unaddressed: list[str] = []
    known: int = 0


class Contents(Part):
    """What some part of a file holds."""

    slices: list[EndpointSlice] = []


_NOTHING = Contents()  # a pause


class _Header(msgspec.Struct):
    kind: Any = None
    apiVersion: Any = None  # noqa: N815 - the API's spelling


class _Listed(_Header):
    items: list[msgspec.Raw] | None = None


def read_octets(path: str) -> tuple[bytes, os.stat_result]:
    """Return a file's octets and their state; raises ManifestError where it is too large, OSError otherwise."""
    with Path(path).open("rb") as file:
        state = os.fstat(file.fileno())
        if state.st_size > LARGEST_FILE:
            size, most = state.st_size >> 20, LARGEST_FILE >> 20
            raise ManifestError(
                f"{path}: {size} MB is more than the {most} MB that are read; split it into several files"
            )
        return file.read(LARGEST_FILE + 1), state


def is_json(path: str, text: bytes) -> bool:
    """Tell JSON by the file's name, else by how its text starts."""
    return path.endswith(".json") or text[:512].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def batches(text: bytes, path: str, filters: Filters) -> Iterator[Contents]:
    """Yield a file's contents bit by bit, sometimes nothing of it: each yield is a chance to do something else.

    Raises ManifestError where the text is no JSON or YAML, or no object at all.
    """
    collector = _Collector(path, filters)
    read = collector.json if is_json(path, text) else collector.yaml
    for _ in read(text.removeprefix(b"\xef\xbb\xbf")):
        yield collector.taken() if collector.is_full else _NOTHING
    yield collector.taken()


class _Collector:
    """Puts one object after the other where it belongs."""

    def __init__(self, path: str, filters: Filters) -> None:
        self._path = path
        self._filters = filters
        self._contents = Contents()

    @property
    def is_full(self) -> bool:
        """Whether a batch is worth handing on: each costs a message where a child reads."""
        return self._contents.known >= OBJECTS_PER_BATCH

    def taken(self) -> Contents:
        """Return what was collected since the last time."""
        taken, self._contents = self._contents, Contents()
        return taken

    def yaml(self, text: bytes) -> Iterator[None]:
        try:
            for document in read_yaml(text):
                if document is not None:
                    place = f"{self._path}:{document.line}"
                    if not document.is_item and document.value is not None and not isinstance(document.value, dict):
                        raise ManifestError(f"{place}:1: {_NO_OBJECT}")
                    yield from self._plain(document.value, place)
                yield
        except YamlError as error:
            place = f"{self._path}:{error.line}:{error.column}" if error.line else self._path
            raise ManifestError(f"{place}: {error}") from None

    def json(self, text: bytes) -> Iterator[None]:
        try:
            yield from self._octets(text, self._path, None)
        except RecursionError:
            place = _line_and_column(text, _deep_offset(text))
            raise ManifestError(f"{self._path}{place}: nested more than {DEEPEST} deep") from None
        except _BROKEN_JSON as error:
            raise ManifestError(f"{self._path}{_json_place(text, error)}: {error}") from None

    def _plain(self, value: Any, place: str, outer: dict[str, Any] | None = None, depth: int = 0) -> Iterator[None]:
        """Collect a value of YAML's; items of a ServiceList need not say that they are Services."""
        if not isinstance(value, dict):
            if outer is not None:
                self._contents.complaints.append(f"{place}: {_NO_OBJECT}")
            return
        kind, version = value.get("kind"), value.get("apiVersion")
        if kind is None and outer is not None:
            kind, version = _item_kind(outer.get("kind")), outer.get("apiVersion")
        items = value.get("items")
        if not isinstance(kind, str) or not kind.endswith("List"):
            self._add(kind, version, value, place)
        elif isinstance(items, list) and depth < DEEPEST_LIST:
            for position, item in enumerate(items):
                yield from self._plain(item, place, value, depth + 1)
                if position % OBJECTS_PER_BATCH == 0:
                    yield

    def _octets(self, text: bytes | msgspec.Raw, place: str, outer: _Header | None, depth: int = 0) -> Iterator[None]:
        """Collect a value of JSON's; nothing but the ends of a List's items is looked for at first."""
        header = _decoded(text)
        if header is None and outer is not None:
            self._contents.complaints.append(f"{place}: {_NO_OBJECT}")
            return
        if header is None:
            raise ManifestError(f"{place}:1:1: {_NO_OBJECT}")
        if header.kind is None and outer is not None:
            header.kind, header.apiVersion = _item_kind(outer.kind), outer.apiVersion
        if not isinstance(header.kind, str) or not header.kind.endswith("List"):
            self._add(header.kind, header.apiVersion, text, place)
            return
        if depth == DEEPEST_LIST:
            return
        for position, item in enumerate((header.items if isinstance(header, _Listed) else None) or ()):
            yield from self._octets(item, f"{self._path}: items[{position}]", header, depth + 1)
            if position % OBJECTS_PER_BATCH == 0:
                yield

    def _add(self, kind: object, version: object, raw: object, place: str) -> None:
        known = KINDS.get((version, kind)) if isinstance(version, str) and isinstance(kind, str) else None
        if known is None:
            return
        self._contents.known += 1
        try:
            self._keep(known, raw)
        except ObjectError as error:
            self._contents.complaints.append(f"{place}: {error}")

    def _keep(self, kind: Kind, raw: object) -> None:
        """Put one object of ours into the contents, as the filters and the API server's defaults have it."""
        message = read_message(kind, raw)
        contents, filters = self._contents, self._filters
        labels = labels_of(message)
        if isinstance(message, EndpointSliceMessage):
            _set_protocols(message.ports)
        elif isinstance(message, ServiceMessage) and message.spec is not None:
            _set_protocols(message.spec.ports)
        value = from_message(message, targets=filters.targets)
        passes = filters.labels.matches(labels)
        match value:
            case Namespace():
                contents.declared.add(value.name)
                if filters.namespace_labels.matches({_NAME_LABEL: value.name, **labels}):
                    contents.namespaces.append(value)
                return
            case Service() if passes:
                contents.services.append(value)
                if not value.cluster_ips and value.type != "ExternalName":
                    contents.unaddressed.append(f"{value.namespace}/{value.name}")
            case EndpointSlice():
                contents.sliced.add((value.namespace, value.service))
                if passes and not filters.noendpoints and value.service:
                    contents.slices.append(value)
            case Pod() if passes and filters.pods:
                contents.pods.append(value)
        metadata = message.metadata
        contents.mentioned.add((metadata and metadata.namespace) or "")
        if not filters.noendpoints:
            self._keep_for_derivation(message, passes=passes)

    def _keep_for_derivation(self, message: object, *, passes: bool) -> None:
        """A derived slice has the labels of its Service; the pods behind it may have any."""
        if isinstance(message, ServiceMessage) and passes:
            rule = rule_of(message)
            if rule is not None:
                self._contents.rules.append(rule)
        elif isinstance(message, PodMessage):
            candidate = candidate_of(message)
            if candidate is not None:
                self._contents.candidates.append(candidate)


def implied_namespace(name: str, filters: Filters) -> Namespace | None:
    """Return the Namespace that objects are in though no manifest declares it, None where filters hide it."""
    return Namespace(name) if filters.namespace_labels.matches({_NAME_LABEL: name}) else None


def _set_protocols(ports: list[PortMessage | None] | None) -> None:
    """Write TCP where no protocol is written, as the API server does."""
    for port in ports or ():
        if port is not None and not port.protocol:
            port.protocol = "TCP"


def _item_kind(list_kind: object) -> str | None:
    return list_kind.removesuffix("List") or None if isinstance(list_kind, str) else None


def _decoded(text: bytes | msgspec.Raw) -> _Header | None:
    """Return a JSON value's kind, and a List's items unread; None where it is no mapping."""
    try:
        return msgspec.json.decode(text, type=_Listed)
    except msgspec.ValidationError:
        pass
    try:  # a kind of object that has something else by the name of items
        return msgspec.json.decode(text, type=_Header)
    except msgspec.ValidationError:
        return None


def _json_place(text: bytes, error: Exception) -> str:
    """Return `:LINE:COLUMN` of a JSON error where it can be told; what was truncated ends where the text does."""
    found = re.search(r"\(byte (\d+)\)", str(error))
    if found is None and "truncated" not in str(error):
        return ""
    offset = int(found[1]) if found else len(text)
    return _line_and_column(text, offset)


def _line_and_column(text: bytes, offset: int) -> str:
    return f":{text.count(10, 0, offset) + 1}:{offset - text.rfind(10, 0, offset)}"


def _deep_offset(text: bytes) -> int:
    """Return where JSON goes beyond DEEPEST."""
    depth = 0
    for found in _BRACKET.finditer(text):
        if found[1]:
            depth += 1
            if depth > DEEPEST:
                return found.start()
        elif not found[0].startswith(b'"'):
            depth -= 1
    return 0
