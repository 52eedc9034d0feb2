"""What `errors` is told: which errors are counted rather than logged one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubedns.corefile import readers
from kubedns.corefile.errors import CorefileError, CorefileErrors, Kind
from kubedns.corefile.suggest import nearest
from plugins.errors.characters import RegexpError
from plugins.errors.regexp import Regexp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubedns.corefile.values import Directive, Property, Word

LEVELS = ("warning", "error", "info", "debug")
LONGEST_PATTERN = 10_000  # octets
PROPERTIES = ("stacktrace", "consolidate")
SHOW_FIRST = "show_first"
FEWEST, MOST = 2, 4  # arguments of consolidate


@dataclass(frozen=True, slots=True)
class Rule:
    """`consolidate`: errors that match are counted for `seconds`, and the count is logged."""

    seconds: float
    spelled: str
    pattern: Regexp
    level: str = "error"
    show_first: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """The rules in the order in which they are tried."""

    rules: tuple[Rule, ...] = ()
    stacktrace: bool = False


def read_options(directive: Directive) -> Options:
    """Raise CorefileErrors for all that is no option of `errors`."""
    use = readers.once(directive)
    if len(use.arguments) > 1:
        raise readers.wrong_arguments(use, cure="errors takes one argument at most: stdout")
    wrong = [
        word.error(f"invalid log file: {word.text}", "errors go to standard output: leave this word out")
        for word in use.arguments
        if word.text != "stdout"
    ]
    rules: list[Rule] = []
    stacktrace = False
    for line in use.properties:
        try:
            if line.name.text == "consolidate":
                rules.append(_read_rule(line))
            else:
                stacktrace = _read_stacktrace(line)
        except CorefileError as error:
            wrong.append(error)
    if wrong:
        raise wrong[0] if len(wrong) == 1 else CorefileErrors(wrong)
    return Options(tuple(rules), stacktrace)


def _read_stacktrace(line: Property) -> bool:
    """CoreDNS takes a word behind `stacktrace` for the next property."""
    if line.name.text != "stacktrace":
        raise _unknown(line.name)
    if line.arguments:
        raise _unknown(line.arguments[0])
    return True


def _unknown(word: Word) -> CorefileError:
    text = f"Unexpected token '{word.text}', expecting 'Unknown field {word.text}'"
    cure = nearest(word.text, PROPERTIES) or f"a line here starts with one of: {', '.join(PROPERTIES)}"
    return word.error(text, cure, Kind.SYNTAX)


def _read_rule(line: Property) -> Rule:
    if not FEWEST <= len(line.arguments) <= MOST:
        raise readers.wrong_arguments(line, cure="write: consolidate DURATION REGEXP [LEVEL] [show_first]")
    duration, spelled, *rest = line.arguments
    seconds = readers.duration(duration, Kind.PARSING)
    pattern = _read_pattern(spelled)
    level, show_first = _read_level(rest)
    return Rule(seconds, spelled.text, pattern, level, show_first)


def _read_pattern(word: Word) -> Regexp:
    size = len(word.text.encode())
    if size > LONGEST_PATTERN:
        raise word.error(f"regex pattern too long: {size} > {LONGEST_PATTERN}", "a shorter one will do")
    try:
        return Regexp(word.text)
    except RegexpError as error:
        raise word.error(str(error), "expressions are RE2's: https://github.com/google/re2/wiki/Syntax") from None


def _read_level(words: Sequence[Word]) -> tuple[str, bool]:
    level, show_first = None, False
    for word in words:
        if word.text == SHOW_FIRST:
            show_first = True
        elif word.text not in LEVELS:
            cure = nearest(word.text, (*LEVELS, SHOW_FIRST))
            raise word.error(f"unknown option in consolidate: {word.text}", cure)
        elif show_first:
            raise word.error("log level must come before show_first in consolidate", f"write: {word.text} {SHOW_FIRST}")
        elif level is not None:
            raise word.error("multiple log levels specified in consolidate", f"keep one of {level} and {word.text}")
        else:
            level = word.text
    return level or "error", show_first
