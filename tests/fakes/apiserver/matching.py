"""Which objects a request asks for: its namespace, labelSelector and fieldSelector."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubedns.cluster.selector import EVERYTHING, Selector, parse_selector
from tests.fakes.apiserver.statuses import StatusError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.fakes.apiserver.resources import Resource, Target
    from tests.fakes.apiserver.store import Stored

_TERM = re.compile(r"(?P<field>[^=!]+)(?P<operator>==|!=|=)(?P<value>.*)")
_COMMON = {"metadata.name", "metadata.namespace"}
_FIELDS = {
    "pods": _COMMON | {"status.phase", "status.podIP", "spec.nodeName"},
    "services": _COMMON | {"spec.clusterIP", "spec.type"},
    "namespaces": {"metadata.name", "status.phase"},
}


@dataclass(frozen=True, slots=True)
class Selection:
    """`fields` are triples: a field, whether it must equal, the value."""

    prefix: str
    labels: Selector
    fields: tuple[tuple[str, bool, str], ...]

    @property
    def filters(self) -> bool:
        return self.labels is not EVERYTHING or bool(self.fields)

    def matches(self, stored: Stored) -> bool:
        return (
            stored.key.startswith(self.prefix)
            and self.labels.matches(stored.labels)
            and all((stored.fields.get(field, "") == value) is equal for field, equal, value in self.fields)
        )

    def select(self, stored: list[Stored]) -> list[Stored]:
        if not self.prefix and not self.filters:
            return stored
        return [each for each in stored if self.matches(each)]


def read_selection(resource: Resource, target: Target, query: Mapping[str, str]) -> Selection:
    """Raise StatusError, 400, for a selector that can't be read or names a field that can't be selected by."""
    text = query.get("labelSelector", "")
    try:
        labels = parse_selector(text) if text.strip() else EVERYTHING
    except ValueError as error:
        raise StatusError(400, f"unable to parse requirement: {error}") from None
    fields = [_term(resource, term) for term in query.get("fieldSelector", "").split(",") if term]
    if target.name:
        fields.append(("metadata.name", True, target.name))
    return Selection(f"{target.namespace}/" if target.namespace else "", labels, tuple(fields))


def _term(resource: Resource, text: str) -> tuple[str, bool, str]:
    found = _TERM.fullmatch(text)
    if found is None:
        raise StatusError(400, f"invalid selector: '{text}'; can't understand '{text}'")
    if found["field"] not in _FIELDS.get(resource.plural, _COMMON):
        raise StatusError(400, f"field label not supported: {found['field']}")
    return found["field"], found["operator"] != "!=", found["value"]
