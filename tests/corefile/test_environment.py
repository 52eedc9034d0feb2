"""Environment variables in words."""

import time

import pytest

from kubedns.corefile.environment import EndlessReferenceError, expand_references
from tests.corefile.reading import read, shape, texts

ENVIRONMENT = {
    "A": "a",
    "B": "b {$A}",
    "NESTED": "{%A%}",
    "SPACE": "x y",
    "BRACE": "{",
    "COMMA": "a.org,",
    "CLOSE": "}",
    "LINES": "x\ny",
    "LATIN": "caf\udce9",
    "SELF": "{$SELF}",
    "FRO": "x{$TO}",
    "TO": "y{$FRO}",
    "TWICE": "{$TWICE}{$TWICE}",
    "MIXED": "{$MIXED}",
}

EXPANDED = {
    "none": ("abc", "abc"),
    "both-forms": ("{$A}-{%A%}-{$A}", "a-a-a"),
    "unset": ("x{$NONE}{%NONE%}y", "xy"),
    "value-with-reference": ("{$B}", "b a"),
    "second-form-in-value-of-first": ("{$NESTED}", "{%A%}"),
    "first-form-in-value-of-second": ("{%B%}", "b a"),
    "open": ("{$A", "{$A"),
    "open-percent": ("{%A}", "{%A}"),
    "nameless-stops-its-form": ("{$}{$A}{%A%}", "{$}{$A}a"),
    "nameless-percent": ("{%%}{%A%}{$A}", "{%%}{%A%}a"),
    "half-a-percent": ("{%}{%A%}", "{%}{%A%}"),
    "name-with-blanks": ("{$A }", ""),
    "octets-not-utf-8": ("{$LATIN}", "caf\ufffd"),
}


@pytest.mark.parametrize(("text", "expected"), EXPANDED.values(), ids=EXPANDED)
def test_expanded(text: str, expected: str) -> None:
    assert expand_references(text, ENVIRONMENT) == expected


@pytest.mark.parametrize("name", ["SELF", "FRO", "TO", "TWICE", "MIXED"])
def test_endless(name: str) -> None:
    with pytest.raises(EndlessReferenceError, match="leads back to itself"):
        expand_references(f"{{${name}}}", ENVIRONMENT)


def test_endless_reference_is_an_error_at_its_words() -> None:
    started = time.monotonic()
    (first, second) = read("{$SELF} {\nlog {$TWICE}\n}", ENVIRONMENT).errors
    assert (first.word and first.word.location, second.word and second.word.location) == (
        "Corefile:1:1",
        "Corefile:2:5",
    )
    assert time.monotonic() - started < 20


def test_value_is_neither_brace_nor_several_words() -> None:
    corefile = read("a.org {\nlog {$SPACE}\nerrors #\n}", ENVIRONMENT)
    assert shape(corefile) == [(["a.org"], {"log": [("log", 2), ("x y", 2)], "errors": [("errors", 3)]})]


def test_value_is_the_comma_of_a_key() -> None:
    assert shape(read("{$COMMA}\nb.org {\nlog\n}", ENVIRONMENT)) == [(["a.org", "b.org"], {"log": [("log", 3)]})]


def test_value_opens_no_block() -> None:
    assert texts(read("a.org {\nlog {$BRACE}\n}", ENVIRONMENT).errors) == []


def test_file_name_of_an_import() -> None:
    assert texts(read("a.org {\nimport {$NONE}x\n}", ENVIRONMENT).errors) == [
        "Corefile:2 - Error during parsing: File to import not found: x"
    ]


def test_snippet_name_is_taken_as_written() -> None:
    corefile = read("({$A}) {\nlog\n}\nb.org {\nimport a\n}", ENVIRONMENT)
    assert texts(corefile.errors) == ["Corefile:5 - Error during parsing: File to import not found: a"]
