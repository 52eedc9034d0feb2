"""How long a reply stays true."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class Tally(Protocol):
    """A number that grows with each time that a reply is given, by whoever gives it."""

    value: int


class Token(Protocol):
    """Something a reply was made from: stale once that has changed, and for ever after."""

    @property
    def stale(self) -> bool:
        """Whether it has changed."""


class Serial(Protocol):
    """The number that an SOA record says its zone is at (RFC 1035 §3.3.13), changed as the zone is."""

    @property
    def value(self) -> int:
        """The number now."""

    @property
    def token(self) -> Token:
        """What is stale once it has another value."""


class Siblings(Protocol):
    """What answers the names right below `parent` (lower-case wire octets), for one type, each with one record."""

    @property
    def parent(self) -> bytes:
        """The name that they are right below."""

    def answer(self, label: bytes, now: float) -> bytes | None:
        """Return the one record of that name, its owner a pointer to the question's; None: it has to be asked for.

        `label` is the name's first, wire octets as the client spells them; `now` is in monotonic seconds.
        """


class Anew(Protocol):
    """What lets TTLs that have come down to nothing begin again, for as long as asking would bring the same records."""

    @property
    def seconds(self) -> int:
        """What they begin with."""

    def begin(self, question: bytes, token: Token, now: float) -> float:
        """Return the moment (monotonic seconds) to which they count down from `now` on; 0: somebody has to be asked.

        `question` is that of the reply, wire octets, in lower case; `token` is not stale, and will be once the reply is
        another. It is called for a query that is answered then, and counts what asking would have, less what the
        reply's tallies do.
        """


class _Unchanging:
    stale = False


class _AnyOf(NamedTuple):
    """Several tokens as one."""

    tokens: tuple[Token, ...]

    @property
    def stale(self) -> bool:
        return any(token.stale for token in self.tokens)


UNCHANGING: Token = _Unchanging()


@dataclass(frozen=True, slots=True)
class Validity:
    """Until when (monotonic seconds), and while what is unchanged, a reply may be given again without asking.

    Where `until` is NEVER's, the very octets are for one query alone, as those of a forwarded reply whose TTLs count
    down; what is made of them, such as a cache's entry, still holds no longer than the tokens.
    """

    until: float = math.inf
    tokens: tuple[Token, ...] = field(default=())

    @property
    def never(self) -> bool:
        """Whether the reply is for one query alone; its tokens then tell while what records are true for longer."""
        return self.until == -math.inf

    def holds(self, now: float) -> bool:
        """Tell whether the reply may still be given."""
        return now < self.until and not any(token.stale for token in self.tokens)

    def joined(self, other: "Validity") -> "Validity":
        """Return the validity of a reply that is made from both."""
        return Validity(min(self.until, other.until), tuple(dict.fromkeys((*self.tokens, *other.tokens))))


UNTIL_RELOAD = Validity()
NEVER = Validity(until=-math.inf)


def one_token(validity: Validity) -> Token:
    """Return all tokens of a validity as one."""
    tokens = validity.tokens
    return UNCHANGING if not tokens else tokens[0] if len(tokens) == 1 else _AnyOf(tokens)
