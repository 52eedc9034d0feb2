"""Entries that have run out while nothing has changed: they begin anew where they are, and no plugin is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubedns.wire.validity import Validity
from plugins.cache.options import SUCCESS
from plugins.cache.store import UNKNOWN, Entry

if TYPE_CHECKING:
    from kubedns.wire.validity import Token
    from plugins.cache import Cache
    from plugins.cache.listener import Listener


class Anew:
    """What lets TTLs of entries begin again (kubedns.wire.validity), and counts that, at one listener.

    It is one for all entries of a kind, of so many octets of records and that TTL in seconds, whose keys end alike: the
    wire cache may keep more replies than there are entries.
    """

    __slots__ = ("_cache", "_end", "_kind", "_listener", "_octets", "seconds")

    def __init__(  # noqa: PLR0913 - all that they have in common
        self, cache: Cache, listener: Listener, kind: str, end: bytes, octets: int, seconds: int
    ) -> None:
        """`end` is the octet behind the question in their keys."""
        self._cache = cache
        self._listener = listener
        self._kind = kind
        self._end = end
        self._octets = octets
        self.seconds = seconds

    def begin(self, question: bytes, token: Token, now: float) -> float:
        """As kubedns.wire.validity's: a hit where the entry has begun anew for another query, else a miss."""
        cache, key, kind = self._cache, question + self._end, self._kind
        running = cache.find(key, now)
        entry = running or cache.store.shelf(kind).entries.get(key)
        if entry is None:
            entry = self._made_again(key, token, now)
        elif entry.recurs:  # it is of the same reply: the wire cache's was put here when it was made, or is from here
            entry.used = True
        else:
            return 0.0
        if running is None:
            entry.stored = now
            counters = self._listener.counters
            counters.misses.value += 1
            counters.hits[kind].value -= 1  # who gives the reply counts one
        return entry.stored + entry.duration

    def _made_again(self, key: bytes, token: Token, now: float) -> Entry:
        """Return the entry of a reply that the wire cache kept for longer."""
        entry = Entry(key, self._kind, UNKNOWN, now, self.seconds)
        entry.answers, entry.home = self._kind == SUCCESS, self._cache
        entry.validity, entry.recurs = Validity(tokens=(token,)), True
        self._cache.put(entry, self._octets, self._listener)
        return entry
