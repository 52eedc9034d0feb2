"""A Corefile's text to its blocks, or to all that is wrong with it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from kubedns.corefile.errors import CorefileError
from kubedns.corefile.grouping import Grouper
from kubedns.corefile.text import read_text
from kubedns.corefile.uses import read_uses
from kubedns.corefile.values import Block, Corefile, Directive

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from kubedns.corefile.grouping import Draft


def parse(  # noqa: PLR0913 - two of them are what is parsed, the rest what it is parsed with
    text: str,
    name: str,
    *,
    directives: Collection[str],
    environment: Mapping[str, str],
    path: Path | None,
    warn: Callable[[str], None],
    unsupported: Collection[str] = (),
) -> Corefile:
    """Return what a Corefile says; never raises CorefileError, see Corefile.errors.

    `name` is what errors call the file, `path` where it is: relative imports start in its folder, without a path in
    the working directory. `directives` are all names that CoreDNS has, `unsupported` those of them that can't be set
    up here. `warn` is told of imports that find nothing.
    """
    folder = str((path if path is not None else Path(name)).absolute().parent)
    grouper = Grouper(read_text(text, name, folder), directives, environment, warn)
    drafts = grouper.blocks()
    errors = (*grouper.errors, *_unsupported(drafts, unsupported))
    blocks = tuple(_block(draft, grouper.unknown) for draft in drafts)
    return Corefile(blocks, errors, _fingerprint(drafts) if grouper.grouped else "")


def _block(draft: Draft, unknown: Collection[str]) -> Block:
    directives = {
        name: Directive(name, tuple(words), read_uses(words))
        for name, words in draft.words.items()
        if name not in unknown
    }
    return Block(tuple(draft.keys), MappingProxyType(directives))


def _unsupported(drafts: Iterable[Draft], unsupported: Collection[str]) -> Iterator[CorefileError]:
    """Yield an error for each directive that CoreDNS's plugin.cfg lists but no plugin stands for."""
    for draft in drafts:
        for name, words in draft.words.items():
            if name in unsupported:
                text = f"no action found for directive '{name}' with server type 'dns' (missing a plugin?)"
                yield CorefileError(text, words[0], f"{name} is not supported yet by kubedns: leave it out")


def _fingerprint(drafts: Sequence[Draft]) -> str:
    """Return the SHA-512, in hex, of keys and words; the latter with file and line, so that a moved line counts."""
    digest = hashlib.sha512()
    for draft in drafts:
        digest.update(repr([key.text for key in draft.keys]).encode())
        for name in sorted(draft.words):
            digest.update(repr([(word.file, word.line, word.text) for word in draft.words[name]]).encode())
    return digest.hexdigest()
