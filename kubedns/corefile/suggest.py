"""Cures: the name that was meant, the brace that is missing."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from kubedns.corefile.values import Word

LONGEST_NAME = 64  # of what is compared: longer words are no misspelt names
ALIKE = 0.65  # difflib's ratio: lgo is like log, foobar is not like forward


def nearest(name: str, names: Collection[str]) -> str:
    """Return `did you mean 'x'?` for the name of `names` that is most like it, or nothing."""
    if len(name) > LONGEST_NAME:
        return ""
    lower = name.lower()
    if lower in names:
        return f"did you mean '{lower}'?"
    found = difflib.get_close_matches(lower, names, n=1, cutoff=ALIKE)
    return f"did you mean '{found[0]}'?" if found else ""


def open_quote(last: Word) -> str:
    """Say that a file's last word is a quote that nothing closes, if it is: it holds the lines from there on."""
    lines = last.source.lines
    quoted = lines[last.line - 1][last.column - 1 : last.column] == '"'
    if not quoted or "\n" not in last.text or "\n".join(lines).rstrip().endswith('"'):
        return ""
    return f"the quote opened at {last.location} is never closed"


def missing_brace(braces: Iterable[tuple[Word, Word | None]], opening: Word) -> str:
    """Say which opening brace is likely the one not closed.

    `opening` is left open in the end; but if an inner `}` is indented less than the line it closes, that one was meant
    for an outer block.
    """
    for opened, closed in braces:
        if closed is not None and opened.line < closed.line and indent(opened) > indent(closed):
            return _not_closed(opened, f"; the '}}' of line {closed.line} is indented as if for an outer one")
    return _not_closed(opening, "")


def _not_closed(opening: Word, more: str) -> str:
    line = opening.source.lines[opening.line - 1].strip()
    shown = f" ({line})" if len(line) <= LONGEST_NAME and line.isprintable() else ""
    return f"the '{{' of {opening.file}:{opening.line}{shown} has no '}}'{more}"


def indent(word: Word) -> int:
    """Return how many columns the word's line is indented."""
    return indent_of(word.source.lines[word.line - 1])


def indent_of(line: str) -> int:
    line = line.expandtabs()
    return len(line) - len(line.lstrip())
