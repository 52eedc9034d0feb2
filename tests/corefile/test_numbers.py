"""Integers, floating-point numbers and durations in Go's words."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedns.corefile.numbers import (
    NumberError,
    format_duration,
    parse_duration,
    parse_floating,
    parse_integer,
    quote,
)

SYNTAX, RANGE = "invalid syntax", "value out of range"

INTEGERS = {
    "0": 0,
    "30": 30,
    "+5": 5,
    "-5": -5,
    "007": 7,
    "9223372036854775807": 2**63 - 1,
    "-9223372036854775808": -(2**63),
}

NO_INTEGERS = {
    "": SYNTAX,
    "x": SYNTAX,
    "5s": SYNTAX,
    "1_0": SYNTAX,
    " 1": SYNTAX,
    "1.0": SYNTAX,
    "+": SYNTAX,
    "--1": SYNTAX,
    "\u0665": SYNTAX,
    "9223372036854775808": RANGE,
    "-9223372036854775809": RANGE,
    "9" * 5000: RANGE,
}


@pytest.mark.parametrize(("text", "number"), INTEGERS.items())
def test_integer(text: str, number: int) -> None:
    assert parse_integer(text) == number


@pytest.mark.parametrize(("text", "why"), NO_INTEGERS.items(), ids=[text[:20] for text in NO_INTEGERS])
def test_no_integer(text: str, why: str) -> None:
    with pytest.raises(NumberError) as raised:
        parse_integer(text)
    assert str(raised.value) == f'strconv.Atoi: parsing "{text}": {why}'


@pytest.mark.parametrize(("text", "why"), [("-1", SYNTAX), ("+1", SYNTAX), ("65536", RANGE)])
def test_no_unsigned_integer(text: str, why: str) -> None:
    with pytest.raises(NumberError, match=rf"strconv\.ParseUint: parsing .*: {why}"):
        parse_integer(text, "ParseUint", range(65536))


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1.0), (".5", 0.5), ("5.", 5.0), ("-1e3", -1000.0), ("0x1p-2", 0.25), ("Inf", math.inf), ("-inf", -math.inf)],
)
def test_floating(text: str, number: float) -> None:
    assert parse_floating(text) == number


def test_not_a_number() -> None:
    assert math.isnan(parse_floating("NaN"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", SYNTAX),
        ("x", SYNTAX),
        ("1_0", SYNTAX),
        (".", SYNTAX),
        ("+-inf", SYNTAX),
        ("1e999", RANGE),
        ("0x1p9999", RANGE),
    ],
)
def test_no_floating(text: str, why: str) -> None:
    with pytest.raises(NumberError) as raised:
        parse_floating(text)
    assert str(raised.value) == f'strconv.ParseFloat: parsing "{text}": {why}'


DURATIONS = {
    "0": 0,
    "-0": 0,
    "30s": 30,
    "5m": 300,
    "1h30m": 5400,
    "1.5s": 1.5,
    ".5s": 0.5,
    "1.s": 1,
    "250ms": 0.25,
    "7us": 7e-6,
    "7\N{MICRO SIGN}s": 7e-6,
    "7\N{GREEK SMALL LETTER MU}s": 7e-6,
    "3ns": 3e-9,
    "-2s": -2,
    "+2s": 2,
    "1h1h": 7200,
    "0.1h": 360,
}

NO_DURATIONS = {
    "": 'time: invalid duration ""',
    "x": 'time: invalid duration "x"',
    "+": 'time: invalid duration "+"',
    ".s": 'time: invalid duration ".s"',
    "5": 'time: missing unit in duration "5"',
    "1m5": 'time: missing unit in duration "1m5"',
    "5d": 'time: unknown unit "d" in duration "5d"',
    "5 s": 'time: unknown unit " s" in duration "5 s"',
    "5S": 'time: unknown unit "S" in duration "5S"',
    "5s ": 'time: unknown unit "s " in duration "5s "',
    "--5s": 'time: invalid duration "--5s"',
    "99999999999999h": 'time: invalid duration "99999999999999h"',
    "5\n": 'time: unknown unit "\\n" in duration "5\\n"',
}


@pytest.mark.parametrize(("text", "seconds"), DURATIONS.items())
def test_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "why"), NO_DURATIONS.items())
def test_no_duration(text: str, why: str) -> None:
    with pytest.raises(NumberError) as raised:
        parse_duration(text)
    assert str(raised.value) == why


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (30, "30s"),
        (300, "5m0s"),
        (3600, "1h0m0s"),
        (5400, "1h30m0s"),
        (1.5, "1.5s"),
        (100, "1m40s"),
        (61.25, "1m1.25s"),
        (0.25, "250ms"),
        (0.0015, "1.5ms"),
        (0.000007, "7\N{MICRO SIGN}s"),
        (0.000000003, "3ns"),
        (-2, "-2s"),
        (5.001, "5.001s"),
    ],
)
def test_formatted_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(-(10**15), 10**15))
def test_formatted_duration_reads_back(microseconds: int) -> None:
    assert parse_duration(format_duration(microseconds / 10**6)) == pytest.approx(microseconds / 10**6)


@given(st.text() | st.from_regex(r"[-+]?([0-9.]{0,5}[a-zµ]{0,3}){0,4}", fullmatch=True))
def test_any_text_is_a_number_or_an_error(text: str) -> None:
    for parse in (parse_integer, parse_floating, parse_duration):
        try:
            parse(text)
        except NumberError as error:
            assert quote(text) in str(error)  # noqa: PT017 - most texts raise, and may


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("a", '"a"'),
        ('"\\', r'"\"\\"'),
        ("\n\t\r\a\b\f\v", r'"\n\t\r\a\b\f\v"'),
        ("\0\x7f", r'"\x00\x7f"'),
        ("é\x85", '"é\\u0085"'),
    ],
)
def test_quote(text: str, quoted: str) -> None:
    assert quote(text) == quoted
