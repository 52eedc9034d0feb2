"""Words to values, with CoreDNS's text at the word where that fails.

The text of an error that CoreDNS returns as it came (of strconv, of package time) has no FILE:LINE: `kind` says which
way a plugin does it.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, TypeVar

from kubedns.corefile.errors import CorefileError, CorefileErrors, Kind
from kubedns.corefile.keys import expand_zones
from kubedns.corefile.numbers import (
    INT64,
    NumberError,
    format_duration,
    parse_duration,
    parse_floating,
    parse_integer,
)
from kubedns.corefile.suggest import nearest
from kubedns.corefile.values import Use, Word

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from kubedns.corefile.values import Directive, Property

__all__ = [
    "address",
    "choice",
    "duration",
    "floating",
    "format_duration",
    "integer",
    "no_arguments",
    "number_in_range",
    "once",
    "one_argument",
    "read_properties",
    "wrong_arguments",
    "zones_or_keys",
]

DURATION_CURE = "write a number and a unit, as in 30s, 5m or 1h30m"
MOST_SHOWN = 12  # names in "one of ..."

Value = TypeVar("Value")


def wrong_arguments(item: Use | Property | Word, word: Word | None = None, cure: str = "") -> CorefileError:
    """Return the error of too few or too many arguments, to be raised; at a word, by default the line's last."""
    at = word or (item if isinstance(item, Word) else item.last)
    if at.text == "{":
        return at.error("Unexpected token '{', expecting argument", cure)
    return at.error(f"Wrong argument count or unexpected line ending after '{at.text}'", cure)


def no_arguments(item: Use | Property) -> None:
    """Raise CorefileError if there are arguments; at the first behind a directive, at the last behind a property.

    For a directive a block is one too, that is how CoreDNS's plugins without options see it.
    """
    name = item.name.text
    if item.arguments:
        at = item.arguments[0] if isinstance(item, Use) else item.last
        raise wrong_arguments(item, at, f"{name} takes no arguments")
    if isinstance(item, Use) and item.opening is not None:
        raise wrong_arguments(item, item.opening, f"{name} has no block")


def one_argument(item: Use | Property) -> Word:
    """Return the one argument; raise CorefileError for none or several."""
    if len(item.arguments) != 1:
        raise wrong_arguments(item, cure=f"{item.name.text} takes one argument")
    return item.arguments[0]


def integer(word: Word, function: str = "Atoi", values: range = INT64, kind: Kind = Kind.BARE) -> int:
    """Return an integer of `values`, which strconv's `function` checks."""
    return _read(word, lambda text: parse_integer(text, function, values), kind, "write a whole number")


def number_in_range(word: Word, lowest: int, highest: int, text: str, kind: Kind = Kind.PARSING) -> int:
    """Return an integer from `lowest` to `highest`; else raise `text`, in which {} stands for the number."""
    number = integer(word)
    if not lowest <= number <= highest:
        raise word.error(text.replace("{}", str(number)), f"write a number from {lowest} to {highest}", kind)
    return number


def floating(word: Word, kind: Kind = Kind.BARE) -> float:
    """Return a floating-point number."""
    return _read(word, parse_floating, kind, "write a number")


def duration(word: Word, kind: Kind = Kind.BARE) -> float:
    """Return the seconds of a duration, which may be negative."""
    return _read(word, parse_duration, kind, DURATION_CURE)


def address(word: Word, text: str = "invalid IP address: {}", kind: Kind = Kind.PARSING) -> str:
    """Return an IP address as text in its shortest form; else raise `text`, in which {} stands for the word."""
    try:
        if "%" in word.text:
            raise ValueError
        return str(ipaddress.ip_address(word.text))
    except ValueError:
        raise word.error(text.replace("{}", word.text), "write an IPv4 or IPv6 address", kind) from None


def choice(word: Word, choices: Collection[str], text: str, kind: Kind = Kind.PARSING) -> str:
    """Return a word that is one of `choices`; else raise `text`, in which {} stands for the word."""
    if word.text in choices:
        return word.text
    shown = ", ".join(sorted(choices)) if len(choices) <= MOST_SHOWN else ""
    cure = nearest(word.text, choices) or (shown and f"write one of: {shown}")
    raise word.error(text.replace("{}", word.text), cure, kind)


def once(directive: Directive) -> Use:
    """Return the only use of a directive; raise CorefileError at the second."""
    if len(directive.uses) > 1:
        second = directive.uses[1].name
        cure = f"leave out one '{directive.name}'"
        if second.text == "{":
            cure = f"put the '{{' on the line of '{directive.name}'"
        elif second.text != directive.uses[0].name.text:
            cure = f"put '{second.text}' on a line of its own"
        raise second.error("this plugin can only be used once per Server Block", cure, Kind.BARE)
    return directive.uses[0]


def zones_or_keys(arguments: Sequence[Word], keys: Sequence[str]) -> tuple[str, ...]:
    """Return the zones that arguments name, CIDR expanded; without arguments those of the server block."""
    return expand_zones(word.text for word in arguments) if arguments else tuple(keys)


def read_properties(
    use: Use, handlers: Mapping[str, Callable[[Property], None]], unknown: str = "unknown property '{}'"
) -> None:
    """Hand each property to the handler of its name; then raise all that they raised, and unknown names' errors.

    In `unknown` {} stands for the name.
    """
    errors: list[CorefileError] = []
    for each in use.properties:
        handler = handlers.get(each.name.text)
        try:
            if handler is None:
                raise each.name.error(unknown.replace("{}", each.name.text), nearest(each.name.text, handlers.keys()))
            handler(each)
        except CorefileError as error:
            errors += error.errors
    if len(errors) > 1:
        raise CorefileErrors(errors)
    if errors:
        raise errors[0]


def _read(word: Word, parse: Callable[[str], Value], kind: Kind, cure: str) -> Value:
    try:
        return parse(word.text)
    except NumberError as error:
        raise word.error(str(error), cure, kind) from None
