"""Raw query octets to ready reply: the short way, round the parser, the chain and the composer.

Rules of this file:

- What names a reply is all of its message but the ID. Spellings and EDNS options that make each query another one are
  not kept: they take the long way.
- An entry holds for as long as its reply's validity does, and it is never searched for: who asks next finds it stale.
- A query that comes once is not kept, only remembered by its hash: a flood of random names fills nothing.
- What is given is counted by group, of entries that count alike, and folded into counters when somebody looks.
"""

from __future__ import annotations

from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from kubedns.wire.validity import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kubedns.plugin.contract import Exchanges
    from kubedns.wire.query import Query
    from kubedns.wire.reply import Reply
    from kubedns.wire.validity import Tally, Token, Validity

MOST_ENTRIES = 20_000
MOST_OCTETS = 16 << 20  # of keys and replies; an entry's own objects cost some 300 more
LONGEST_KEY = 300  # octets: a name, type and class, a header and a plain OPT record have fewer
LARGEST_REPLY = 8192  # octets
ONCE = 8192  # hashes in each of two generations: of queries that came once
PASSED_OVER = 64  # entries in use that may be passed over to find one to drop
READY = 16  # replies of an entry whose reply turns
RENEWAL = 5  # after so many sendings one of them is made anew; it has no factor in common with READY


class _Unchanging:
    stale = False


class _AnyOf(NamedTuple):
    """Several tokens as one."""

    tokens: tuple[Token, ...]

    @property
    def stale(self) -> bool:
        return any(token.stale for token in self.tokens)


UNCHANGING = _Unchanging()


def _one_token(validity: Validity) -> Token:
    tokens = validity.tokens
    return UNCHANGING if not tokens else tokens[0] if len(tokens) == 1 else _AnyOf(tokens)


class Group:
    """Entries whose sendings are counted alike: `given` of them are not folded yet."""

    __slots__ = ("_exchanges", "_tallies", "given", "key", "members")

    def __init__(self, key: object, exchanges: Sequence[Exchanges], tallies: Sequence[Tally]) -> None:
        self.key = key
        self.members = 0
        self.given = 0
        self._exchanges = exchanges
        self._tallies = tallies

    def fold(self, seconds: float) -> None:
        """Tell all who count; one sending took that many seconds."""
        given, self.given = self.given, 0
        for exchanges in self._exchanges:
            exchanges.add(given, seconds * given)
        for tally in self._tallies:
            tally.value += given


class Turns:
    """Some replies of one that turns, sent one after the other and made anew now and then."""

    __slots__ = ("_make", "_ready", "_sent")

    def __init__(self, make: Callable[[], bytes], first: bytes) -> None:
        """`make` returns a reply's octets behind the ID, in the next order."""
        self._make = make
        self._ready = [first]
        self._sent = 0

    def next(self) -> bytes:
        ready = self._ready
        if len(ready) < READY:
            ready.append(self._make())
            return ready[-1]
        sent = self._sent = self._sent + 1
        place = sent % READY
        if not sent % RENEWAL:
            ready[place] = self._make()
        return ready[place]


class Kept:
    """A reply's octets behind the ID, and while what they hold. `used`: given since the clock's hand passed."""

    __slots__ = ("group", "key", "octets", "shelf", "token", "turns", "until", "used")

    def __init__(self, key: bytes, shelf: Shelf) -> None:
        self.key = key
        self.shelf = shelf
        self.used = False
        self.octets = b""
        self.turns: Turns | None = None
        self.token: Token = UNCHANGING
        self.until = 0.0
        self.group: Group

    @property
    def size(self) -> int:
        """Octets: those of ready orders are counted as if they were all made."""
        return len(self.key) + len(self.octets) * (READY if self.turns else 1)


class Shelf:
    """The entries of one transport and address family at one listener."""

    __slots__ = ("_get", "entries")

    def __init__(self) -> None:
        self.entries: dict[bytes, Kept] = {}
        self._get = self.entries.get

    def get(self, message: bytes, now: float) -> bytes | None:
        """Return the reply's octets, or None for the long way; `now` is in monotonic seconds."""
        kept = self._get(message[2:])
        if kept is None or now >= kept.until or kept.token.stale:
            return None
        kept.used = True
        kept.group.given += 1
        turns = kept.turns
        return message[:2] + (kept.octets if turns is None else turns.next())


class WireCache:
    """All entries of one configuration: they share a bound on their number and one on their octets."""

    def __init__(self, most_entries: int = MOST_ENTRIES, most_octets: int = MOST_OCTETS) -> None:
        """Entries go, once there are too many, by the clock algorithm: the first that was not given since its turn."""
        self._most_entries = most_entries
        self._most_octets = most_octets
        self._clock: deque[Kept] = deque()
        self._groups: dict[object, Group] = {}
        self._once: set[int] = set()
        self._once_before: set[int] = set()
        self.octets = 0
        self.seconds_each = 0.0  # that a sending takes, as last measured

    def __len__(self) -> int:
        return len(self._clock)

    def offer(  # noqa: PLR0913 - an exchange, and who counts it
        self,
        shelf: Shelf,
        message: bytes,
        query: Query,
        reply: Reply,
        octets: bytes,
        exchanges: Callable[[Query, int, int], Sequence[Exchanges]],
    ) -> None:
        """Keep a reply that holds beyond this query, if the same octets asked before."""
        lasting = reply.lasting
        if lasting.until == NEVER.until or len(message) > LONGEST_KEY or len(octets) > LARGEST_REPLY:
            return
        key = message[2:]
        kept = shelf.entries.get(key)
        if kept is None:
            if not self._came_before(key) or not _plain(query):
                return
            kept = Kept(key, shelf)
            shelf.entries[key] = kept
            self._clock.append(kept)
        else:
            self.octets -= kept.size
            self._leave(kept.group)
        kept.octets = octets[2:]
        kept.turns = Turns(lambda: reply.octets(query)[2:], kept.octets) if reply.turns else None
        kept.token, kept.until = _one_token(lasting), lasting.until
        kept.group = self._join(exchanges(query, reply.rcode, len(octets)), reply.tallies)
        self.octets += kept.size
        self._time(shelf, message)
        self._make_room()

    def fold(self) -> None:
        """Bring all counters up to date."""
        for group in self._groups.values():
            if group.given:
                group.fold(self.seconds_each)

    def _time(self, shelf: Shelf, message: bytes) -> None:
        """Measure what a sending of a new entry takes: to time each one would cost more than the sending."""
        before = perf_counter()
        shelf.get(message, 0.0)
        self.seconds_each = perf_counter() - before
        shelf.entries[message[2:]].group.given -= 1

    def _came_before(self, key: bytes) -> bool:
        mark = hash(key)
        if mark in self._once or mark in self._once_before:
            return True
        if len(self._once) >= ONCE:
            self._once, self._once_before = set(), self._once
        self._once.add(mark)
        return False

    def _join(self, exchanges: Sequence[Exchanges], tallies: Sequence[Tally]) -> Group:
        key = (*exchanges, *map(id, tallies))
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key, exchanges, tallies)
        group.members += 1
        return group

    def _leave(self, group: Group) -> None:
        group.members -= 1
        if not group.members:
            group.fold(self.seconds_each)
            del self._groups[group.key]

    def _make_room(self) -> None:
        passed_over = 0
        while len(self._clock) > self._most_entries or self.octets > self._most_octets:
            kept = self._clock.popleft()
            if kept.used and passed_over < PASSED_OVER:
                passed_over += 1
                kept.used = False
                self._clock.append(kept)
                continue
            del kept.shelf.entries[kept.key]
            self.octets -= kept.size
            self._leave(kept.group)


def _plain(query: Query) -> bool:
    """Tell whether many may send these very octets."""
    return query.question.startswith(query.name) and (query.edns is None or not query.edns.options)


def shelves() -> dict[tuple[str, bool], Shelf]:
    """Return an empty shelf for each transport, over IPv4 and over IPv6."""
    return {(transport, ipv6): Shelf() for transport in ("udp", "tcp") for ipv6 in (False, True)}
