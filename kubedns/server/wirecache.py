"""Raw query octets to ready reply: the short way, round the parser, the chain and the composer.

Rules of this file:

- What names a reply is all of its message but the ID. Spellings and EDNS options that make each query another one are
  not kept: they take the long way.
- An entry holds for as long as its reply's validity does, and it is never searched for: who asks next finds it stale.
  Where TTLs that count down are all that changes, they are written over, once a second at the most.
- A query that comes once is not kept, only remembered by its hash: a flood of random names fills nothing. While half
  of the room is free, a reply with an answer is kept at once.
- Of names below a parent that has none (the search path's misses) one entry answers all: only the parent is looked up.
- What is given is counted by group, of entries that count alike, and folded into counters when somebody looks.
"""

from __future__ import annotations

from array import array
from collections import deque
from math import ceil
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, NamedTuple

from kubedns.wire.name import is_within
from kubedns.wire.numbers import HEADER_SIZE
from kubedns.wire.parse import ttl_places
from kubedns.wire.validity import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kubedns.plugin.contract import Exchanges
    from kubedns.wire.query import Query
    from kubedns.wire.reply import Reply
    from kubedns.wire.validity import Tally, Token, Validity

MOST_ENTRIES = 60_000
MOST_OCTETS = 14 << 20
ENTRY = 256  # octets that an entry costs besides its key and its reply
LONGEST_KEY = 300  # octets: a name, type and class, a header and a plain OPT record have fewer
LARGEST_REPLY = 8192  # octets
ONCE = 1 << 18  # places for marks of queries that came once
PASSED_OVER = 64  # entries in use that may be passed over to find one to drop
FIRST_LABEL = HEADER_SIZE + 1  # where a question's first label starts, behind its length
QUESTION_FIXED = 4  # octets: type and class
LONGEST_PARENT = 191  # octets: with any label before it, it is a name of 255 or fewer
READY = 8  # replies of an entry whose reply turns
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


class Keeping(NamedTuple):
    """How replies of a server block are kept: who counts them, and whether all its plugins heed denials."""

    exchanges: Callable[[Query, int, int], Sequence[Exchanges]]
    denials: bool


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


class Turn:
    """A reply in one order: its octets behind the ID, where its TTLs stand, and which one they show."""

    __slots__ = ("octets", "places", "shown")

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.places: tuple[int, ...] | None = None
        self.shown = 0

    def at(self, left: int) -> bytes:
        """Return the octets with the TTL that is left."""
        if self.shown != left:
            if self.places is None:
                self.places = ttl_places(b"\0\0" + self.octets)
            self.octets = with_ttl(self.octets, self.places, left, -2)
            self.shown = left
        return self.octets


class Turns:
    """Some replies of one that turns, sent one after the other and made anew now and then.

    `left` is the TTL that they are to show, 0 where they show their own.
    """

    __slots__ = ("_make", "_ready", "_sent", "left")

    def __init__(self, make: Callable[[], bytes], first: bytes) -> None:
        """`make` returns a reply's octets behind the ID, in the next order."""
        self._make = make
        self._ready = [Turn(first)]
        self._sent = 0
        self.left = 0

    def next(self) -> bytes:
        ready = self._ready
        sent = self._sent = self._sent + 1
        if len(ready) < READY:
            place = len(ready)
            ready.append(Turn(self._make()))
        else:
            place = sent % READY
            if not sent % RENEWAL:
                ready[place] = Turn(self._make())
        turn = ready[place]
        return turn.at(self.left) if self.left else turn.octets


class Kept:
    """A reply's octets behind the ID, and while what they hold. `used`: given since the clock's hand passed."""

    __slots__ = ("expires", "group", "home", "key", "octets", "token", "turns", "until", "used")

    def __init__(self, key: bytes, home: dict[bytes, Kept]) -> None:
        self.key = key
        self.home = home
        self.used = False
        self.octets = b""
        self.turns: Turns | None = None
        self.token: Token = UNCHANGING
        self.until = 0.0
        self.expires = 0.0
        self.group: Group

    def holds_on(self, now: float) -> bool:
        """Tell whether TTLs are all that has changed by now, and then show them as they are."""
        if now >= self.expires or self.token.stale:
            return False
        left = ceil(self.expires - now)
        if self.turns is None:
            self.octets = with_ttl(self.octets, ttl_places(b"\0\0" + self.octets), left, -2)
        else:
            self.turns.left = left
        self.until = self.expires - left + 1
        return True

    @property
    def size(self) -> int:
        """Octets of memory: those of ready orders are counted as if they were all made."""
        return ENTRY + len(self.key) + len(self.octets) * (READY if self.turns else 1)

    @property
    def groups(self) -> list[Group]:
        return [self.group]


class Denial:
    """What names right below a parent are answered: flags and counts, the question itself, and what follows it.

    The latter, and who counts, depend on the question's size: `sizes` has them by the place behind its first label.
    """

    __slots__ = ("expires", "head", "home", "key", "question", "sizes", "token", "until", "used")

    def __init__(self, key: bytes, home: dict[bytes, Denial]) -> None:
        self.key = key
        self.home = home
        self.used = False
        self.head = b""
        self.question = 0  # octets behind the first label
        self.sizes: dict[int, tuple[bytes, Group]] = {}
        self.token: Token = UNCHANGING
        self.until = 0.0
        self.expires = 0.0

    def holds_on(self, now: float) -> bool:
        """As Kept's."""
        if now >= self.expires or self.token.stale:
            return False
        left = ceil(self.expires - now)
        for behind, (octets, group) in self.sizes.items():
            self.sizes[behind] = self.counted_down(octets, left), group
        self.until = self.expires - left + 1
        return True

    def counted_down(self, octets: bytes, left: int) -> bytes:
        """Return what follows a question with its TTLs at so many seconds."""
        before = b"\0\0" + self.head + b"\0" * (1 + QUESTION_FIXED)  # a question for the root is as good as another
        return with_ttl(octets, ttl_places(before + octets), left, -len(before))

    @property
    def size(self) -> int:
        return ENTRY + len(self.key) + sum(ENTRY + len(octets) for octets, _ in self.sizes.values())

    @property
    def groups(self) -> list[Group]:
        return [group for _, group in self.sizes.values()]


class Shelf:
    """The entries of one transport and address family at one listener, which serves `zones`."""

    __slots__ = ("_denial", "_kept", "denials", "entries", "zones")

    def __init__(self, zones: Sequence[bytes] = ()) -> None:
        self.entries: dict[bytes, Kept] = {}
        self.denials: dict[bytes, Denial] = {}
        self.zones = zones
        self._kept = self.entries.get
        self._denial = self.denials.get

    def get(self, message: bytes, now: float) -> bytes | None:
        """Return the reply's octets, or None for the long way; `now` is in monotonic seconds."""
        kept = self._kept(message[2:])
        if kept is None:
            return self._denied(message, now) if len(message) > FIRST_LABEL else None
        if (now >= kept.until or kept.token.stale) and not kept.holds_on(now):
            return None
        kept.used = True
        kept.group.given += 1
        turns = kept.turns
        return message[:2] + (kept.octets if turns is None else turns.next())

    def _denied(self, message: bytes, now: float) -> bytes | None:
        """As get(), by all of the message but its first label."""
        behind = FIRST_LABEL + message[FIRST_LABEL - 1]
        denial = self._denial(message[2:HEADER_SIZE] + message[behind:])
        if denial is None or ((now >= denial.until or denial.token.stale) and not denial.holds_on(now)):
            return None
        sized = denial.sizes.get(behind)
        if sized is None:
            return None
        denial.used = True
        octets, group = sized
        group.given += 1
        return message[:2] + denial.head + message[HEADER_SIZE : behind + denial.question] + octets


class WireCache:
    """All entries of one configuration: they share a bound on their number and one on their octets."""

    def __init__(self, most_entries: int = MOST_ENTRIES, most_octets: int = MOST_OCTETS) -> None:
        """Entries go, once there are too many, by the clock algorithm: the first that was not given since its turn."""
        self._most_entries = most_entries
        self._most_octets = most_octets
        self._clock: deque[Kept | Denial] = deque()
        self._groups: dict[object, Group] = {}
        self._once = array("H", bytes(2 * ONCE))
        self.octets = 0
        self.seconds_each = 0.0  # that a sending takes, as last measured

    def __len__(self) -> int:
        return len(self._clock)

    def offer(self, shelf: Shelf, message: bytes, query: Query, reply: Reply, octets: bytes, keeping: Keeping) -> None:  # noqa: PLR0913
        """Keep a reply that holds beyond this query, if the same octets asked before.

        One that has an answer is kept at once while there is much room: unlike misses, such names are not many.
        """
        lasting = reply.lasting
        if lasting.until == NEVER.until or len(message) > LONGEST_KEY or len(octets) > LARGEST_REPLY:
            return
        if reply.denies and keeping.denials:
            self._offer_denial(shelf, message, query, reply, octets, keeping)
            return
        key = message[2:]
        kept = shelf.entries.get(key)
        if kept is None:
            if not ((reply.answer and self._is_roomy()) or self._came_before(key)) or not _plain(query):
                return
            kept = shelf.entries[key] = Kept(key, shelf.entries)
            self._clock.append(kept)
        else:
            self.octets -= kept.size
            self._leave(kept.group)
        kept.octets = octets[2:]
        kept.turns = Turns(lambda: reply.octets(query)[2:], kept.octets) if reply.turns else None
        kept.token, kept.until, kept.expires = _one_token(lasting), lasting.until, reply.expires
        kept.group = self._join(keeping.exchanges(query, reply.rcode, len(octets)), reply.tallies)
        self.octets += kept.size
        self._time(shelf, message, kept, kept.group)
        self._make_room()

    def _offer_denial(  # noqa: PLR0913 - as offer()
        self, shelf: Shelf, message: bytes, query: Query, reply: Reply, octets: bytes, keeping: Keeping
    ) -> None:
        parent = reply.denies
        behind = FIRST_LABEL + message[FIRST_LABEL - 1]
        key = message[2:HEADER_SIZE] + message[behind:]
        denial = shelf.denials.get(key)
        if denial is None:
            spelled = message[behind : behind + len(parent)] == parent and (
                query.edns is None or not query.edns.options
            )
            inner = any(is_within(zone, parent) for zone in shelf.zones if len(zone) > len(parent))
            if not spelled or inner or len(parent) > LONGEST_PARENT or not self._came_before(key):
                return
            denial = shelf.denials[key] = Denial(key, shelf.denials)
            self._clock.append(denial)
        else:
            self.octets -= denial.size
        head, token, until = octets[2:HEADER_SIZE], _one_token(reply.lasting), reply.lasting.until
        now = monotonic() if reply.expires else 0.0
        over = denial.token.stale or now >= denial.expires > 0
        if over or (denial.head, denial.token, bool(denial.expires)) != (head, token, bool(reply.expires)):
            for group in denial.groups:
                self._leave(group)
            denial.sizes.clear()
            denial.until, denial.expires = until, reply.expires
            if denial.expires:
                denial.until = denial.expires - ceil(denial.expires - now) + 1
        denial.head, denial.question, denial.token = head, len(parent) + QUESTION_FIXED, token
        if not denial.expires:
            denial.until = max(denial.until, until)  # each name's reply says so of all
        if behind not in denial.sizes:
            group = self._join(keeping.exchanges(query, reply.rcode, len(octets)), reply.tallies)
            follows = octets[behind + denial.question :]
            if denial.expires:  # the first reply's TTL is every other's, so that none is longer than it was told
                follows = denial.counted_down(follows, ceil(denial.expires - now))
            denial.sizes[behind] = follows, group
            self._time(shelf, message, denial, group)
        self.octets += denial.size
        self._make_room()

    def fold(self) -> None:
        """Bring all counters up to date."""
        for group in self._groups.values():
            if group.given:
                group.fold(self.seconds_each)

    def _time(self, shelf: Shelf, message: bytes, entry: Kept | Denial, group: Group) -> None:
        """Measure what a sending of an entry takes: to time each one would cost more than the sending."""
        used, given, before = entry.used, group.given, perf_counter()
        shelf.get(message, 0.0)
        self.seconds_each = perf_counter() - before
        entry.used, group.given = used, given

    def _is_roomy(self) -> bool:
        """Tell whether half of the room is free."""
        return 2 * self.octets < self._most_octets and 2 * len(self._clock) < self._most_entries

    def _came_before(self, key: bytes) -> bool:
        """Tell whether a query came before: by some bits of its hash, which are wrong once in 65,536 times."""
        mark = hash(key)
        place, mark = mark % ONCE, mark >> 40 & 0xFFFF
        if self._once[place] == mark:
            return True
        self._once[place] = mark
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
            entry = self._clock.popleft()
            if entry.used and passed_over < PASSED_OVER:
                passed_over += 1
                entry.used = False
                self._clock.append(entry)
                continue
            del entry.home[entry.key]
            self.octets -= entry.size
            for group in entry.groups:
                self._leave(group)


def with_ttl(octets: bytes, places: Sequence[int], ttl: int, shift: int) -> bytes:
    """Return octets with a TTL, in seconds, at some places, each shifted by so many octets."""
    changed = bytearray(octets)
    told = ttl.to_bytes(4, "big")
    for place in places:
        changed[place + shift : place + shift + 4] = told
    return bytes(changed)


def _plain(query: Query) -> bool:
    """Tell whether many may send these very octets."""
    return query.question.startswith(query.name) and (query.edns is None or not query.edns.options)


def shelves(zones: Sequence[bytes] = ()) -> dict[tuple[str, bool], Shelf]:
    """Return an empty shelf for each transport of a listener, over IPv4 and over IPv6."""
    return {(transport, ipv6): Shelf(zones) for transport in ("udp", "tcp") for ipv6 in (False, True)}
