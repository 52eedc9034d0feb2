"""The parts of a regular expression that stand for one character, or for a place between two."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Test = Callable[[str], bool]

HIGHEST = 0x10FFFF
HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
OCTAL = frozenset("01234567")

# RE2's own: ASCII alone, and \s without the vertical tab.
PERL = {"d": "09", "s": "\t\n\f\r  ", "w": "09AZaz__"}  # pairs: from, to
POSIX = {
    "alnum": "09AZaz", "alpha": "AZaz", "ascii": "\0\x7f", "blank": "\t\t  ", "cntrl": "\0\x1f\x7f\x7f",
    "digit": "09", "graph": "!~", "lower": "az", "print": " ~", "punct": "!/:@[`{~", "space": "\t\r  ",
    "upper": "AZ", "word": "09AZaz__", "xdigit": "09AFaf",
}  # fmt: skip
CONTROLS = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
CATEGORIES = frozenset(
    kind + letter
    for kind, letters in {
        "C": "cfos",
        "L": "lmotu",
        "M": "cen",
        "N": "dlo",
        "P": "cdefios",
        "S": "ckmo",
        "Z": "lps",
    }.items()
    for letter in ("", *letters)
)


class RegexpError(Exception):
    """What is wrong with an expression, and which part of it, as Go words it."""

    def __init__(self, text: str, part: str) -> None:
        super().__init__(f"error parsing regexp: {text}: `{part}`")


def count(text: str) -> int | None:
    """Return a number of repetitions; None where there is none (RE2 takes no leading zeros)."""
    if not (text.isascii() and text.isdigit()) or (text[0] == "0" and text != "0"):
        return None
    return int(text[:9])  # more digits are too many whatever follows


def anything(_: str) -> bool:
    return True


def not_newline(character: str) -> bool:
    return character != "\n"


def text_start(before: str, _: str) -> bool:
    return not before


def text_end(_: str, after: str) -> bool:
    return not after


def line_start(before: str, _: str) -> bool:
    return before in {"", "\n"}


def line_end(_: str, after: str) -> bool:
    return after in {"", "\n"}


def word_edge(before: str, after: str) -> bool:
    return _is_word(before) != _is_word(after)


def no_word_edge(before: str, after: str) -> bool:
    return _is_word(before) == _is_word(after)


CONDITIONS: dict[str, Callable[[str, str], bool]] = {
    "A": text_start, "z": text_end, "b": word_edge, "B": no_word_edge,
}  # fmt: skip


def _is_word(character: str) -> bool:
    return character == "_" or (character.isascii() and character.isalnum())


def one(character: str, *, fold: bool) -> Test:
    test = within([(character, character)])
    return folded(test) if fold else test


def within(ranges: Iterable[tuple[str, str]]) -> Test:
    held = tuple(ranges)
    return lambda character: any(low <= character <= high for low, high in held)


def folded(test: Test) -> Test:
    """Take capital and small letters for the same."""
    return lambda character: any(
        test(one) for one in (character, character.lower(), character.upper()) if len(one) == 1
    )


def complement(test: Test) -> Test:
    return lambda character: not test(character)


def any_of(tests: list[Test]) -> Test:
    return lambda character: any(test(character) for test in tests)


def read_escape(pattern: str, at: int, *, fold: bool) -> tuple[Test, int]:
    """Read what stands behind a backslash and is one character; return its test and the place behind it."""
    found = _read_set(pattern, at)
    if found is None:
        character, at = _read_character(pattern, at)
        found = within([(character, character)]), at
    test, at = found
    return (folded(test) if fold else test), at


def read_class(pattern: str, at: int, *, fold: bool) -> tuple[Test, int]:
    """Read a bracket expression from behind its `[`; return its test and the place behind its `]`."""
    start = at - 1
    negated = pattern.startswith("^", at)
    at += negated
    tests: list[Test] = []
    first = True
    while first or not pattern.startswith("]", at):
        first = False
        if at >= len(pattern):
            raise RegexpError("missing closing ]", pattern[start:])
        found = _read_posix(pattern, at)
        if found is None and pattern[at] == "\\":
            found = _read_set(pattern, at + 1)
        if found is None:
            found = _read_range(pattern, at, start)
        test, at = found
        tests.append(test)
    whole = folded(any_of(tests)) if fold else any_of(tests)
    return (complement(whole) if negated else whole), at + 1


def _read_posix(pattern: str, at: int) -> tuple[Test, int] | None:
    if not pattern.startswith("[:", at) or (end := pattern.find(":]", at + 2)) < 0:
        return None
    word = pattern[at + 2 : end]
    ranges = POSIX.get(word.removeprefix("^"))
    if ranges is None:
        raise RegexpError("invalid character class range", pattern[at : end + 2])
    test = within(_pairs(ranges))
    return (complement(test) if word.startswith("^") else test), end + 2


def _read_range(pattern: str, at: int, start: int) -> tuple[Test, int]:
    here = at
    low, at = _read_in_class(pattern, at, start)
    high = low
    if pattern.startswith("-", at) and not pattern.startswith("-]", at):
        high, at = _read_in_class(pattern, at + 1, start)
        if high < low:
            raise RegexpError("invalid character class range", pattern[here:at])
    return within([(low, high)]), at


def _read_in_class(pattern: str, at: int, start: int) -> tuple[str, int]:
    if at >= len(pattern):
        raise RegexpError("missing closing ]", pattern[start:])
    if pattern[at] == "\\":
        return _read_character(pattern, at + 1)
    return pattern[at], at + 1


def _read_set(pattern: str, at: int) -> tuple[Test, int] | None:
    r"""Read \d, \S, \pL, \P{Lu} from behind the backslash; None where something else stands there."""
    letter = pattern[at : at + 1]
    if letter in {"p", "P"}:
        return _read_category(pattern, at)
    if letter == "C":
        return anything, at + 1
    if letter.lower() not in PERL:
        return None
    test = within(_pairs(PERL[letter.lower()]))
    return (complement(test) if letter.isupper() else test), at + 1


def _read_category(pattern: str, at: int) -> tuple[Test, int]:
    """Read a general category of Unicode; its scripts are not known here."""
    end = pattern.find("}", at) if pattern.startswith("{", at + 1) else at + 1
    spelled = pattern[at + 1 : end + 1].strip("{}")
    wanted = spelled.removeprefix("^")
    if end < 0 or wanted not in CATEGORIES:
        raise RegexpError("invalid character class range", pattern[at - 1 : end + 1 if end >= 0 else None])

    def test(character: str) -> bool:
        return unicodedata.category(character).startswith(wanted)

    return (complement(test) if pattern.startswith("P", at) != spelled.startswith("^") else test), end + 1


def _read_character(pattern: str, at: int) -> tuple[str, int]:
    r"""Read an escaped character from behind the backslash: \., \n, \x41, \x{1F600}, \012. There is no \1."""
    letter = pattern[at : at + 1]
    if not letter:
        raise RegexpError("trailing backslash at end of expression", "")
    if letter in CONTROLS:
        return CONTROLS[letter], at + 1
    if letter == "x":
        return _read_hexadecimal(pattern, at)
    digits = _leading(pattern[at : at + 3], OCTAL)
    if digits and (len(digits) > 1 or digits == "0"):
        return chr(int(digits, 8)), at + len(digits)
    if letter.isascii() and not letter.isalnum():
        return letter, at + 1
    raise RegexpError("invalid escape sequence", f"\\{letter}")


def _read_hexadecimal(pattern: str, at: int) -> tuple[str, int]:
    if pattern.startswith("{", at + 1):
        digits = _leading(pattern[at + 2 :], HEXADECIMAL)
        end = at + 2 + len(digits)
        if digits and pattern.startswith("}", end) and int(digits, 16) <= HIGHEST:
            return chr(int(digits, 16)), end + 1
    else:
        digits = _leading(pattern[at + 1 : at + 3], HEXADECIMAL)
        end = at + 1 + len(digits)
        if len(digits) == 2:  # noqa: PLR2004 - \xHH has two
            return chr(int(digits, 16)), end
    raise RegexpError("invalid escape sequence", pattern[at - 1 : end + 1])


def _leading(text: str, allowed: frozenset[str]) -> str:
    count = next((place for place, character in enumerate(text) if character not in allowed), len(text))
    return text[:count]


def _pairs(ranges: str) -> list[tuple[str, str]]:
    return list(zip(ranges[::2], ranges[1::2], strict=True))
