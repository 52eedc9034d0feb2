"""Many deadlines and one coarse clock: a wheel of ticks, each with what is due in it (sans-IO)."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Generic, Protocol, TypeVar


class Due(Protocol):
    deadline: float  # monotonic seconds; its owner may put it off without telling the wheel
    tick: int  # where the wheel has put it


D = TypeVar("D", bound=Due)


class Wheel(Generic[D]):
    """Finds what is due without looking at what is not.

    Putting a deadline off costs an assignment: what turns up early is put back. Bringing one forward takes add().
    """

    def __init__(self, resolution: float, now: float) -> None:
        """`resolution` is a tick's length, in seconds."""
        self._resolution = resolution
        self._at = self._tick(now)
        self._ticks: defaultdict[int, dict[D, None]] = defaultdict(dict)

    def _tick(self, deadline: float) -> int:
        return int(deadline / self._resolution) + 1  # the first tick that begins after the deadline

    def add(self, item: D) -> None:
        """Take a new item, or one whose deadline has come nearer."""
        item.tick = max(self._tick(item.deadline), self._at)
        self._ticks[item.tick][item] = None

    def discard(self, item: D) -> None:
        due = self._ticks.get(item.tick)
        if due is not None:
            due.pop(item, None)
            if not due:
                del self._ticks[item.tick]

    def move(self, item: D, deadline: float) -> None:
        """Set the deadline, and see to it that it is met if it is now nearer than before."""
        item.deadline = deadline
        if self._tick(deadline) < item.tick:
            self.discard(item)
            self.add(item)

    def expired(self, now: float) -> list[D]:
        """Take out and return what is due, at most two ticks late and never early."""
        self._at = int(now / self._resolution) + 1
        due = [item for tick in sorted(self._ticks) if tick < self._at for item in self._ticks.pop(tick)]
        for item in due:
            if self._tick(item.deadline) >= self._at:
                self.add(item)
        return [item for item in due if self._tick(item.deadline) < self._at]

    def soonest(self, most: int) -> Iterator[D]:
        """Yield what is due next, in that order but for what stands in one tick; look at no more than `most`."""
        tick = 0
        while most > 0 and (later := [other for other in self._ticks if other > tick]):
            tick = min(later)
            for item in list(islice(self._ticks[tick], most)):
                most -= 1
                if self._tick(item.deadline) > tick:
                    self.discard(item)
                    self.add(item)
                else:
                    yield item
