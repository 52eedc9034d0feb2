"""Where the parser stands among a Corefile's words, imported ones among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubedns.corefile.values import Source, Word

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

START = Word("", Source("", ()), 0, 0, 0)  # before the first word, and on no line with it


class Cursor:
    """The word the parser is at, the one before, and those to come.

    At the end the last word stays the current one: that is where CoreDNS says the end is.
    """

    __slots__ = ("_coming", "current", "previous")

    def __init__(self, words: Iterable[Word]) -> None:
        """Stands before the first word."""
        self._coming = list(words)
        self._coming.reverse()
        self.current = START
        self.previous = START

    def next(self) -> bool:
        """Go on to the next word; False at the end."""
        if not self._coming:
            return False
        self.previous, self.current = self.current, self._coming.pop()
        return True

    def peek(self) -> Word | None:
        """Return the next word."""
        return self._coming[-1] if self._coming else None

    def back(self) -> None:
        """Go back by one word, which can be done once."""
        self._coming.append(self.current)
        self.current, self.previous = self.previous, START

    def starts_line(self) -> bool:
        """Tell whether the current word is the first of its line."""
        return self.previous.ends_before(self.current)

    def next_starts_line(self) -> bool:
        """Tell whether the next word is the first of its line."""
        following = self.peek()
        return following is None or self.current.ends_before(following)

    def next_argument(self) -> Word | None:
        """Return the next word if it stands on the current one's line."""
        following = self.peek()
        return following if following is not None and self.current.same_line(following) else None

    def splice(self, before: Word, words: Sequence[Word]) -> None:
        """Stand at `before` again, with `words` to come next in place of all that was read since."""
        self.current, self.previous = before, START
        self._coming.extend(reversed(words))

    def rest_of_line(self) -> Iterator[Word]:
        """Yield the words behind the current one on its line, without going there."""
        last = self.current
        for word in reversed(self._coming):
            if not last.same_line(word):
                return
            yield word
            last = word
