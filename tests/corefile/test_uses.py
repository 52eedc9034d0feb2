"""A directive's words as uses, arguments and properties: what a plugin of CoreDNS reads from the same lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kubedns.corefile.errors import CorefileError
from tests.corefile.reading import only_directive, read

if TYPE_CHECKING:
    from pathlib import Path

    from kubedns.corefile.values import Use


def tree(use: Use) -> list[Any]:
    """Return [name, arguments] and, where there is a block, its lines."""
    block = [[line.name.text, *(word.text for word in line.arguments)] for line in use.properties]
    return [use.name.text, [word.text for word in use.arguments], *([block] if use.has_block else [])]


USES = {
    "bare": ("log", [["log", []]]),
    "arguments": ("log a b", [["log", ["a", "b"]]]),
    "twice": ("log a\nlog b", [["log", ["a"]], ["log", ["b"]]]),
    "empty-block": ("log {\n}", [["log", [], []]]),
    "empty-block-on-one-line": ("log a { }", [["log", ["a"], []]]),
    "block": ("log a {\nclass error all\nx\n}", [["log", ["a"], [["class", "error", "all"], ["x"]]]]),
    "first-line-beside-brace": ("log { class error\n}", [["log", [], [["class", "error"]]]]),
    "one-line": ("log { class error }", [["log", [], [["class", "error", "}"]]]]),
    "one-line-twice": ("log { a }\nlog { b }", [["log", [], [["a", "}"], ["log"], ["{", "b", "}"]]]]),
    "brace-below": ("log a\n{\nclass error\n}", [["log", ["a"]], ["{", []], ["class", ["error"]], ["}", []]]),
    "behind-closing-brace": ("log {\n} a b", [["log", [], []], ["a", ["b"]]]),
    "behind-full-block": ("log {\nx\n} a b", [["log", [], [["x"]]], ["a", ["b"]]]),
    "two-blocks": ("log {\nx\n} {\ny\n}", [["log", [], [["x"]]], ["{", []], ["y", []], ["}", []]]),
    "nested": (
        "log {\na {\nb c\n}\nd\n}",
        [["log", [], [["a"], ["{"], ["b", "c"]]], ["d", []], ["}", []]],
    ),
    "quoted-lines": ('log {\nx "a\nb" c\ny\n}', [["log", [], [["x", "a\nb", "c"], ["y"]]]]),
    "quoted-braces": ('log "{"\nx\n"}"', [["log", [], [["x"]]]]),
}


@pytest.mark.parametrize(("text", "expected"), USES.values(), ids=USES)
def test_uses(text: str, expected: list[list[Any]]) -> None:
    directive = only_directive(f"a.org {{\n{text}\n}}")
    assert [tree(use) for use in directive.uses] == expected


def test_snippet_used_twice_is_one_line() -> None:
    directive = only_directive("(c) {\nlog a\n}\na.org {\nimport c\nimport c\n}")
    assert [tree(use) for use in directive.uses] == [["log", ["a", "log", "a"]]]


def test_words_of_two_files_are_two_lines(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("\nlog b")
    (block,) = read("a.org {\nlog a\nimport more\n}", path=tmp_path / "Corefile").blocks
    assert [tree(use) for use in block.directives["log"].uses] == [["log", ["a"]], ["log", ["b"]]]


def test_value_with_a_line_feed_holds_the_next_line() -> None:
    (block,) = read("a.org {\nlog {$X}\nerrors\n}", {"X": "x\ny"}).blocks
    assert list(block.directives) == ["log"]
    assert block.directives["log"].texts == ("x\ny", "errors")


def test_texts_are_the_arguments_of_all_uses() -> None:
    assert only_directive("a.org {\nlog a b\nlog\nlog c {\nd e\n}\n}").texts == ("a", "b", "c")


@pytest.mark.parametrize("text", ["log {\n}", "log a { x\n}", "log\n{\n}"])
def test_refused_block(text: str) -> None:
    with pytest.raises(CorefileError) as raised:
        only_directive(f"a.org {{\n{text}\n}}").refuse_block()
    line = 3 if text.startswith("log\n") else 2
    assert str(raised.value) == (f"Corefile:{line} - Error during parsing: Unexpected token '{{', expecting argument")


def test_no_block_to_refuse() -> None:
    only_directive("a.org {\nlog a\nlog b\n}").refuse_block()
