"""What is wrong with a Corefile: CoreDNS's text word for word, then the place, the line, a caret and the cure."""

from __future__ import annotations

import unicodedata
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kubedns.corefile.values import Word

SHOWN_BEFORE, SHOWN = 60, 160  # characters of a long line: before the word, and in all
WIDE = frozenset("WF")


class Kind(StrEnum):
    """What CoreDNS puts between FILE:LINE and the text; BARE texts come without a position."""

    PARSING = "Error during parsing"
    SYNTAX = "Syntax error"
    BARE = ""


class Step(IntEnum):
    """When CoreDNS would find an error. It stops at the first, so each step goes over the whole file."""

    GROUP = 3
    KEYS = 4
    SETUP = 5
    SERVERS = 6


class CorefileError(Exception):
    """One mistake. `str()` is CoreDNS's text, `report()` is what a person reads."""

    def __init__(
        self, text: str, word: Word | None = None, cure: str = "", kind: Kind = Kind.BARE, step: Step = Step.SETUP
    ) -> None:
        """`word` is where the mistake is, `cure` what to do about it; a kind other than BARE needs a word."""
        super().__init__(text)
        self.text = text
        self.word = word
        self.cure = cure
        self.kind = kind
        self.step = step
        self.prefix = ""

    @property
    def errors(self) -> tuple[CorefileError, ...]:
        """The errors inside: here this one, of CorefileErrors several."""
        return (self,)

    def __str__(self) -> str:
        if self.word is None or self.kind is Kind.BARE:
            return f"{self.prefix}{self.text}"
        return f"{self.prefix}{self.word.file}:{self.word.line} - {self.kind}: {self.text}"

    def prefixed(self, prefix: str) -> CorefileError:
        """Return a copy whose text starts with `prefix`: `plugin/kubernetes: `."""
        copy = CorefileError(self.text, self.word, self.cure, self.kind, self.step)
        copy.prefix = prefix + self.prefix
        return copy

    def report(self) -> str:
        """Return CoreDNS's text, `  --> file:line:column`, the line, carets under the word, and the cure."""
        lines = [str(self)]
        if self.word is not None:
            lines += [f"  --> {self.word.location}", *_pointed_at(self.word)]
        if self.cure:
            lines.append(f"  {self.cure}")
        return "\n".join(lines)


class CorefileErrors(CorefileError):  # noqa: N818 - the plural says what it holds
    """Several mistakes, in the order in which CoreDNS would meet them."""

    def __init__(self, errors: Iterable[CorefileError]) -> None:
        """Raises ValueError when there are none."""
        self._errors = tuple(sorted((one for error in errors for one in error.errors), key=lambda one: one.step))
        if not self._errors:
            raise ValueError("CorefileErrors without an error")
        first = self._errors[0]
        super().__init__(first.text, first.word, first.cure, first.kind, first.step)
        self.prefix = first.prefix

    @property
    def errors(self) -> tuple[CorefileError, ...]:
        """The errors; those of an earlier step first, else in the order given."""
        return self._errors

    def __str__(self) -> str:
        return self.report()

    def prefixed(self, prefix: str) -> CorefileErrors:
        """Return a copy in which each text starts with `prefix`."""
        return CorefileErrors(error.prefixed(prefix) for error in self._errors)

    def report(self) -> str:
        """Return the reports of all, an empty line between two."""
        return "\n\n".join(error.report() for error in self._errors)


def _pointed_at(word: Word) -> list[str]:
    """Return the word's line and a line of carets under the word; of a word over several lines, under the first."""
    if word.line > len(word.source.lines):
        return []
    line = word.source.lines[word.line - 1].rstrip("\r")
    first = max(0, word.column - 1 - SHOWN_BEFORE)
    start = word.column - 1 - first
    line = line[first : first + SHOWN]
    # A tab before the word stays a tab below it, so that the carets stand right whatever a tab's width is.
    indent = "".join("\t" if character == "\t" else " " * _cells(character) for character in line[:start])
    marked = sum(_cells(character) for character in line[start : start + word.width])
    printable = "".join(c if c == "\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return [f"    {printable.rstrip()}", f"    {indent}{'^' * max(1, marked)}"]


def _cells(character: str) -> int:
    """Return how many columns of a terminal a character takes."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in WIDE else 1
