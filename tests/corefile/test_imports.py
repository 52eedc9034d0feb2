"""Snippets and import: files, globs, loops."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.corefile.reading import read, shape, texts

if TYPE_CHECKING:
    from pathlib import Path

P = "Corefile:2 - Error during parsing: "
SNIPPET_DEPTH = "maximum snippet import depth (10000) exceeded"
FILE_DEPTH = "maximum file import depth (10000) exceeded"

FAILURES = {
    "alone": ("import", "Wrong argument count or unexpected line ending after 'import'"),
    "empty": ('import ""', "Import requires a non-empty filepath"),
    "unset": ("import {$UNSET}", "Import requires a non-empty filepath"),
    "two-arguments": ("import empty empty", "Import takes only one argument (glob pattern or file)"),
    "no-file": ("import nope", "File to import not found: nope"),
    "no-absolute-file": ("import /nope/x", "File to import not found: /nope/x"),
    "nul": ("import a\0b", "File to import not found: a\0b"),
    "folder": ("import folder", "Could not import {}/folder: is a directory"),
    "dangling-link": ("import link", "Could not import {0}/link: open {0}/link: no such file or directory"),
    "pipe": ("import pipe", "Could not import {0}/pipe: open {0}/pipe: not a regular file"),
    "two-stars": ("import */*.conf", "Glob pattern may only contain one wildcard (*), but has others: {}/*/*.conf"),
    "two-marks": ("import ??", "Glob pattern may only contain one wildcard (*), but has others: {}/??"),
    "set": ("import [ab]", "Glob pattern may only contain one wildcard (*), but has others: {}/[ab]"),
    "malformed": ("import [ab", "Failed to use import pattern [ab: syntax error in pattern"),
    "backslash": ("import ab\\", "Failed to use import pattern ab\\: syntax error in pattern"),
    "not-utf-8": ("import latin", "Could not import {}/latin: not UTF-8 text (octet 0xe9 in line 2)"),
}

GLOBS = {
    "star": ("*.conf", ["a", "b", "c"]),
    "star-takes-a-leading-dot": ("*b.conf", ["b"]),
    "mark": ("?.conf", ["a", "c"]),
    "star-and-mark": ("?*.conf", ["a", "b", "c"]),
    "escaped": (r"\a.conf", ["a"]),
    "folder": ("s*/x.conf", ["s1", "s2"]),
    "upwards": ("sub/../a.conf", ["a"]),
    "none": ("*.none", []),
}

LOOPS = {
    "to-and-fro": ("(a) {\nimport b\n}\n(b) {\nimport a\n}\nz {\nimport a\n}", [(5, SNIPPET_DEPTH)]),
    "three": ("(a) {\nimport b\n}\n(b) {\nimport c\n}\n(c) {\nimport a\n}\nz {\nimport a\n}", [(2, SNIPPET_DEPTH)]),
    "doubling": (
        "(a) {\nimport b\nimport b\n}\n(b) {\nimport a\nimport a\n}\nz {\nimport a\n}",
        [(6, SNIPPET_DEPTH)],
    ),
    "itself-not-first": ("(a) {\nlog\nimport a\n}\nz {\nlog\n}", [(4, SNIPPET_DEPTH)]),
    "itself-by-environment": ("(a) {\nimport {$A}\n}\nz {\nlog\n}", [(3, SNIPPET_DEPTH)]),
    "between-blocks": ("(a) {\nb.org {\n}\nimport b\n}\n(b) {\nimport a\n}\nimport a", [(7, SNIPPET_DEPTH)]),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "c"):
        (tmp_path / f"{name}.conf").write_text(f"log {name}\n")
    (tmp_path / ".b.conf").write_text("log b\n")
    for name in ("s1", "s2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.conf").write_text(f"log {name}")
    (tmp_path / "sub").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").write_text("")
    (tmp_path / "latin").write_bytes(b"log\ncaf\xe9")
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.parametrize(("statement", "text"), FAILURES.values(), ids=FAILURES)
def test_failure(statement: str, text: str, folder: Path) -> None:
    corefile = read(f"a.org {{\n{statement}\nlog\n}}\nb.org {{\n}}", path=folder / "Corefile")
    assert texts(corefile.errors) == [P + text.format(folder)]
    assert [list(block.directives) for block in corefile.blocks] == [["log"], []]


@pytest.mark.parametrize(("pattern", "found"), GLOBS.values(), ids=GLOBS)
def test_glob(pattern: str, found: list[str], folder: Path) -> None:
    corefile = read(f"z.org {{\nerrors\nimport {pattern}\n}}", path=folder / "Corefile")
    assert corefile.errors == ()
    log = corefile.blocks[0].directives.get("log")
    assert sorted(log.texts if log else ()) == found


@pytest.mark.parametrize(("text", "expected"), LOOPS.values(), ids=LOOPS)
def test_loop_of_snippets_ends(text: str, expected: list[tuple[int, str]]) -> None:
    started = time.monotonic()
    errors = read(text, {"A": "a"}).errors
    assert [(error.word and error.word.line, error.text) for error in errors] == expected
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("first", "rest"),
    [("", ""), ("# x\n" * 50, "log x y z\n" * 50), ("(s) {\nimport loop.conf\n}\n", "")],
    ids=["itself", "long", "by-snippet"],
)
def test_loop_of_files_ends(first: str, rest: str, tmp_path: Path) -> None:
    path = tmp_path / "loop.conf"
    path.write_text(f"{first}import loop.conf\n{rest}")
    started = time.monotonic()
    (error, *_) = read("a.org {\nimport loop.conf\n}", path=tmp_path / "Corefile").errors
    if "(s)" not in first:
        assert str(error) == f"{path}:{first.count(chr(10)) + 1} - Error during parsing: {FILE_DEPTH}"
    assert time.monotonic() - started < 60


def test_file_is_relative_to_the_importing_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "first").write_text("import second\n")
    (tmp_path / "sub" / "second").write_text("log\n")
    corefile = read("a.org {\nimport sub/first\n}", path=tmp_path / "Corefile")
    (word,) = corefile.blocks[0].directives["log"].words
    assert (word.file, word.line, word.column) == (f"{tmp_path}/sub/second", 1, 1)


def test_snippet_of_an_imported_file_and_the_other_way(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("(inner) {\nlog inner\n}\nb.org {\nimport outer\n}\n")
    corefile = read("(outer) {\nlog outer\n}\nimport more\na.org {\nimport inner\n}", path=tmp_path / "Corefile")
    assert corefile.errors == ()
    assert [block.directives["log"].texts for block in corefile.blocks] == [("outer",), ("inner",)]


def test_file_brings_the_opening_brace(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("a.org {\nlog\n")
    corefile = read("import more\nerrors\n}", path=tmp_path / "Corefile")
    assert (corefile.errors, shape(corefile)) == ((), [(["a.org"], {"log": [("log", 2)], "errors": [("errors", 2)]})])


def test_import_among_keys(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("b.org, c.org")
    corefile = read("a.org,\nimport keys\n{\nlog\n}", path=tmp_path / "Corefile")
    assert (corefile.errors, shape(corefile)) == ((), [(["a.org", "b.org", "c.org"], {"log": [("log", 4)]})])


def test_nothing_imported_behind_a_comma() -> None:
    assert texts(read("(e) {\n}\na.org,\nimport e").errors) == ["Corefile:4 - Error during parsing: Unexpected EOF"]


def test_byte_order_mark_of_an_imported_file(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("\ufefflog")
    assert read("a.org {\nimport more\n}", path=tmp_path / "Corefile").errors == ()


def test_glob_without_a_match_is_told_each_time_it_stands_there_but_once(tmp_path: Path) -> None:
    warnings: list[str] = []
    read("a.org {\nimport *.x\nimport *.y\nimport *.x\n}", path=tmp_path / "Corefile", warnings=warnings)
    assert warnings == [f"No files matching import glob pattern: *.{letter}" for letter in "xy"]


def test_two_keys_in_parentheses_are_no_snippet() -> None:
    corefile = read("(my snip) {\nlog\n}")
    assert shape(corefile) == [(["(my", "snip)"], {"log": [("log", 2)]})]


def test_key_in_parentheses_at_the_end_is_a_key() -> None:
    assert shape(read("(c)")) == [(["(c)"], {})]


def test_huge_file(tmp_path: Path) -> None:
    (tmp_path / "huge").write_bytes(b"#" * (16 * 1024 * 1024 + 1))
    (error,) = read("a.org {\nimport huge\n}", path=tmp_path / "Corefile").errors
    assert "more than 16777216 octets" in str(error)
