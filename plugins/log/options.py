"""What `log` is told: which names and replies are logged, and how a line reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubedns.corefile import readers
from kubedns.corefile.errors import Kind
from kubedns.log import plugin_log
from kubedns.wire.errors import WireError
from kubedns.wire.name import ROOT, name
from plugins.log.classes import EVERY_CLASS, ReplyClass
from plugins.log.formats import COMMON, Format

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kubedns.corefile.values import Directive, Property, Use, Word

ALL = "all"

messages = plugin_log("log")


@dataclass(frozen=True, slots=True)
class Rule:
    """Queries for names inside `scope` (lower-case wire octets) are logged if the reply is of one of the classes."""

    scope: bytes
    format: Format
    classes: frozenset[ReplyClass]


def read_rules(directive: Directive) -> tuple[Rule, ...]:
    """Return a rule for each scope, in file order; raise CorefileError at what is no class and no property."""
    return tuple(rule for use in directive.uses for rule in _read_use(use))


def _read_use(use: Use) -> Iterator[Rule]:
    scopes, spelled = use.arguments, COMMON
    if len(scopes) > 1 and "{" in scopes[-1].text:
        *scopes_only, last = scopes
        scopes, spelled = tuple(scopes_only), last.text
    classes = _read_classes(use)
    prepared = Format(spelled)
    for scope in _wire_scopes(scopes) if scopes else (ROOT,):
        yield Rule(scope, prepared, classes)


def _wire_scopes(words: Sequence[Word]) -> Iterator[bytes]:
    """CoreDNS takes any word for a scope, so one that no name can be inside of is no error."""
    for word in words:
        try:
            yield name(word.text)
        except WireError as error:
            messages.warning(f"{word.location}: nothing will be logged for this scope: {error}")


def _read_classes(use: Use) -> frozenset[ReplyClass]:
    found: set[ReplyClass] = set()

    def read(line: Property) -> None:
        if not line.arguments:
            raise readers.wrong_arguments(line, cure="write one or more of: all, denial, error, success")
        for word in line.arguments:
            chosen = readers.choice(word, (ALL, *ReplyClass), "invalid Class: {}", Kind.BARE)
            found.update(EVERY_CLASS if chosen == ALL else {ReplyClass(chosen)})

    readers.read_properties(use, {"class": read})
    return EVERY_CLASS if not found or found == EVERY_CLASS else frozenset(found)
