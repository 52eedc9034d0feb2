"""`import`: snippets by name, else files by path or glob."""

from __future__ import annotations

import os.path
import re
from pathlib import Path
from typing import TYPE_CHECKING

from kubedns.corefile.files import decode, matches, read_regular, reason
from kubedns.corefile.suggest import nearest
from kubedns.corefile.text import read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kubedns.corefile.text import Text
    from kubedns.corefile.values import Word

MOST_SNIPPETS = 10_000  # snippets imported in one Corefile
MOST_FILES = 100_000  # imports of files: CoreDNS's bound, though its text says 10000
MOST_WORDS = 1_000_000  # that imports may bring; CoreDNS has no such bound, and runs out of memory
SNIPPET_DEPTH = f"maximum snippet import depth ({MOST_SNIPPETS}) exceeded"
FILE_DEPTH = "maximum file import depth (10000) exceeded"
LOOP = "does it import itself, by way of others?"
WILDCARDS = frozenset("*?]")


class Importer:
    """The snippets defined so far, and the files read; each file is read once."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        """`warn` is told of globs without a match."""
        self._warn = warn
        self._snippets: dict[str, tuple[Word, ...]] = {}
        self._files: dict[str, Text] = {}
        self._globs: dict[str, list[str]] = {}
        self._snippets_imported = 0
        self._files_imported = 0
        self._words_imported = 0
        self._exhausted = False

    def knows(self, name: str) -> bool:
        """Tell whether there is a snippet of that name."""
        return name in self._snippets

    def define(self, name: str, words: Sequence[Word]) -> None:
        """Remember a snippet."""
        self._snippets[name] = tuple(words)

    def braces(self) -> list[tuple[Word, Word | None]]:
        """Return the pairs of braces of all imported files."""
        return [pair for text in self._files.values() for pair in text.braces]

    def words(self, argument: Word) -> Sequence[Word]:
        """Return what an import's argument stands for; raises CorefileError there.

        Once imports went too deep nothing is imported any more: one loop makes one error.
        """
        if not argument.text:
            raise argument.error("Import requires a non-empty filepath", "name a snippet or a file")
        if self._exhausted:
            return ()
        snippet = self._snippets.get(argument.text)
        if snippet is None:
            return self._from_files(argument)
        self._snippets_imported += 1
        self._count(snippet)
        self._check_depth(argument, self._snippets_imported, MOST_SNIPPETS, SNIPPET_DEPTH)
        return snippet

    def _from_files(self, argument: Word) -> list[Word]:
        self._files_imported += 1
        words: list[Word] = []
        for path in self._paths(argument):
            found = self._read(path, argument).words
            self._count(found)
            self._check_depth(argument, self._files_imported, MOST_FILES, FILE_DEPTH)
            words += found
        return words

    def _count(self, words: Sequence[Word]) -> None:
        self._words_imported += len(words)

    def _check_depth(self, argument: Word, imported: int, most: int, text: str) -> None:
        if imported > most or self._words_imported > MOST_WORDS:
            self._exhausted = True
            raise argument.error(text, LOOP)

    def _paths(self, argument: Word) -> list[str]:
        path = argument.text
        if not path.startswith("/"):
            path = os.path.normpath(f"{Path(argument.source.folder).absolute()}/{path}")
        if path.count("*") > 1 or path.count("?") > 1 or ("[" in path and "]" in path):
            text = f"Glob pattern may only contain one wildcard (*), but has others: {path}"
            raise argument.error(text, "write an import for each")
        if "[" in path or path.endswith("\\"):
            text = f"Failed to use import pattern {argument.text}: syntax error in pattern"
            raise argument.error(text, "patterns have * and ?, nothing else")
        if path not in self._globs:
            self._globs[path] = matches(path)
            if not self._globs[path] and not WILDCARDS.isdisjoint(path):
                self._warn(f"No files matching import glob pattern: {argument.text}")
        if not self._globs[path] and WILDCARDS.isdisjoint(path):
            raise argument.error(f"File to import not found: {argument.text}", self._not_found(argument, path))
        return self._globs[path]

    def _not_found(self, argument: Word, path: str) -> str:
        """Say which snippet may be meant: one of this file defined further down, or one of a like name."""
        definition = re.compile(rf"\s*\({re.escape(argument.text)}\)(\s|$)")
        for number, line in enumerate(argument.source.lines[argument.line :], start=argument.line + 1):
            if definition.match(line):
                return f"the snippet ({argument.text}) is defined further down, on line {number}: move it up"
        return nearest(argument.text, self._snippets.keys()) or f"there is no snippet ({argument.text}) and no {path}"

    def _read(self, path: str, argument: Word) -> Text:
        if path not in self._files:
            try:
                text = decode(read_regular(path))
            except OSError as error:
                raise argument.error(f"Could not import {path}: {reason(error)}", "name a file") from None
            except ValueError as error:
                raise argument.error(f"Could not import {path}: {error}") from None
            self._files[path] = read_text(text, path, str(Path(path).parent))
        return self._files[path]
