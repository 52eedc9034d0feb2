"""Regular expressions as Go's regexp has them (https://github.com/google/re2/wiki/Syntax), matched in linear time.

Python's `re` tries one way after another, so that a text some stranger has a hand in can keep it busy for ever. Here
all ways are followed at once (Thompson's construction), and the sets of places that come up are remembered. There are
no captures: all that is asked is whether a text has a match in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from plugins.errors import characters
from plugins.errors.characters import RegexpError

if TYPE_CHECKING:
    from collections.abc import Callable

    Test = Callable[[str], bool]
    Fragment = Callable[[int], int]  # given the state that follows, adds its own and returns the first of them

MOST_STATES = 20_000
MOST_REPEATS = 1000  # RE2's own
DEEPEST = 100  # groups in groups
MOST_REMEMBERED = 4096  # steps, for each expression
REPEATS = "*+?{"


@dataclass(slots=True)
class State:
    """A place in an expression: a character to read, a condition, or (neither) a fork that reads nothing."""

    outs: list[int]
    test: Test | None = None
    condition: Callable[[str, str], bool] | None = None


@dataclass(slots=True, eq=False)
class Places:
    """Where a match may stand between two characters, and the places that follow, by those characters."""

    states: frozenset[int]
    steps: dict[tuple[str, str], Places] = field(default_factory=dict)


MATCHED = Places(frozenset())


@dataclass(slots=True)
class Flags:
    """What (?imsU) sets, for the rest of a group. U turns greed around, which makes no difference to us."""

    i: bool = False
    m: bool = False
    s: bool = False

    def copy(self) -> Flags:
        return Flags(self.i, self.m, self.s)


class Regexp:
    """A compiled expression."""

    def __init__(self, pattern: str) -> None:
        """Raises RegexpError, worded as Go's regexp.Compile does."""
        parser = _Parser(pattern)
        self._states = parser.states
        self._first = parser.parse()
        self._known: dict[frozenset[int], Places] = {}
        self._start = self._places(frozenset((self._first,)))
        self._remembered = 0

    def search(self, text: str) -> bool:
        """Tell whether there is a match anywhere in the text."""
        places, before = self._start, ""
        for after in (*text, ""):
            places = places.steps.get((before, after)) or self._step(places, before, after)
            if places is MATCHED:
                return True
            before = after
        return False

    def _step(self, places: Places, before: str, after: str) -> Places:
        """Return where one may stand behind `after`, MATCHED if a match ends before it; "" is the end of the text."""
        reached: set[int] = {self._first}  # a match may start at any character
        found = False
        for number in self._closure(places.states, before, after):
            state = self._states[number]
            if not state.outs:
                found = True
                break
            if state.test is not None and after and state.test(after):
                reached.update(state.outs)
        self._remembered += 1
        if self._remembered > MOST_REMEMBERED:
            self._forget()
        result = MATCHED if found else self._places(frozenset(reached))
        places.steps[before, after] = result
        return result

    def _closure(self, states: frozenset[int], before: str, after: str) -> set[int]:
        """Follow forks, and conditions that hold between two characters."""
        seen = set(states)
        waiting = list(states)
        while waiting:
            state = self._states[waiting.pop()]
            if state.test is None and (state.condition is None or state.condition(before, after)):
                new = [out for out in state.outs if out not in seen]
                seen.update(new)
                waiting += new
        return seen

    def _places(self, states: frozenset[int]) -> Places:
        known = self._known.get(states)
        if known is None:
            known = self._known[states] = Places(states)
        return known

    def _forget(self) -> None:
        self._remembered = 0
        self._known = {self._start.states: self._start}
        self._start.steps.clear()


class _Parser:
    """One pass over an expression; what it reads becomes fragments, from which states are made at the end."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.depth = 0
        self.states: list[State] = []

    def parse(self) -> int:
        """Return the number of the first state."""
        whole = self._alternatives(Flags())
        if self.at < len(self.pattern):
            raise RegexpError("unexpected )", self.pattern)
        return whole(self._add(State([])))

    def _alternatives(self, flags: Flags) -> Fragment:
        branches = [self._sequence(flags)]
        while self._take("|"):
            branches.append(self._sequence(flags))
        return branches[0] if len(branches) == 1 else self._fork(branches)

    def _sequence(self, flags: Flags) -> Fragment:
        parts: list[Fragment] = []
        repeat = ""  # the operator just read: another one may not follow
        start = 0
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            here = self.at
            counts = self._counts() if self.pattern[here] in REPEATS else None
            if counts is None:
                repeat = ""
                parts += self._atom(flags)
                continue
            self._take("?")  # which match is found makes no difference
            operator = self.pattern[here : self.at]
            if repeat:
                raise RegexpError("invalid nested repetition operator", self.pattern[start : self.at])
            if not parts:
                raise RegexpError("missing argument to repetition operator", operator)
            repeat, start = operator, here
            parts.append(self._repeat(parts.pop(), *counts))
        return self._join(parts)

    def _counts(self) -> tuple[int, int | None] | None:
        """Read a repetition operator; None, and nothing read, for a brace that is just a brace."""
        start = self.at
        self.at += 1
        if self.pattern[start] != "{":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[self.pattern[start]]
        end = self.pattern.find("}", start)
        low, comma, high = self.pattern[self.at : max(end, self.at)].partition(",")
        least, most = characters.count(low), characters.count(high)
        if least is None or (high and most is None):
            self.at = start
            return None
        self.at = end + 1
        most = most if comma else least
        if max(least, most or 0) > MOST_REPEATS or (most is not None and most < least):
            raise RegexpError("invalid repeat count", self.pattern[start : self.at])
        return least, most

    def _atom(self, flags: Flags) -> list[Fragment]:
        """Read what a repetition operator can stand behind; flags, and an empty quotation, are nothing of the kind."""
        character = self.pattern[self.at]
        self.at += 1
        match character:
            case "(":
                return self._group(flags)
            case "[":
                test, self.at = characters.read_class(self.pattern, self.at, fold=flags.i)
                return [self._read(test)]
            case ".":
                return [self._read(characters.anything if flags.s else characters.not_newline)]
            case "^":
                return [self._condition(characters.line_start if flags.m else characters.text_start)]
            case "$":
                return [self._condition(characters.line_end if flags.m else characters.text_end)]
            case "\\":
                return self._escape(flags)
        return [self._read(characters.one(character, fold=flags.i))]

    def _escape(self, flags: Flags) -> list[Fragment]:
        letter = self.pattern[self.at : self.at + 1]
        if letter in characters.CONDITIONS:
            self.at += 1
            return [self._condition(characters.CONDITIONS[letter])]
        if letter == "Q":
            quoted, _, _ = self.pattern[self.at + 1 :].partition("\\E")
            self.at = min(self.at + 1 + len(quoted) + 2, len(self.pattern))
            return [self._read(characters.one(character, fold=flags.i)) for character in quoted]
        test, self.at = characters.read_escape(self.pattern, self.at, fold=flags.i)
        return [self._read(test)]

    def _group(self, flags: Flags) -> list[Fragment]:
        start = self.at - 1
        inner = flags.copy()
        if self._take("?") and not self._group_name():
            end = min((at for at in (self.pattern.find(mark, self.at) for mark in "):") if at >= 0), default=-1)
            if end < 0:
                raise RegexpError("missing closing )", self.pattern[start:])
            _set(inner, self.pattern[self.at : end], self.pattern[start : self.at + 1])
            self.at = end + 1
            if self.pattern[end] == ")":
                flags.i, flags.m, flags.s = inner.i, inner.m, inner.s
                return []
        self.depth += 1
        if self.depth > DEEPEST:
            raise RegexpError("expression nests too deeply", self.pattern)
        inside = self._alternatives(inner)
        self.depth -= 1
        if not self._take(")"):
            raise RegexpError("missing closing )", self.pattern)
        return [inside]

    def _group_name(self) -> bool:
        """Read `P<name>` or `<name>`; False, and nothing read, where neither stands (`(?<=` looks back)."""
        start = self.at
        opening = next((mark for mark in ("P<", "<") if self.pattern.startswith(mark, start)), None)
        if opening is None or self.pattern.startswith(("<=", "<!"), start):
            return False
        end = self.pattern.find(">", start)
        name = self.pattern[start + len(opening) : end]
        if end < 0 or not (name.isascii() and name.replace("_", "a").isalnum()):
            raise RegexpError("invalid named capture", self.pattern[start - 2 : end + 1 if end >= 0 else None])
        self.at = end + 1
        return True

    def _take(self, character: str) -> bool:
        found = self.pattern.startswith(character, self.at)
        self.at += found
        return found

    def _add(self, state: State) -> int:
        if len(self.states) >= MOST_STATES:
            raise RegexpError("expression too large", self.pattern[:40])
        self.states.append(state)
        return len(self.states) - 1

    def _read(self, test: Test) -> Fragment:
        return lambda follow: self._add(State([follow], test=test))

    def _condition(self, holds: Callable[[str, str], bool]) -> Fragment:
        return lambda follow: self._add(State([follow], condition=holds))

    def _fork(self, branches: list[Fragment]) -> Fragment:
        return lambda follow: self._add(State([branch(follow) for branch in branches]))

    def _join(self, parts: list[Fragment]) -> Fragment:
        def build(follow: int) -> int:
            for part in reversed(parts):
                follow = part(follow)
            return follow if parts else self._add(State([follow]))  # so that repeating nothing counts as well

        return build

    def _repeat(self, part: Fragment, least: int, most: int | None) -> Fragment:
        def build(follow: int) -> int:
            if most is None:
                loop = self._add(State([follow]))
                self.states[loop].outs.append(part(loop))
                last = loop
            else:
                last = self._add(State([follow]))
                for _ in range(most - least):
                    last = self._add(State([part(last), follow]))
            for _ in range(least):
                last = part(last)
            return last

        return build


def _set(flags: Flags, text: str, shown: str) -> None:
    """Set the flags of `(?im-s)` or `(?im-s:...)`; `shown` is what an error names."""
    value = True
    for position, letter in enumerate(text):
        if letter == "-" and value and position + 1 < len(text):
            value = False
        elif letter in "ims":
            setattr(flags, letter, value)
        elif letter != "U":
            raise RegexpError("invalid or unsupported Perl syntax", shown)
