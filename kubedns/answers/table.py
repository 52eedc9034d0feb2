"""Owner names and the replies that are ready for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubedns.emptying import emptying

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubedns.wire.reply import Reply
    from kubedns.wire.validity import Token

MOST_OWNERS = 4096  # in both generations together: some 1,300 octets each, 6 MB at the most


class Answers:
    """The replies of one owner name by type; None stands for NODATA, whose reply is its zone's.

    They hold for as long as `token` is not stale.
    """

    __slots__ = ("replies", "token")

    def __init__(self, token: Token) -> None:
        """Empty: a type's reply is made when it is first asked for."""
        self.token = token
        self.replies: dict[int, Reply | None] = {}


class Table:
    """Answers by owner name (lower-case wire octets), no more than a bound, by two generations.

    Owners are put into the young one; when that is full it becomes the old one, whose owners come back when they are
    asked for, and the rest is dropped. So what is hot stays, and no step costs more than another.
    """

    __slots__ = ("_most", "_old", "_young")

    def __init__(self, most: int = MOST_OWNERS) -> None:
        """`most` owners are kept at the highest, half of them at the least."""
        self._most = most // 2
        self._young: dict[bytes, Answers] = {}
        self._old: dict[bytes, Answers] = {}

    def __len__(self) -> int:
        """Count the owners kept, stale ones included."""
        return len(self._young) + len(self._old)

    def get(self, owner: bytes) -> Answers | None:
        """Return what is ready for a name; what has become stale is dropped."""
        answers = self._young.get(owner)
        if answers is None:
            answers = self._old.pop(owner, None)
            if answers is None:
                return None
            self.put(owner, answers)
        if answers.token.stale:
            del self._young[owner]
            return None
        return answers

    def put(self, owner: bytes, answers: Answers) -> None:
        """Keep answers for a name, in place of those kept before."""
        if len(self._young) >= self._most and owner not in self._young:
            self._old, self._young = self._young, {}
        self._old.pop(owner, None)  # else it would come back once the new answers are stale
        self._young[owner] = answers

    def emptying(self) -> Iterator[None]:
        """Drop all owners, one at each step."""
        return emptying(self._young, self._old)
