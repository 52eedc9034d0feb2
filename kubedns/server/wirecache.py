"""Raw query octets to ready reply: the short way, round the parser, the chain and the composer.

Rules of this file:

- What names a reply is all of its message but the ID. Spellings and EDNS options that make each query another one are
  not kept: they take the long way.
- An entry holds for as long as its reply's validity does, and it is never searched for: who asks next finds it stale.
  Where TTLs that count down and an SOA's serial are all that changes, they are written over, each once a second at the
  most.
- A query that comes once is not kept, only remembered by its hash: a flood of random names fills nothing. While half
  of the room is free, the addresses of a name that is there are kept at once, and any other answer.
- Of names below a parent that has none (the search path's misses) one entry answers all: only the parent is looked up.
  So it is with names made of an address, whose records a plugin's `siblings` make without the long way.
- What is given is counted by group, of entries that count alike, and folded into counters when somebody looks.
"""

from __future__ import annotations

from array import array
from collections import deque
from math import ceil
from random import random
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from kubedns.server.entries import FIRST_LABEL, Alike, Denial, Group, Kept, tokens
from kubedns.server.turns import Turns
from kubedns.wire.compose import ADDRESSES
from kubedns.wire.name import is_within
from kubedns.wire.numbers import HEADER_SIZE
from kubedns.wire.query import parse_query
from kubedns.wire.validity import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kubedns.plugin.contract import Exchanges
    from kubedns.server.entries import Below, Entry, Home
    from kubedns.wire.query import Query
    from kubedns.wire.reply import Reply
    from kubedns.wire.validity import Tally

MOST_ENTRIES = 60_000
MOST_OCTETS = 12 << 20
LONGEST_KEY = 300  # octets: a name, type and class, a header and a plain OPT record have fewer
LARGEST_REPLY = 8192  # octets
ONCE = 1 << 18  # places for marks of queries that came once
PASSED_OVER = 64  # entries in use that may be passed over to find one to drop
LONGEST_PARENT = 191  # octets: with any label before it, it is a name of 255 or fewer

_Kind = TypeVar("_Kind", Kept, Denial, Alike)


class Keeping(NamedTuple):
    """How replies of a server block are kept: who counts them, and whether all its plugins heed denials."""

    exchanges: Callable[[Query, int, int], Sequence[Exchanges]]
    denials: bool


class Shelf:
    """The entries of one transport and address family at one listener, which serves `zones`.

    `below` are those that answer for all names right below a parent.
    """

    __slots__ = ("_kept", "_parent", "below", "entries", "zones")

    def __init__(self, zones: Sequence[bytes] = ()) -> None:
        self.entries: dict[bytes, Kept] = {}
        self.below: dict[bytes, Below] = {}
        self.zones = zones
        self._kept = self.entries.get
        self._parent = self.below.get

    def get(self, message: bytes, now: float) -> bytes | None:
        """Return the reply's octets, or None for the long way; `now` is in monotonic seconds."""
        kept = self._kept(message[2:])
        if kept is None:
            return self._by_parent(message, now) if len(message) > FIRST_LABEL else None
        if (now >= kept.until or kept.token.stale or kept.dated.stale) and not kept.holds_on(now):
            return None
        kept.used = True
        kept.group.given += 1
        turns = kept.turns
        return message[:2] + kept.octets if turns is None else turns.next(message[:2])

    def _by_parent(self, message: bytes, now: float) -> bytes | None:
        """As get(), by all of the message but its first label."""
        behind = FIRST_LABEL + message[FIRST_LABEL - 1]
        entry = self._parent(message[2:HEADER_SIZE] + message[behind:])
        if entry is None:
            return None
        if (now >= entry.until or entry.token.stale or entry.dated.stale) and not entry.holds_on(now):
            return None
        return entry.reply(message, behind, now)


class WireCache:
    """All entries of one configuration: they share a bound on their number and one on their octets."""

    def __init__(self, most_entries: int = MOST_ENTRIES, most_octets: int = MOST_OCTETS) -> None:
        """Entries go, once there are too many, by the clock algorithm: the first that was not given since its turn."""
        self._most_entries = most_entries
        self._most_octets = most_octets
        self._clock: deque[Entry] = deque()
        self._groups: dict[object, Group] = {}
        self._once = array("H", bytes(2 * ONCE))
        self._ended = False
        self.octets = 0
        self.seconds_each = 0.0  # that a sending takes, as last measured

    def __len__(self) -> int:
        return len(self._clock)

    def offer(  # noqa: PLR0913 - all that is known of one exchange; an object to hold it would be made for each
        self, shelf: Shelf, message: bytes, query: Query, reply: Reply, octets: bytes, keeping: Keeping
    ) -> None:
        """Keep a reply that holds beyond this query, if the same octets asked before.

        One of a name that is there is kept at once while there is much room: unlike misses, such names are not many.
        That it has no address of one family is asked as often as for that of the other.
        """
        lasting = reply.lasting
        if lasting.until == NEVER.until or len(message) > LONGEST_KEY or len(octets) > LARGEST_REPLY or self._ended:
            return
        if keeping.denials and reply.speaks_for and self._offer_below(shelf, message, query, reply, octets, keeping):
            return
        key = message[2:]
        known = key in shelf.entries
        there = reply.answer or (not reply.rcode and query.rrtype in ADDRESSES)
        if not known and not (((there and self._is_roomy()) or self._came_before(key)) and _plain(query)):
            return
        turns = None
        if reply.spans:
            if not reply.is_movable(query):
                return
            turns = Turns(reply, query, octets)
            if not turns.exact:
                return
        kept = self._open(Kept, shelf.entries, key)
        if known:
            self._leave(kept.group)
        kept.turns, kept.question = turns or None, len(query.question)
        kept.octets, kept.ttls = b"" if kept.turns else octets[2:], ()
        kept.token, kept.serial, kept.dated = tokens(reply, octets)
        kept.until, kept.expires = lasting.until, reply.expires
        question, anew = reply.anew or (b"", None)
        kept.anew = anew if question == query.question else None  # a plugin may have asked for another name
        kept.group = self._join(keeping.exchanges(query, reply.rcode, len(octets)), reply.tallies)
        self._time(shelf, message, kept, kept.group)
        if turns:
            turns.follow(octets)  # what was timed was not sent
        self._close(kept)

    def _offer_below(  # noqa: PLR0913 - as offer()
        self, shelf: Shelf, message: bytes, query: Query, reply: Reply, octets: bytes, keeping: Keeping
    ) -> bool:
        """Keep what a reply says of all names right below a parent; False: it is to be kept as one name's."""
        parent = reply.speaks_for
        behind = FIRST_LABEL + message[FIRST_LABEL - 1]
        key = message[2:HEADER_SIZE] + message[behind:]
        known = key in shelf.below
        if not known:
            spelled = message.startswith(parent, behind) and (query.edns is None or not query.edns.options)
            inner = any(is_within(zone, parent) for zone in shelf.zones if len(zone) > len(parent))
            if not spelled or inner or len(parent) > LONGEST_PARENT:
                return bool(reply.denies)
        if not reply.denies:
            if known or self._is_roomy() or self._came_before(key):
                self._offer_siblings(shelf, key, query, reply, octets, keeping)
        elif known or self._came_before(key):
            self._offer_denial(shelf, key, message, query, reply, octets, keeping)
        return True

    def _offer_denial(  # noqa: PLR0913 - as offer()
        self, shelf: Shelf, key: bytes, message: bytes, query: Query, reply: Reply, octets: bytes, keeping: Keeping
    ) -> None:
        behind = FIRST_LABEL + message[FIRST_LABEL - 1]
        denial = self._open(Denial, shelf.below, key)
        now = monotonic() if reply.expires else 0.0
        for group in denial.renewed(octets, reply, now):
            self._leave(group)
        if behind not in denial.sizes:
            group = self._join(keeping.exchanges(query, reply.rcode, len(octets)), reply.tallies)
            follows = octets[behind + denial.question :]
            if denial.expires:  # the first reply's TTL is every other's, so that none is longer than it was told
                follows = denial.counted_down(follows, ceil(denial.expires - now))
            denial.sizes[behind] = follows, group
            self._time(shelf, message, denial, group)
        self._close(denial)

    def _offer_siblings(  # noqa: PLR0913 - as offer()
        self, shelf: Shelf, key: bytes, query: Query, reply: Reply, octets: bytes, keeping: Keeping
    ) -> None:
        client, tallies = query.client, reply.tallies

        def group_of(message: bytes, size: int) -> Group:
            return self._join(keeping.exchanges(parse_query(message, client), reply.rcode, size), tallies)

        alike = self._open(Alike, shelf.below, key)
        for group in alike.renewed(octets, len(query.question), reply, group_of):
            self._leave(group)
        self._close(alike)

    def _open(self, kind: type[_Kind], home: Home, key: bytes) -> _Kind:
        """Return the entry of a key to be written over: a new one where there is none, or one of another kind."""
        entry = home.get(key)
        if isinstance(entry, kind):
            self.octets -= entry.size
            return entry
        if entry is not None:
            self._clock.remove(entry)
            self._forget(entry)
        made = kind(key, home)
        home[key] = made
        self._clock.append(made)
        return made

    def _close(self, entry: Entry) -> None:
        """Count the octets of an entry that was written."""
        self.octets += entry.size
        self._make_room()

    def _forget(self, entry: Entry) -> None:
        del entry.home[entry.key]
        self.octets -= entry.size
        for group in entry.groups:
            self._leave(group)

    def emptying(self) -> Iterator[None]:
        """Keep nothing any more, and let go of what there is, an entry at each step: it is held in cycles."""
        self._ended = True
        self._once = array("H")
        while self._clock:
            entry = self._clock.popleft()
            self._forget(entry)
            if not entry.home:
                entry.home.clear()  # an empty dictionary keeps its room
            yield

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
        """Tell whether a query came before: by some bits of its hash, which are wrong once in 65,536 times.

        Of two that share a place, chance says which is remembered: else those that come by turns never were.
        """
        mark = hash(key)
        place, mark = mark % ONCE, mark >> 40 & 0xFFFF
        remembered = self._once[place]
        if remembered == mark:
            return True
        if not remembered or random() < 0.5:  # noqa: PLR2004, S311 - either; no secret
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
            self._forget(entry)


def _plain(query: Query) -> bool:
    """Tell whether many may send these very octets."""
    return query.question.startswith(query.name) and (query.edns is None or not query.edns.options)


def shelves(zones: Sequence[bytes] = ()) -> dict[tuple[str, bool], Shelf]:
    """Return an empty shelf for each transport of a listener, over IPv4 and over IPv6."""
    return {(transport, ipv6): Shelf(zones) for transport in ("udp", "tcp") for ipv6 in (False, True)}
