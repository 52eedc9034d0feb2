"""What a plugin makes of a reply from behind it, kept for the next time that the same reply comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from kubedns.emptying import emptying

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubedns.wire.reply import Reply

Made = TypeVar("Made")


class Derived(Generic[Made]):
    """Values by Reply, no more than a bound, by two generations as in answers.table.

    A reply is told from others by its identity, and kept alive with its value, so that no other takes its place.
    """

    __slots__ = ("_most", "_old", "_young")

    def __init__(self, most: int) -> None:
        """`most` values are kept at the highest, half of them at the least."""
        self._most = most // 2
        self._young: dict[int, tuple[Reply, Made]] = {}
        self._old: dict[int, tuple[Reply, Made]] = {}

    def __len__(self) -> int:
        """Count the values kept."""
        return len(self._young) + len(self._old)

    def get(self, reply: Reply) -> Made | None:
        """Return what has been made of that very reply."""
        found = self._young.get(id(reply))
        if found is None:
            found = self._old.pop(id(reply), None)
            if found is None:
                return None
            self.put(*found)
        return found[1]

    def put(self, reply: Reply, made: Made) -> None:
        """Keep what has been made of a reply."""
        if len(self._young) >= self._most:
            self._old, self._young = self._young, {}
        self._young[id(reply)] = (reply, made)

    def clear(self) -> None:
        """Forget everything."""
        self._old, self._young = {}, {}

    def emptying(self) -> Iterator[None]:
        """Forget everything, a value at each step."""
        return emptying(self._young, self._old)
