"""Label selectors, as the options `labels` and `namespace_labels` and the API's watches take them.

    selector    = requirement *( "," requirement )
    requirement = key / "!" key / key ( "=" / "==" / "!=" ) value / key ( "in" / "notin" ) "(" value *( "," value ) ")"

Also `key > integer` and `key < integer`. Texts of errors follow k8s.io/apimachinery's labels.Parse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOKEN = re.compile(r"[ \t\r\n]*(?:(?P<operator>==|!=|[=!(),><])|(?P<word>[^ \t\r\n=!(),><]+)|$)")
_EQUALITIES = {"=": "in", "==": "in", "!=": "notin"}
_OPERATORS = "in, notin, =, ==, !=, gt, lt"
_NAME = re.compile(r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_PREFIX = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_LONGEST_NAME, _LONGEST_PREFIX = 63, 253  # characters
_INTEGER = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True, slots=True)
class Requirement:
    """`operator` is in, notin, exists, !exists, gt or lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value in self.values
            case "notin":
                return value not in self.values  # a missing label is not in it
            case "exists":
                return value is not None
            case "!exists":
                return value is None
        if value is None or not _INTEGER.fullmatch(value):
            return False
        bound = int(next(iter(self.values)))
        return int(value) > bound if self.operator == "gt" else int(value) < bound

    def __str__(self) -> str:
        """The requirement as a request's labelSelector has it."""
        values = sorted(self.values)
        match self.operator:
            case "exists":
                return self.key
            case "!exists":
                return f"!{self.key}"
            case "gt" | "lt":
                return f"{self.key}{'>' if self.operator == 'gt' else '<'}{values[0]}"
        if len(values) == 1:
            return f"{self.key}{'=' if self.operator == 'in' else '!='}{values[0]}"
        return f"{self.key} {self.operator} ({','.join(values)})"


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold; one without any selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        """The selector as a request's labelSelector has it, empty where everything is selected."""
        return ",".join(map(str, self.requirements))


EVERYTHING = Selector()


def parse_selector(text: str) -> Selector:
    """Return the selector that a text describes; raises ValueError with a text as Go's labels.Parse has it."""
    tokens = _Tokens(text)
    if tokens.kind == "end":
        return EVERYTHING
    requirements: list[Requirement] = []
    while True:
        if tokens.kind not in {"word", "!"}:
            raise ValueError(f"found '{tokens.text}', expected: !, identifier, or 'end of string'")
        requirements.append(_requirement(tokens))
        if tokens.kind == "end":
            return Selector(tuple(requirements))
        if tokens.kind != ",":
            raise ValueError(f"found '{tokens.text}', expected: ',' or 'end of string'")
        tokens.advance()
        if tokens.kind not in {"word", "!"}:
            raise ValueError(f"found '{tokens.text}', expected: identifier after ','")


class _Tokens:
    """`kind` is word, end, or the operator itself; `text` is what stands there, empty at the end."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self.kind = self.text = ""
        self.advance()

    def advance(self) -> str:
        """Go to the next token, and return the text of this one."""
        passed = self.text
        found = _TOKEN.match(self._text, self._at)
        if found is None:  # the pattern takes every character
            raise ValueError(f"unable to read {self._text[self._at :]!r}")
        self._at = found.end()
        self.text = (found["operator"] or found["word"] or "").strip()
        self.kind = found["operator"] or ("word" if found["word"] else "end")
        return passed


def _requirement(tokens: _Tokens) -> Requirement:
    negated = tokens.kind == "!"
    if negated:
        tokens.advance()
    if tokens.kind != "word":
        raise ValueError(f"found '{tokens.text}', expected: identifier")
    key = _checked_key(tokens.advance())
    if negated:
        return Requirement(key, "!exists")
    if tokens.kind in {"end", ","}:
        return Requirement(key, "exists")
    operator = tokens.advance()
    if operator in {"in", "notin"}:
        return Requirement(key, operator, frozenset(_checked_value(key, value) for value in _value_set(tokens)))
    if operator in _EQUALITIES:
        return Requirement(key, _EQUALITIES[operator], frozenset({_checked_value(key, _exact_value(tokens))}))
    if operator in {">", "<"}:
        value = _exact_value(tokens)
        if not _INTEGER.fullmatch(value):
            raise ValueError(
                f"values[0][{key}]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"
            )
        return Requirement(key, "gt" if operator == ">" else "lt", frozenset({value}))
    raise ValueError(f"found '{operator}', expected: {_OPERATORS}")


def _exact_value(tokens: _Tokens) -> str:
    """Return the value after an equality sign; nothing there is the empty value."""
    if tokens.kind in {"end", ","}:
        return ""
    if tokens.kind == "word":
        return tokens.advance()
    raise ValueError(f"found '{tokens.text}', expected: identifier")


def _value_set(tokens: _Tokens) -> list[str]:
    """Return the values between parentheses; `(a,)` and `()` hold an empty one."""
    if tokens.kind != "(":
        raise ValueError(f"found '{tokens.text}' expected: '('")
    tokens.advance()
    values = [_exact_value(tokens) if tokens.kind != ")" else ""]
    while tokens.kind == ",":
        tokens.advance()
        values.append("" if tokens.kind in {",", ")"} else _exact_value(tokens))
    if tokens.kind != ")":
        raise ValueError(f"found '{tokens.text}', expected: ',' or ')'")
    tokens.advance()
    return values


def _checked_key(key: str) -> str:
    """Return a key `[prefix/]name` that the API would take."""
    prefix, slash, name = key.rpartition("/")
    bad_prefix = bool(slash) and (len(prefix) > _LONGEST_PREFIX or not _PREFIX.fullmatch(prefix))
    if bad_prefix or len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise ValueError(f'key: Invalid value: "{key}": {_what_is_wrong(name)}')
    return key


def _checked_value(key: str, value: str) -> str:
    if value and (len(value) > _LONGEST_NAME or not _NAME.fullmatch(value)):
        raise ValueError(f'values[0][{key}]: Invalid value: "{value}": {_what_is_wrong(value)}')
    return value


def _what_is_wrong(name: str) -> str:
    if len(name) > _LONGEST_NAME:
        return f"must be no more than {_LONGEST_NAME} bytes"
    return "must consist of alphanumeric characters, '-', '_' or '.', with an alphanumeric one first and last"
