"""Numbers and durations as Go reads and prints them, and what it says of those it can't read."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

INT64 = range(-(2**63), 2**63)
LONGEST = 400  # characters of a number that is converted at all; Go's texts for longer ones are the same

INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
FLOATING = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)
HEXADECIMAL = re.compile(r"[+-]?0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)p[+-]?[0-9]+", re.ASCII | re.IGNORECASE)
SPECIAL = frozenset({"inf", "infinity", "nan"})
TERM = re.compile(r"(?=.)(?P<whole>[0-9]*)(?:\.(?P<fraction>[0-9]*))?(?P<unit>[^0-9.]*)", re.ASCII | re.DOTALL)

SECOND, MINUTE, HOUR = 10**9, 60 * 10**9, 3600 * 10**9  # nanoseconds
UNITS = {
    "ns": 1,
    "us": 10**3,
    "\N{MICRO SIGN}s": 10**3,
    "\N{GREEK SMALL LETTER MU}s": 10**3,
    "ms": 10**6,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
}


class NumberError(ValueError):
    """A text that is no number or duration; says so in Go's words."""


def parse_integer(text: str, function: str = "Atoi", values: range = INT64) -> int:
    """Return the integer of a text; `function` is the one of strconv's that CoreDNS calls, `values` what it takes."""
    if not INTEGER.fullmatch(text) or (values.start >= 0 and text[0] in "+-"):
        raise NumberError(f"strconv.{function}: parsing {quote(text)}: invalid syntax")
    digits = text.lstrip("+-").lstrip("0") or "0"
    number = int(digits) if len(digits) <= LONGEST else INT64.stop
    number = -number if text[0] == "-" else number
    if len(digits) > LONGEST or number not in values:
        raise NumberError(f"strconv.{function}: parsing {quote(text)}: value out of range")
    return number


def parse_floating(text: str) -> float:
    """Return the floating-point number of a text (strconv.ParseFloat)."""
    if text.lstrip("+-").lower() in SPECIAL and len(text) - len(text.lstrip("+-")) <= 1:
        return float(text)
    if FLOATING.fullmatch(text):
        number = float(text)
    elif HEXADECIMAL.fullmatch(text):
        try:
            number = float.fromhex(text)
        except OverflowError:
            number = float("inf")
    else:
        raise NumberError(f"strconv.ParseFloat: parsing {quote(text)}: invalid syntax")
    if number in {float("inf"), float("-inf")}:
        raise NumberError(f"strconv.ParseFloat: parsing {quote(text)}: value out of range")
    return number


def parse_duration(text: str) -> float:
    """Return the seconds of a duration (time.ParseDuration): `30s`, `1h30m`, `1.5ms`, `-2s`, `0`."""
    rest = text[1:] if text[:1] in {"+", "-"} else text
    if rest == "0":
        return 0.0
    nanoseconds = sum(_terms(rest, text))
    if nanoseconds > INT64.stop - (text[0] != "-"):
        raise NumberError(f"time: invalid duration {quote(text)}")
    return (-nanoseconds if text[0] == "-" else nanoseconds) / SECOND


def _terms(rest: str, text: str) -> Iterator[int]:
    """Yield the nanoseconds of each number and unit of a duration; `text` is the whole of it, for errors."""
    if not re.match(r"[0-9.]", rest):
        raise NumberError(f"time: invalid duration {quote(text)}")
    for term in TERM.finditer(rest):
        whole, fraction, unit = term["whole"].lstrip("0"), (term["fraction"] or "")[:18], term["unit"]
        if not (term["whole"] or fraction) or len(whole) > len(str(INT64.stop)):
            raise NumberError(f"time: invalid duration {quote(text)}")
        if not unit:
            raise NumberError(f"time: missing unit in duration {quote(text)}")
        if unit not in UNITS:
            raise NumberError(f"time: unknown unit {quote(unit)} in duration {quote(text)}")
        yield int(whole or "0") * UNITS[unit] + int(fraction or "0") * UNITS[unit] // 10 ** len(fraction)


def format_duration(seconds: float) -> str:
    """Return seconds as Go prints a duration: `30s`, `5m0s`, `1.5s`, `250ms`."""
    nanoseconds = round(abs(seconds) * SECOND)
    if nanoseconds == 0:
        return "0s"
    sign = "-" if seconds < 0 else ""
    for unit, size in (("ns", 1), ("\N{MICRO SIGN}s", 10**3), ("ms", 10**6)):
        if nanoseconds < size * 1000:
            return f"{sign}{_decimal(nanoseconds, size)}{unit}"
    hours, rest = divmod(nanoseconds, HOUR)
    minutes, rest = divmod(rest, MINUTE)
    parts = f"{hours}h" if hours else ""
    parts += f"{minutes}m" if hours or minutes else ""
    return f"{sign}{parts}{_decimal(rest, SECOND)}s"


def _decimal(number: int, unit: int) -> str:
    text = f"{Decimal(number) / unit:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def quote(text: str) -> str:
    r"""Return a text in double quotes as Go's %q does: `"`, `\` and what is not printable escaped."""
    return f'"{"".join(_escaped(character) for character in text)}"'


def _escaped(character: str) -> str:
    short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b"}
    short |= {"\f": "\\f", "\v": "\\v"}
    if character in short:
        return short[character]
    if character.isprintable():
        return character
    code = ord(character)
    if character.isascii():
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004 - more than four digits tell
