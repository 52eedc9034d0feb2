"""Text to words, by the grammar in corefile.lark."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from lark import Lark, Token, Tree

from kubedns.corefile.values import Source, Word

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTE_ORDER_MARK = "\ufeff"
BRACES = {"{": "OPEN", "}": "CLOSE"}


@dataclass(frozen=True, slots=True)
class Text:
    """A file's words, and its pairs of braces in the order in which they close.

    A brace that nothing closes has None beside it; those come last.
    """

    words: tuple[Word, ...]
    braces: tuple[tuple[Word, Word | None], ...]


def read_text(text: str, name: str, folder: str = "") -> Text:
    """Return a file's words; `folder` is where its relative imports start. No text is an error."""
    text = text.removeprefix(BYTE_ORDER_MARK)
    source = Source(name, tuple(text.split("\n")), folder)
    words: list[Word] = []
    braces: list[tuple[Word, Word | None]] = []
    opened: list[Word] = []
    for token in _tokens(_grammar().parse(text)):
        word = _word(token, source)
        words.append(word)
        if token.type == "OPEN":
            opened.append(word)
        elif token.type == "CLOSE" and opened:
            braces.append((opened.pop(), word))
    braces += [(word, None) for word in reversed(opened)]
    return Text(tuple(words), tuple(braces))


@functools.cache
def _grammar() -> Lark:
    grammar = resources.files(__package__).joinpath("corefile.lark").read_text(encoding="utf-8")
    callbacks = {"BARE": _bare, "QUOTED": _quoted}
    return Lark(grammar, parser="lalr", lexer="basic", start="file", lexer_callbacks=callbacks)


def _bare(token: Token) -> Token:
    return _retyped(token, token.replace("\r", "") if "\r" in token else str(token))


def _quoted(token: Token) -> Token:
    r"""Unquote: `\"` is a quote, a backslash before anything else stands for itself."""
    body = token[1:]
    if "\\" not in body:
        return _retyped(token, body.removesuffix('"'))
    read = []
    characters = iter(body)
    for character in characters:
        if character == '"':
            break
        if character != "\\":
            read.append(character)
            continue
        escaped = next(characters, "")
        read.append(escaped if escaped in {'"', ""} else f"\\{escaped}")
    return _retyped(token, "".join(read))


def _retyped(token: Token, text: str) -> Token:
    return Token.new_borrow_pos(BRACES.get(text, token.type), text, token)


def _tokens(tree: Tree[Token]) -> Iterator[Token]:
    """Yield a tree's tokens in file order; without recursion, as braces may nest to any depth."""
    levels = [iter(tree.children)]
    while levels:
        for child in levels[-1]:
            if isinstance(child, Tree):
                levels.append(iter(child.children))
                break
            yield child
        else:
            levels.pop()


def _word(token: Token, source: Source) -> Word:
    """Return a token as a word; Lark fills in the positions of every token that it lexes."""
    line, column = token.line or 1, token.column or 1
    length = (token.end_pos or 0) - (token.start_pos or 0)
    width = min(length, len(source.lines[line - 1].rstrip("\r")) - column + 1)
    return Word(str(token), source, line, column, max(width, 1))
