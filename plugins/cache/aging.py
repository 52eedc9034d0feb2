"""Records that the wire cache makes without asking for an entry: their TTLs count down as an entry's would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plugins.cache.options import SUCCESS

if TYPE_CHECKING:
    from array import array

    from kubedns.wire.validity import Siblings
    from plugins.cache.listener import Listener

SLOTS = 1 << 16  # moments that names were first asked at, by hash: those of one slot count down together
TTL = slice(6, 10)  # of a record behind a pointer for its owner, its type and its class


class Aging:
    """Siblings (kubedns.wire.validity) whose TTLs count down from the moment that a name is first asked for.

    No TTL is longer than an entry's would be; it is shorter for a name whose slot another one has come to first.
    """

    __slots__ = ("_counters", "_duration", "_made", "_mark", "_shown", "_slots", "parent")

    def __init__(  # noqa: PLR0913 - what an entry and its cache know
        self, made: Siblings, kind: bytes, slots: array[float], duration: int, listener: Listener, *, keep: bool
    ) -> None:
        """`kind` is what their entries' keys have in common besides the parent.

        `slots` hold SLOTS moments in monotonic seconds; `duration` is in seconds, and is always shown if `keep`.
        """
        self.parent = made.parent
        self._made = made
        self._slots = slots
        self._duration = duration
        self._counters = listener.counters
        self._mark = hash((made.parent, kind))
        first = duration if keep else 0
        self._shown = [max(first, left).to_bytes(4, "big") for left in range(duration + 1)]

    def entered(self, label: bytes, now: float) -> float:
        """Return the moment from which a name's entry counts down, for a query that was counted as a miss.

        It is a hit where the name was answered in this way before.
        """
        slot = (hash(label) ^ self._mark) % SLOTS
        if int(now - self._slots[slot]) >= self._duration:
            self._slots[slot] = now
        else:
            self._counters.misses.value -= 1
            self._counters.hits[SUCCESS].value += 1
        return self._slots[slot]

    def answer(self, label: bytes, now: float) -> bytes | None:
        """As Siblings'; who gives the record counts a hit, which the first is not."""
        record = self._made.answer(label, now)
        if record is None:
            return None
        slot = (hash(label) ^ self._mark) % SLOTS
        left = self._duration - int(now - self._slots[slot])
        if not 0 < left <= self._duration:  # the latter: this datagram was read before, in a batch that was held up
            if left <= 0:
                self._slots[slot] = now
                self._counters.misses.value += 1
                self._counters.hits[SUCCESS].value -= 1
            left = self._duration
        return record[: TTL.start] + self._shown[left] + record[TTL.stop :]
