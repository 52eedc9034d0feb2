"""YAML to plain values, event by event.

PyYAML's loaders take 0.6 s a MB, hold the loop all that time, keep a whole dump in memory and recurse as deep as the
text asks. libyaml's events cost a tenth of that, and here they become values between pauses: the items of a List one
by one, nested at most DEEPEST deep, aliases expanding to at most MOST_ALIASED values.

Scalars follow YAML 1.1 as the API's own reader does, but for what no API field holds: a timestamp, a binary value or
a tagged value stays text. Keys are text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST = 100  # collections within each other; an API object has about 20
MOST_ALIASED = 1_000_000  # values that the aliases of a document stand for, all taken together
EVENTS_PER_PAUSE = 500  # some 1 ms
LONGEST_INTEGER = 20  # characters: 64 bits and a sign
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_FLAGS = {
    spelling: value
    for value, words in ((True, ("true", "yes", "on")), (False, ("false", "no", "off")))
    for word in words
    for spelling in (word, word.capitalize(), word.upper())
}
_MERGE = object()  # the key << (yaml.org/type/merge.html), which a quoted "<<" is not
_NUMBER_STARTS = frozenset("0123456789+-.")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_OTHER_BASE = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+)")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?")
_RESOLVED_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float"))


class YamlError(Exception):
    """Text that is no YAML, or more than is taken; `line` and `column` count from 1, 0 where unknown."""

    def __init__(self, text: str, line: int, column: int) -> None:
        super().__init__(text)
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Document:
    """A document's value, or one item of a document's top-level `items`; `line` is where it starts, from 1."""

    value: Any
    line: int
    is_item: bool = False


def read_yaml(text: bytes) -> Iterator[Document | None]:
    """Yield each item of a List as soon as it is read, and each document without them at its end; None is a pause.

    An item without a `kind` of its own is left in its document's `items`. Raises YamlError.
    """
    parser = None
    try:
        parser = _LOADER(text)
        builder = _Builder()
        for count in range(1, 1 << 62):
            event = parser.get_event()
            if event is None:
                return
            document = builder.take(event)
            if document is not None or count % EVENTS_PER_PAUSE == 0:
                yield document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(what, *((mark.line + 1, mark.column + 1) if mark else (0, 0))) from None
    except yaml.reader.ReaderError as error:
        position = error.position if isinstance(error.position, int) else 0
        before = text[: max(position, 0)]
        line_start = before.rfind(b"\n") + 1
        raise YamlError(str(error.reason), before.count(b"\n") + 1, position - line_start + 1) from None
    finally:
        if parser is not None:
            parser.dispose()


class _Open:
    """A mapping or sequence being read, and how many values it stands for with all aliases expanded."""

    __slots__ = ("anchor", "emits", "is_mapping", "key", "line", "merges", "size", "value")

    def __init__(self, value: Any, anchor: str | None, line: int, *, emits: bool) -> None:
        self.value = value
        self.is_mapping = type(value) is dict
        self.anchor = anchor
        self.line = line
        self.emits = emits
        self.size = 1
        self.key: Any = None
        self.merges: list[Any] = []


class _Builder:
    """The values of one stream of events."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._aliased = 0
        self._root: Any = None
        self._line = 1

    def take(self, event: Any) -> Document | None:
        """Return what one more event completes."""
        if isinstance(event, ScalarEvent):
            return self._scalar(event)
        if isinstance(event, CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            return self._end()
        elif isinstance(event, AliasEvent):
            return self._alias(event)
        elif isinstance(event, DocumentStartEvent):
            self._anchors.clear()
            self._aliased, self._root, self._line = 0, None, _line(event)
        elif isinstance(event, DocumentEndEvent):
            self._anchors.clear()
            return Document(self._root, self._line)
        return None

    def _scalar(self, event: Any) -> Document | None:
        value: str = event.value
        innermost = self._open[-1] if self._open else None
        if innermost is not None and innermost.key is None and innermost.is_mapping:
            if event.anchor is not None:
                self._anchors[event.anchor] = (value, 1)
            innermost.key = value
            if value == "<<" and event.implicit[0]:
                innermost.key = _MERGE
            return None
        scalar: Any = value
        if event.implicit[0] or event.tag in _RESOLVED_TAGS:
            scalar = resolve_scalar(value)
        if event.anchor is not None:
            self._anchors[event.anchor] = (scalar, 1)
        return self._add(scalar, 1, _line(event))

    def _begin(self, event: Any) -> None:
        innermost = self._open[-1] if self._open else None
        if innermost is not None and innermost.key is None and innermost.is_mapping:
            raise _error(event, "a key must be text, not a mapping or a list")
        if len(self._open) == DEEPEST:
            raise _error(event, f"nested more than {DEEPEST} deep")
        emits = len(self._open) == 1 and self._open[0].key == "items"
        value: Any = {} if isinstance(event, MappingStartEvent) else []
        if not self._open:
            self._line = _line(event)
        if event.anchor is not None:
            self._anchors.pop(event.anchor, None)
        emits = emits and isinstance(event, SequenceStartEvent) and event.anchor is None
        self._open.append(_Open(value, event.anchor, _line(event), emits=emits))

    def _end(self) -> Document | None:
        done = self._open.pop()
        for merged in done.merges:
            _merge(done.value, merged)
        if done.anchor is not None:
            self._anchors[done.anchor] = (done.value, done.size)
        return self._add(done.value, done.size, done.line)

    def _alias(self, event: Any) -> Document | None:
        found = self._anchors.get(event.anchor)
        if found is None:
            raise _error(event, f"alias *{event.anchor} stands for nothing read before it")
        value, size = found
        self._aliased += size
        if self._aliased > MOST_ALIASED:
            raise _error(event, f"aliases expand to more than {MOST_ALIASED} values")
        innermost = self._open[-1] if self._open else None
        if innermost is not None and innermost.key is None and innermost.is_mapping:
            if not isinstance(value, str):
                raise _error(event, "a key must be text")
            innermost.key = value
            return None
        return self._add(value, size, _line(event))

    def _add(self, value: Any, size: int, line: int) -> Document | None:
        """Put a complete value into what is open around it."""
        if not self._open:
            self._root = value
            return None
        into = self._open[-1]
        into.size += size
        holder = into.value
        if not into.is_mapping:
            if into.emits and type(value) is dict and value.get("kind") is not None:
                return Document(value, line, is_item=True)
            holder.append(value)
        elif into.key is _MERGE:
            into.merges.extend(value if type(value) is list else [value])
            into.key = None
        elif into.key is not None:
            holder[into.key] = value
            into.key = None
        return None


def _merge(into: Any, merged: Any) -> None:
    if isinstance(merged, dict):
        for key, value in merged.items():
            into.setdefault(key, value)


def _line(event: Any) -> int:
    line: int = event.start_mark.line + 1
    return line


def _error(event: Any, text: str) -> YamlError:
    return YamlError(text, _line(event), event.start_mark.column + 1)


def resolve_scalar(text: str) -> bool | int | float | str | None:
    """Return what a plain scalar stands for; an integer that has more than 64 bits becomes a float, as in Go."""
    if text in _NULLS:
        return None
    if text in _FLAGS:
        return _FLAGS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if _INTEGER.fullmatch(text):
        plain = text.replace("_", "")
        return int(plain) if len(plain) <= LONGEST_INTEGER else float(plain)
    if _OTHER_BASE.fullmatch(text):
        return _integer_in_base(text)
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    return text


def _integer_in_base(text: str) -> int | str:
    """Return the value of 0x, 0b, 0o and YAML 1.1's 017; text where underscores or length make it none."""
    digits = text.lstrip("+-")
    bases = {"0x": 16, "0b": 2, "0o": 8}
    prefix = digits[:2] if digits[:2] in bases else "0"
    try:
        value = int(digits[len(prefix) :], bases.get(prefix, 8)) if len(digits) <= 4 * LONGEST_INTEGER else None
    except ValueError:
        value = None
    if value is None:
        return text
    return -value if text.startswith("-") else value
