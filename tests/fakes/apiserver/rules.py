"""What goes wrong, for which requests and how often."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

REFUSING = frozenset({"status", "garbage", "html", "close", "reset", "silence"})  # in place of a reply
SHAPING = frozenset({"cut_line", "cut_chunk", "connection_close", "drip"})  # how a reply leaves
WATCHING = frozenset({"mute", "no_bookmarks", "ignore_timeout"})  # what a watch leaves out
MODES = REFUSING | SHAPING | WATCHING


@dataclass(slots=True)
class Rule:
    """`count` None is for ever; verb and resource `*` are any."""

    mode: str
    verb: str = "*"
    resource: str = "*"
    count: int | None = 1
    skip: int = 0
    values: dict[str, Any] = field(default_factory=dict)

    def concerns(self, verb: str, resource: str) -> bool:
        return self.verb in {"*", verb} and self.resource in {"*", resource}


class Rules:
    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> None:
        """Raise ValueError for a mode that there is not."""
        if rule.mode not in MODES:
            raise ValueError(f"no mode {rule.mode!r}; there are {', '.join(sorted(MODES))}")
        self._rules.append(rule)

    def clear(self) -> None:
        self._rules.clear()

    def take(self, verb: str, resource: str) -> Rule | None:
        """Return the first rule for a request, and count the request for it."""
        for rule in self._rules:
            if not rule.concerns(verb, resource):
                continue
            if rule.skip:
                rule.skip -= 1
                return None
            if rule.count is not None:
                rule.count -= 1
                if not rule.count:
                    self._rules.remove(rule)
            return rule
        return None
