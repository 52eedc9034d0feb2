"""Text to words: quotes, comments, white space, positions."""

import time

import pytest

from kubedns.corefile.text import read_text

GO_SPACE = "\t\v\f \x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"

WORDS = {
    "nothing": ("", []),
    "blank": (" \t\r\n", []),
    "unicode-space": ("a" + "b".join(GO_SPACE) + "c", ["a", *"b" * (len(GO_SPACE) - 1), "c"]),
    "separators-of-python-alone": ("a\x1cb \x1d", ["a\x1cb", "\x1d"]),
    "carriage-return-inside": ("\ra\rb\r", ["ab"]),
    "carriage-return-in-quotes": ('"a\rb"', ["a\rb"]),
    "carriage-return-before-quote": ('\r"a b"', ["a b"]),
    "comment": ("a # b\nc", ["a", "c"]),
    "comment-behind-quote": ('"a"#b c\nd', ["a", "d"]),
    "quote-in-comment": ('# "\na', ["a"]),
    "comment-behind-brace": ("{#x\n}", ["{", "}"]),
    "no-escape-of-backslash": (r'"a\\" b', [r"a\\", "b"]),
    "backslash-before-newline": ('"a\\\nb"', ["a\\\nb"]),
    "open-quote": ('a "b c', ["a", "b c"]),
    "open-quote-alone": ('a "', ["a"]),
    "open-quote-and-backslash": ('a "b\\', ["a", "b"]),
    "open-quote-and-backslash-alone": ('a "\\', ["a"]),
    "byte-order-mark-first-only": ("\ufeffa \ufeffb", ["a", "\ufeffb"]),
    "braces-glued": ("a{ }b {} {{", ["a{", "}b", "{}", "{{"]),
    "nul": ("a\0b", ["a\0b"]),
}

POSITIONS = {
    "tab": ("\tlog", (1, 2, 3)),
    "quoted": ('\n  "a b"', (2, 3, 5)),
    "quoted-over-two-lines": ('x "ab\ncd"', (1, 3, 3)),
    "carriage-return": ("log\r\n", (1, 1, 3)),
    "behind-quoted-lines": ('"a\nb" log', (2, 4, 3)),
    "byte-order-mark": ("\ufefflog", (1, 1, 3)),
    "open-quote-and-newline": ('"\n', (1, 1, 1)),
}


@pytest.mark.parametrize(("text", "expected"), WORDS.values(), ids=WORDS)
def test_words(text: str, expected: list[str]) -> None:
    assert [word.text for word in read_text(text, "Corefile").words] == expected


@pytest.mark.parametrize(("text", "expected"), POSITIONS.values(), ids=POSITIONS)
def test_last_words_line_column_and_width(text: str, expected: tuple[int, int, int]) -> None:
    word = read_text(text, "Corefile").words[-1]
    assert (word.line, word.column, word.width) == expected


def test_pairs_of_braces_in_closing_order() -> None:
    braces = read_text("} a { b {\n} {", "Corefile").braces
    assert [(opened.line, opened.column, closed and closed.column) for opened, closed in braces] == [
        (1, 9, 1),
        (2, 3, None),
        (1, 5, None),
    ]


@pytest.mark.parametrize("text", ["{ " * 50_000, "{ " * 25_000 + "} " * 25_000, "} " * 50_000], ids=["{", "{}", "}"])
def test_braces_nest_to_any_depth(text: str) -> None:
    started = time.monotonic()
    assert len(read_text(text, "Corefile").words) == 50_000
    assert time.monotonic() - started < 20
