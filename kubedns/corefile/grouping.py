"""Words to server blocks: keys, directives, snippets, imports; and how to go on behind a mistake.

Where a Corefile is right, every step is CoreDNS's (caddyfile.Parse). Where it is wrong CoreDNS stops; here the mistake
is noted, and what follows is read as it was most likely meant, so that one mistake makes one error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kubedns.corefile.cursor import Cursor
from kubedns.corefile.environment import EndlessReferenceError, expand_references
from kubedns.corefile.errors import CorefileError, Kind, Step
from kubedns.corefile.imports import SNIPPET_DEPTH, Importer
from kubedns.corefile.recovery import Place, Recovery, cure, judge, meant_for
from kubedns.corefile.suggest import indent, missing_brace, open_quote

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from kubedns.corefile.text import Text
    from kubedns.corefile.values import Word

MOST_ERRORS = 50


@dataclass(slots=True)
class Draft:
    """A server block being read.

    `words` are those of each directive, by its name with variables filled in; `last` those of the last known one.
    `opening` is None where the block has no braces. `mistaken` tells of an unknown name; `blamed` is the directive
    whose brace is missing so that names behind it are unknown.
    """

    keys: list[Word] = field(default_factory=list)
    written: str = ""  # the first key's text before variables were filled in
    words: dict[str, list[Word]] = field(default_factory=dict)
    last: list[Word] = field(default_factory=list)
    opening: Word | None = None
    mistaken: bool = False
    blamed: Word | None = None


class _EnoughError(Exception):
    """There are as many errors as anyone will read."""


class Grouper:
    """Reads one Corefile. `errors` are in the order found; `grouped` tells whether there were but unknown names."""

    def __init__(
        self, text: Text, directives: Collection[str], environment: Mapping[str, str], warn: Callable[[str], None]
    ) -> None:
        """`directives` are the names that may be used."""
        self.errors: list[CorefileError] = []
        self.grouped = True
        self.unknown: set[str] = set()
        self._text = text
        self._at = Cursor(text.words)
        self._directives = directives
        self._environment = environment
        self._importer = Importer(warn)
        self._seen: set[tuple[str, str]] = set()

    def blocks(self) -> list[Draft]:
        """Return the server blocks that have a key."""
        blocks: list[Draft] = []
        try:
            while self._at.next():
                draft = Draft()
                self._block(draft)
                if draft.keys:
                    blocks.append(draft)
        except _EnoughError:
            pass
        return blocks

    def _block(self, draft: Draft) -> None:
        if not self._keys(draft):
            return
        if len(draft.keys) == 1 and draft.written.startswith("(") and draft.written.endswith(")"):
            draft.keys.clear()
            self._snippet(draft.written[1:].removesuffix(")"))
            return
        if self._at.current.text == "{":
            draft.opening = self._at.current
        else:
            self._at.back()
        if self._contents(draft) or draft.opening is None:
            return
        last = self._at.current
        if last.text != "}":  # nor does CoreDNS see the brace missing when another one stands last
            self._note(last, f"Unexpected token '{last.text}', expecting '}}'", self._brace(draft.opening), Kind.SYNTAX)

    def _keys(self, draft: Draft) -> bool:
        """Read keys up to the line's end or a brace; False at the end of all words."""
        at = self._at
        another = False
        while True:
            word = self._filled(at.current)
            if word.text == "import" and at.starts_line():
                self._import()
                if not at.next():
                    return self._no_more_keys(word) if another else False
                continue
            if word.text == "{":
                if another:
                    text = "Expected another address but had '{' - check for extra comma"
                    self._note(word, text, "leave out the last comma")
                return True
            if word.text:
                another = word.text.endswith(",")
                draft.written = draft.written if draft.keys else at.current.text.removesuffix(",")
                draft.keys.append(word.with_text(word.text.removesuffix(",")))
            if not at.next():
                return self._no_more_keys(word) if another else False
            if not another and at.starts_line():
                return True

    def _no_more_keys(self, last: Word) -> bool:
        self._note(last, "Unexpected EOF", "leave out the last comma")
        return False

    def _snippet(self, name: str) -> None:
        """Read a snippet's words as they are."""
        at = self._at
        opening = at.current
        known = self._importer.knows(name)
        if known:
            self._note(opening, f"redeclaration of previously declared snippet {name}", "give it another name")
        if opening.text != "{":
            text = f"Unexpected token '{opening.text}', expecting '{{'"
            self._note(opening, text, f"a snippet needs braces: ({name}) {{", Kind.SYNTAX)
            at.back()
        words: list[Word] = []
        depth = 1
        while depth and at.next():
            depth += {"{": 1, "}": -1}.get(at.current.text, 0)
            if depth:
                words.append(at.current)
        last = at.current
        if depth and opening.text == "{":
            self._note(last, f"Unexpected token '{last.text}', expecting '}}'", self._brace(opening), Kind.SYNTAX)
        if known or (depth and opening.text == "{"):
            return
        if any(self._imports(name, words, index) for index in range(len(words) - 1)):
            self._note(last, SNIPPET_DEPTH, f"the snippet ({name}) imports itself")
            words.clear()
        self._importer.define(name, words)

    def _imports(self, name: str, words: list[Word], index: int) -> bool:
        """Tell whether the snippet's words hold, at an index, the start of a line `import NAME`."""
        word, before = words[index], words[index - 1]
        starts = index == 0 or before.source is not word.source or before.line != word.line
        return word.text == "import" and starts and self._filled(words[index + 1]).text == name

    def _contents(self, draft: Draft) -> bool:
        """Read directives up to the block's `}`; False when words end before. True as well after an error there."""
        at = self._at
        while at.next():
            if at.current.text == "}":
                if self._ends(draft):
                    return True
            elif at.current.text == "import":
                self._import()
            elif not self._directive(draft):
                return True
        return False

    def _ends(self, draft: Draft) -> bool:
        """Tell whether the `}` is the block's own; not so one indented deeper, behind a name that is unknown.

        That one closes what the name should have stood in.
        """
        if draft.opening is None or not draft.mistaken:
            return True
        return indent(self._at.current) <= indent(draft.opening)

    def _import(self) -> None:
        """Put what is imported in place of the statement; stands before it then."""
        at = self._at
        before, statement = at.previous, at.current
        argument = at.next_argument()
        words: list[Word] = []
        if argument is None:
            text = "Wrong argument count or unexpected line ending after 'import'"
            self._note(statement, text, "name a snippet or a file")
        else:
            at.next()
            filled = self._filled(argument)
            if filled.text and at.next_argument() is not None:
                self._skip_arguments()
            try:
                words = list(self._importer.words(filled))
            except CorefileError as error:
                self._add(error)
        at.splice(before, words)

    def _skip_arguments(self) -> None:
        """Note that `import` has too many arguments and go to the last; a `}` among them is the block's own."""
        at = self._at
        text = "Import takes only one argument (glob pattern or file)"
        depth, noted = 0, False
        while (word := at.next_argument() if not depth else at.peek()) is not None:
            if not noted:
                cure = "put the '}' on a line of its own" if word.text == "}" else "write an import for each"
                self._note(word, text, cure)
                noted = True
            if word.text == "}" and not depth:
                return
            depth += {"{": 1, "}": -1}.get(word.text, 0)
            at.next()

    def _directive(self, draft: Draft) -> bool:
        """Read a directive with its arguments and groups; False when the server block ends with it by mistake."""
        named = self._at.current
        name = self._filled(named).text
        if name in self._directives:
            draft.last = [named]
            opened = self._words(draft, draft.last, [])
            draft.words.setdefault(name, []).extend(draft.last)
            if opened:
                self._note(self._at.current, "Unexpected EOF", self._brace(opened[0]))
            return not opened
        recovery = self._unknown(draft, named, name)
        if recovery is not Recovery.DIRECTIVE:
            return recovery is Recovery.NOTHING
        words = [named]
        opened = self._words(draft, words, [named] if name.endswith("{") else [])
        draft.words.setdefault(name, []).extend(words)
        return not opened

    def _words(self, draft: Draft, words: list[Word], opened: list[Word]) -> list[Word]:
        """Add a directive's words behind its name; return the braces that are still open at the end of all words."""
        at = self._at
        while (word := at.peek()) is not None:
            if word.text == "{":
                opened.append(word)
            elif not opened and at.next_starts_line():
                break
            elif word.text == "}" and opened:
                opened.pop()
            elif word.text == "}":
                if not self._unmatched(word, draft):
                    break
                continue
            elif word.text == "import" and at.next_starts_line():
                at.next()
                self._import()
                continue
            at.next()
            at.current = self._filled(word)
            words.append(at.current)
        return opened

    def _unknown(self, draft: Draft, word: Word, name: str) -> Recovery:
        """Note a name that no directive has; return what it is taken for."""
        self.unknown.add(name)
        draft.mistaken = True
        place = Place(
            key=draft.keys[0].text if draft.keys else "the key",
            opening=draft.opening,
            closed=draft.opening is not None and self._closed(draft.opening),
            directive=draft.last if draft.last and draft.last[-1].line == draft.last[0].line else (),
            line=tuple(self._at.rest_of_line()),
        )
        recovery = judge(name, place, self._directives)
        grouped = recovery is Recovery.DIRECTIVE or (recovery is Recovery.KEY and draft.opening is None)
        above = meant_for(word, place)
        if above is None or above is not draft.blamed:
            text = f"Unknown directive '{name}'"
            self._note(word, text, cure(word, name, place, self._directives, self._braces()), grouped=grouped)
        draft.blamed = above
        if recovery is Recovery.KEY:
            self._at.back()
        return recovery

    def _closed(self, opening: Word) -> bool:
        return any(opened is opening and closed is not None for opened, closed in self._text.braces)

    def _unmatched(self, word: Word, draft: Draft) -> bool:
        """Note a `}` behind a directive; True when the block goes on behind it."""
        self._note(word, "Unexpected '}' because no matching opening brace", "put the '}' on a line of its own")
        at = self._at
        at.next()
        following = at.peek()
        one_line = draft.opening is not None and draft.opening.line == word.line
        if not one_line and following is not None and (following.text == "}" or following.text in self._directives):
            return True
        at.back()
        return False

    def _brace(self, opening: Word) -> str:
        return open_quote(self._text.words[-1]) or missing_brace(self._braces(), opening)

    def _braces(self) -> list[tuple[Word, Word | None]]:
        return [*self._text.braces, *self._importer.braces()]

    def _filled(self, word: Word) -> Word:
        try:
            return word.with_text(expand_references(word.text, self._environment))
        except EndlessReferenceError as error:
            self._add(word.error(str(error), "give it a value without such a reference"))
            return word

    def _note(self, word: Word, text: str, cure: str = "", kind: Kind = Kind.PARSING, *, grouped: bool = False) -> None:
        self.grouped &= grouped
        self._add(word.error(text, cure, kind))

    def _add(self, error: CorefileError) -> None:
        """Keep an error, but once: a snippet's mistake is met at each import."""
        if not error.text.startswith("Unknown directive"):
            self.grouped = False
        error.step = Step.GROUP
        key = (error.text, error.word.location if error.word else "")
        if key in self._seen:
            return
        self._seen.add(key)
        self.errors.append(error)
        if len(self.errors) >= MOST_ERRORS:
            raise _EnoughError
