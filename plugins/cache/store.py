"""What a cache holds: entries of two kinds, bounded in number and in octets. It outlives a reload.

An entry goes when there are too many by the clock algorithm: the first that was not asked for since its turn, so that
names that come once don't push out those that come often.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from kubedns.emptying import emptying
from kubedns.metrics import Count
from kubedns.slices import in_slices
from kubedns.tokens import Token
from kubedns.wire.name import ROOT
from kubedns.wire.reply import Reply
from kubedns.wire.validity import NEVER, UNCHANGING, Validity
from plugins.cache.options import SUCCESS

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from kubedns.wire.validity import Serial
    from kubedns.wire.validity import Token as AnyToken

OCTETS_EACH = 1024  # on the average, of records, keys and objects: what a shelf may hold is its entries times that
OVERHEAD = 560  # octets of an entry's objects, as measured, without the records
PASSED_OVER = 64  # entries in use that may be passed over to find one to drop
UNKNOWN = Reply(suffix=ROOT)  # of an entry that has begun anew after it was dropped: to be asked for if it is needed


class Renewal:
    """How an entry is used and renewed: only those that are have one."""

    __slots__ = ("failed", "given", "hits", "last", "replaced", "seen", "task", "verifying")

    def __init__(self) -> None:
        """`given` counts the hits that came without asking, `seen` those of them that `hits` has in it.

        `task` is under way in the background, `verifying` clients wait for their own; `failed` is when one did.
        `replaced` is stale once the entry that a task was started for has given its place to another.
        """
        self.task: asyncio.Task[bool] | None = None
        self.replaced: Token | None = None
        self.verifying = 0
        self.failed: float | None = None
        self.hits = 0
        self.last = 0.0
        self.given = Count()
        self.seen = 0

    def hit(self, now: float, gap: float) -> None:
        """Count a hit and those that came without asking since the last; a gap of more than that starts anew."""
        given, self.seen = self.given.value - self.seen, self.given.value
        self.hits = 1 if now - self.last > gap and not given else self.hits + given + 1
        self.last = now

    def follow(self) -> None:
        """Have what is given from now on hold no longer than the entry does."""
        if self.replaced is None:
            self.replaced = Token()

    def replace(self) -> None:
        """Say that another entry has its place."""
        if self.replaced is not None:
            self.replaced.stale = True
            self.replaced = None


class Entry:
    """A reply as it is kept.

    It shows the TTL that it was last given with; `until` is when it has to show another one, `owner` is who counts when
    it is given as it is (for another it is made ready anew), and `flags` are those that it came with. `validity` is the
    reply's own; one from a source that tells when it changes is true no longer, and of one configuration alone, its
    `home`. `dated` is stale once `serial`, that of the SOA behind its records, is another than it shows. `previous` is
    an entry that answered before this one, which does not. `recurs`: while `validity` holds, asking brings the same.
    """

    __slots__ = (
        "answers",
        "dated",
        "duration",
        "flags",
        "home",
        "key",
        "kind",
        "owner",
        "previous",
        "recurs",
        "renewal",
        "reply",
        "serial",
        "size",
        "stored",
        "until",
        "used",
        "validity",
    )

    def __init__(self, key: bytes, kind: str, reply: Reply, now: float, duration: int) -> None:
        """`now` is in monotonic seconds, `duration` in seconds."""
        self.key = key
        self.kind = kind
        self.reply = reply
        self.stored = now
        self.duration = duration
        self.flags = reply.flags
        self.answers = False
        self.home: object = None
        self.owner: object = None
        self.until = 0.0
        self.validity = NEVER
        self.serial: Serial | None = None
        self.dated: AnyToken = UNCHANGING
        self.previous: Entry | None = None
        self.recurs = False
        self.renewal: Renewal | None = None
        self.size = 0
        self.used = False

    def remaining(self, now: float) -> int:
        """Return the whole seconds that are left; 0 or less: it has run out."""
        return self.duration - int(now - self.stored)

    def lasting(self) -> Validity:
        """Return for how long it shows what it does, once that is the serial as it is now."""
        tokens: tuple[AnyToken, ...] = self.validity.tokens
        if self.renewal is not None and self.renewal.replaced is not None:
            tokens = (*tokens, self.renewal.replaced)
        if self.serial is None:
            return Validity(self.until, tokens)
        self.dated = self.serial.token
        return Validity(self.until, (*tokens, self.dated))

    @property
    def untrue(self) -> bool:
        """Whether something has changed that it was made from."""
        return any(token.stale for token in self.validity.tokens)


def renewal_of(entry: Entry) -> Renewal:
    """Return the entry's own, made when it is first needed."""
    if entry.renewal is None:
        entry.renewal = Renewal()
    return entry.renewal


class Shelf:
    """The entries of one kind."""

    __slots__ = ("_clock", "_most", "_most_octets", "entries", "octets")

    def __init__(self, most: int) -> None:
        """`most` is a number of entries, from which that of octets follows; `entries` are changed here alone."""
        self._most = most
        self._most_octets = most * OCTETS_EACH
        self.entries: dict[bytes, Entry] = {}
        self._clock: deque[bytes] = deque()  # keys, so that an entry that was replaced is held by nothing
        self.octets = 0

    def __len__(self) -> int:
        return len(self.entries)

    def put(self, entry: Entry, octets: int) -> int:
        """Keep an entry of so many octets of records, in place of that of its key; return how many others went."""
        key, entries = entry.key, self.entries
        entry.size = octets + len(key) + OVERHEAD
        if key in entries:
            entry.used = True  # it is not the first time that somebody asks
            self.octets -= entries[key].size
        else:
            self._clock.append(key)
        entries[key] = entry
        self.octets += entry.size
        return self._make_room(entry)

    def remove(self, key: bytes) -> None:
        """Drop the entry of a key, if there is one."""
        old = self.entries.pop(key, None)
        if old is None:
            return
        self.octets -= old.size
        if len(self._clock) > 2 * len(self.entries) + PASSED_OVER:  # the key itself leaves when its turn comes
            self._clock = deque(self.entries)

    def emptying(self) -> Iterator[None]:
        """Drop all entries, one at each step."""
        self._clock.clear()
        self.octets = 0
        return emptying(self.entries)

    def leaving(self, home: object) -> Iterator[None]:
        """Drop the entries that are of that configuration alone, one at each step."""
        for key in [key for key, entry in self.entries.items() if entry.home is home]:
            entry = self.entries.get(key)
            if entry is not None and entry.home is home:
                self.remove(key)
            yield

    def _make_room(self, newest: Entry) -> int:
        gone = passed_over = 0
        entries, clock = self.entries, self._clock
        while len(entries) > self._most or self.octets > self._most_octets:
            key = clock.popleft()
            entry = entries.get(key)
            if entry is None:
                continue
            if entry is newest or (entry.used and passed_over < PASSED_OVER):
                clock.append(key)
                if entry is newest and len(entries) == 1:
                    break
                passed_over += 1
                entry.used = False
                continue
            del entries[key]
            self.octets -= entry.size
            gone += 1
        return gone


class Store:
    """Both kinds."""

    __slots__ = ("denial", "success")

    def __init__(self, success: int, denial: int) -> None:
        """Each may hold so many entries."""
        self.success = Shelf(success)
        self.denial = Shelf(denial)

    def shelf(self, kind: str) -> Shelf:
        """Return that of a kind."""
        return self.success if kind == SUCCESS else self.denial

    async def stop(self) -> None:
        """Hold nothing: no cache of a configuration has it any more."""
        await in_slices(self.success.emptying(), self.denial.emptying())
