"""What a Corefile says: blocks of directives, made of words that know where they stand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kubedns.corefile.errors import CorefileError, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A file, by the name that errors show; `folder` is where its relative imports start."""

    name: str
    lines: tuple[str, ...]
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Word:
    """A word: its text without quotes and with environment variables filled in.

    `line` and `column` are those of its first character (for a quoted word, of the quote) and count from 1; `width`
    is how many characters of that line it takes, quotes included.
    """

    text: str
    source: Source
    line: int
    column: int
    width: int

    @property
    def file(self) -> str:
        """The name of its file."""
        return self.source.name

    @property
    def location(self) -> str:
        """`file:line:column`."""
        return f"{self.source.name}:{self.line}:{self.column}"

    def with_text(self, text: str) -> Word:
        """Return this word as if it read `text`."""
        return self if text == self.text else replace(self, text=text)

    def error(self, text: str, cure: str = "", kind: Kind = Kind.PARSING) -> CorefileError:
        """Return `FILE:LINE - Error during parsing: text`, to be raised; of kind BARE the text alone, as it is."""
        return CorefileError(text, self, cure, kind)

    def same_line(self, following: Word) -> bool:
        """Tell whether `following` stands on the line that this word ends on."""
        return self.source is following.source and self.line + self.text.count("\n") == following.line

    def ends_before(self, following: Word) -> bool:
        """Tell whether `following` stands on a later line, or in another file.

        Not the opposite of `same_line`: a snippet brings words of earlier lines, and those are neither.
        """
        return self.source is not following.source or self.line + self.text.count("\n") < following.line


@dataclass(frozen=True, slots=True)
class Property:
    """A line of a directive's block."""

    name: Word
    arguments: tuple[Word, ...]

    @property
    def last(self) -> Word:
        """Its last word."""
        return self.arguments[-1] if self.arguments else self.name


@dataclass(frozen=True, slots=True)
class Use:
    """A directive as it is used once: the words behind it on its line, and its block's lines.

    `opening` is the block's brace, None without a block. A `{` on the next line is a use of its own, as are words
    behind the closing brace: CoreDNS's plugins see them so.
    """

    name: Word
    arguments: tuple[Word, ...] = ()
    properties: tuple[Property, ...] = ()
    opening: Word | None = None

    @property
    def has_block(self) -> bool:
        """Tell whether there is a block, be it empty."""
        return self.opening is not None

    @property
    def last(self) -> Word:
        """The last word before the block."""
        return self.arguments[-1] if self.arguments else self.name


@dataclass(frozen=True, slots=True)
class Directive:
    """All uses of one name in a server block; `words` are all their words in file order."""

    name: str
    words: tuple[Word, ...]
    uses: tuple[Use, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of the arguments of all uses."""
        return tuple(word.text for use in self.uses for word in use.arguments)

    def refuse_block(self) -> None:
        """Raise CorefileError at the first brace: this directive has no properties."""
        for use in self.uses:
            opening = use.opening or (use.name if use.name.text == "{" else None)
            if opening is not None:
                raise opening.error("Unexpected token '{', expecting argument", f"{self.name} has no block")


@dataclass(frozen=True, slots=True)
class Block:
    """A server block."""

    keys: tuple[Word, ...]
    directives: Mapping[str, Directive]


@dataclass(frozen=True, slots=True)
class Key:
    """A zone to be served: its absolute lower-case name as text, and the word of the Corefile that asks for it.

    `transport` is dns, tls, quic, grpc, https, https3 or unix; `port` is any integer (0 for unix), checked by
    `check_overlaps`.
    """

    transport: str
    zone: str
    port: int
    word: Word

    def __str__(self) -> str:
        return f"{self.transport}://{self.zone}:{self.port}"


@dataclass(frozen=True, slots=True)
class Corefile:
    """A parsed Corefile.

    `errors` are in CoreDNS's order; with errors, `blocks` holds what could be made of the rest. `fingerprint` is the
    SHA-512, in hex, of the parsed form; empty when the text does not even group into blocks.
    """

    blocks: tuple[Block, ...]
    errors: tuple[CorefileError, ...]
    fingerprint: str
