"""The parsed form as a whole: fingerprints, and what holds of any text."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kubedns.corefile.errors import CorefileError, CorefileErrors
from kubedns.corefile.keys import expand_keys
from kubedns.corefile.text import read_text
from tests.corefile.reading import ORDER, read

BASE = "a.org {\n  log x\n  cache 30 {\n    denial 5\n  }\n}\n"

SAME = {
    "itself": BASE,
    "indented": BASE.replace("  ", "\t"),
    "comment-behind": BASE + "# the end\n\n",
    "comment-on-a-line": BASE.replace("log x", "log x # all"),
    "quoted": BASE.replace("log x", 'log "x"'),
    "environment": BASE.replace("log x", "log {$X}"),
}

DIFFERENT = {
    "line-before": "\n" + BASE,
    "other-word": BASE.replace("30", "31"),
    "other-key": BASE.replace("a.org", "b.org"),
    "other-directive": BASE.replace("log", "debug"),
    "unknown-directive": BASE.replace("log", "lgo"),
    "second-key": BASE.replace("a.org", "a.org b.org"),
}

NOT_GROUPED = {
    "not-closed": "a.org {\nlog",
    "directive-not-closed": "a.org {\ncache {\n",
    "brace-behind-directive": "a.org {\nlog }\n}",
    "no-file": "a.org {\nimport nope\n}",
    "block-inside-unclosed-block": "a.org {\nlog\nb.org {\nlog\n}",
}


def fingerprint(text: str) -> str:
    return read(text, {"X": "x"}).fingerprint


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_same_fingerprint(text: str) -> None:
    assert fingerprint(text) == fingerprint(BASE)
    assert len(fingerprint(text)) == 128


@pytest.mark.parametrize("text", DIFFERENT.values(), ids=DIFFERENT)
def test_different_fingerprint(text: str) -> None:
    assert fingerprint(text) != fingerprint(BASE)
    assert len(fingerprint(text)) == 128


@pytest.mark.parametrize("text", NOT_GROUPED.values(), ids=NOT_GROUPED)
def test_no_fingerprint(text: str) -> None:
    assert fingerprint(text) == ""


BARE = st.sampled_from(
    [
        *ORDER,
        "import",
        "(c)",
        "c",
        "a.org",
        "b.org,",
        ".",
        ":53",
        "10.0.0.0/9",
        "x#",
        "{$A}",
        "{%A%}",
        "{$",
        '"a b"',
        '"',
    ]
)
PIECE = BARE | st.sampled_from(["{", "}", "\n", "\n", " ", "\r\n", '"{"', '"x\ny"', "\\"]) | st.text(max_size=3)
COREFILES = (
    st.lists(PIECE, max_size=60).map(" ".join) | st.lists(PIECE, max_size=40).map("".join) | st.text(max_size=200)
)


@given(COREFILES, st.dictionaries(st.sampled_from("AB"), COREFILES, max_size=2))
@settings(max_examples=400)
@example("}\n" * 50, {})
@example("import (c)\n(c) {\nimport c", {"A": "{$A"})
def test_any_text_gives_blocks_or_errors_and_soon(text: str, environment: dict[str, str]) -> None:
    started = time.monotonic()
    corefile = read(text, environment)
    for error in corefile.errors:
        assert error.report().startswith(str(error))
        assert error.word is not None
    if corefile.errors:
        assert CorefileErrors(corefile.errors).errors == corefile.errors
    for block in corefile.blocks:
        assert block.keys
        for directive in block.directives.values():
            assert directive.words[0] is directive.uses[0].name
        for key in block.keys:
            try:
                assert all(found.zone.endswith(".") for found in expand_keys(key, 53))
            except CorefileError as error:
                assert error.word is key  # noqa: PT017 - nothing else may be raised
    assert time.monotonic() - started < 20


def quoted(word: str) -> str:
    return '"' + word.replace('"', '\\"') + '"'


# A backslash before a quote, or at the end, has no way to be written.
WRITABLE = st.text().filter(lambda word: '\\"' not in word and not word.endswith("\\"))


@given(st.lists(WRITABLE, min_size=1), st.sampled_from([" ", "\n", "\t# comment\n", "\u3000"]))
def test_words_written_in_quotes_are_read_back(words: list[str], separator: str) -> None:
    read_back = [word.text for word in read_text(separator.join(map(quoted, words)) + separator, "Corefile").words]
    assert read_back == words


@given(st.lists(WRITABLE.filter(lambda word: word not in {"{", "}"} and "{$" not in word and "{%" not in word)))
def test_arguments_are_read_back(words: list[str]) -> None:
    (block,) = read(f"a.org {{\nlog {' '.join(map(quoted, words))}\n}}").blocks
    assert block.directives["log"].texts == tuple(words)


@given(st.text())
def test_words_are_where_they_say(text: str) -> None:
    for word in read_text(text, "Corefile").words:
        start = word.column - 1
        written = word.source.lines[word.line - 1][start : start + word.width]
        assert written.replace("\r", "")[:1] == word.text[:1] or written.startswith('"')
        assert word.width >= 1


@pytest.mark.parametrize("name", ["nothing", "blank"])
def test_no_block(name: str) -> None:
    corefile = read("" if name == "nothing" else "\n \n")
    assert (corefile.blocks, corefile.errors) == ((), ())


def test_a_long_corefile_is_read_soon() -> None:
    text = "".join(f"zone{number}.org {{\n    log\n    cache 30\n}}\n" for number in range(2000))
    started = time.monotonic()
    corefile = read(text)
    assert (len(corefile.blocks), corefile.errors) == (2000, ())
    assert time.monotonic() - started < 10
