"""How to go on behind a name that no directive has: what was most likely meant, and the cure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from kubedns.corefile.suggest import indent, indent_of, missing_brace, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from kubedns.corefile.values import Word

KEY_CHARACTERS = frozenset(".:/")


class Recovery(Enum):
    """What an unknown name is taken for."""

    DIRECTIVE = "a directive misspelt: read its arguments and its block"
    NOTHING = "a brace too many: go on behind it"
    END = "a directive and the server block's closing brace, without a blank between"
    KEY = "the key of the next server block, since the brace is missing that closes this one"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an unknown name stands: in which server block, behind which directive, before which words of its line.

    `opening` is the server block's brace, `closed` whether the file has one that closes it.
    """

    key: str
    opening: Word | None
    closed: bool
    directive: Sequence[Word]
    line: Sequence[Word]


def judge(name: str, place: Place, directives: Collection[str]) -> Recovery:
    """Return what an unknown name is to be taken for."""
    open_ended = place.opening is None or not place.closed
    if name == "{" and open_ended:
        return Recovery.NOTHING
    if name.endswith("}") and name.removesuffix("}") in directives:
        return Recovery.END
    if open_ended and place.line and place.line[-1].text == "{" and not KEY_CHARACTERS.isdisjoint(name):
        return Recovery.KEY
    return Recovery.DIRECTIVE


def meant_for(word: Word, place: Place) -> Word | None:
    """Return the directive above, if it has no block of several lines and the word is indented as if inside one."""
    above = place.directive[0] if place.directive else None
    if above is None or above.source is not word.source or above.line >= word.line or indent(above) >= indent(word):
        return None
    between = word.source.lines[above.line : word.line - 1]
    outer = [line for line in between if line.strip() and indent_of(line) <= indent(above)]  # above is a snippet's
    return None if outer else above


def cure(
    word: Word, name: str, place: Place, directives: Collection[str], braces: Sequence[tuple[Word, Word | None]]
) -> str:
    """Return what to do about an unknown name; nothing where there is no telling."""
    recovery = judge(name, place, directives)
    if recovery is Recovery.END:
        return "put the '}' on a line of its own"
    if recovery is Recovery.KEY and place.opening is not None:
        return missing_brace(braces, place.opening)
    if recovery is Recovery.KEY:
        return f"of several server blocks each needs braces: put '{{' behind '{place.key}'"
    if name == "{":
        return "'{' belongs on the line of a directive"
    if name.endswith("{"):
        return "put a blank before '{'"
    above = meant_for(word, place)
    if above is not None:
        return f"if it is for '{above.text}' on line {above.line}, end that line with '{{'"
    return nearest(name, directives)
