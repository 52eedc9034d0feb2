"""A directive's words as a plugin reads them: uses, arguments, properties.

CoreDNS's plugins walk along the words (caddyfile.Dispenser: Next, RemainingArgs, NextBlock). A word's line decides what
it is, so that a block belongs to a use only if its brace stands on the use's line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubedns.corefile.values import Property, Use

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubedns.corefile.values import Word


def read_uses(words: Sequence[Word]) -> tuple[Use, ...]:
    """Return the uses that a directive's words, of all its lines in the block, amount to."""
    uses = []
    at = 0
    while at < len(words):
        use, at = _read_use(words, at)
        uses.append(use)
    return tuple(uses)


def _read_use(words: Sequence[Word], start: int) -> tuple[Use, int]:
    arguments, at = _arguments(words, start)
    if at >= len(words) or not words[at - 1].same_line(words[at]):
        return Use(words[start], arguments), at
    opening = words[at]
    properties, at = _properties(words, at + 1)
    return Use(words[start], arguments, properties, opening), at


def _properties(words: Sequence[Word], at: int) -> tuple[tuple[Property, ...], int]:
    properties: list[Property] = []
    while at < len(words):
        if words[at].text == "}":
            return tuple(properties), at + 1
        name = words[at]
        arguments, at = _arguments(words, at)
        properties.append(Property(name, arguments))
    return tuple(properties), at


def _arguments(words: Sequence[Word], start: int) -> tuple[tuple[Word, ...], int]:
    """Return the words behind words[start] on its line, up to a `{`, and where the next word is."""
    at = start + 1
    while at < len(words) and words[at].text != "{" and words[at - 1].same_line(words[at]):
        at += 1
    return tuple(words[start + 1 : at]), at
