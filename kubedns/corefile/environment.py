"""Environment variables in words: `{$NAME}` and `{%NAME%}`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMS = (("{%", "%}"), ("{$", "}"))  # all of the first form, then all of the second
MOST_REFERENCES = 256  # in one word, those inside values counted
LONGEST = 262_144  # characters of a word with all values filled in


class EndlessReferenceError(Exception):
    """A variable whose value holds a reference to itself, on which CoreDNS never ends; or values without measure."""


def expand_references(text: str, environment: Mapping[str, str]) -> str:
    """Return a word's text with variables filled in; unset ones are empty, and values may hold references.

    A reference without end stays as written. So does one without a name, and all behind it.
    """
    for start, end in FORMS:
        if start in text:
            text = _expand_form(text, start, end, environment)
    return text


def _expand_form(text: str, start: str, end: str, environment: Mapping[str, str]) -> str:
    name = ""
    for _ in range(MOST_REFERENCES):
        at = text.find(start)
        until = text.find(end, at) if at >= 0 else -1
        if until <= at + len(start):
            return text
        name = text[at + len(start) : until]
        text = text.replace(text[at : until + len(end)], _value(name, environment))
        if len(text) > LONGEST:
            break
    raise EndlessReferenceError(f"environment variable '{name}' leads back to itself, or to too long a text")


def _value(name: str, environment: Mapping[str, str]) -> str:
    """Return a variable's value; octets that are not UTF-8, which Python has as lone surrogates, as U+FFFD."""
    value = environment.get(name, "")
    return value if value.isascii() else value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
