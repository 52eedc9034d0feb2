"""Owner names and the replies that are ready for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubedns.wire.reply import Reply
    from kubedns.wire.validity import Token

MOST_OWNERS = 65_536  # with some 400 octets each, below 30 MB


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
    """Answers by owner name (lower-case wire octets), no more than a bound: the owner kept longest makes room."""

    __slots__ = ("_answers", "_most")

    def __init__(self, most: int = MOST_OWNERS) -> None:
        """`most` owners are kept."""
        self._answers: dict[bytes, Answers] = {}
        self._most = most

    def __len__(self) -> int:
        """Count the owners kept, stale ones included."""
        return len(self._answers)

    def get(self, owner: bytes) -> Answers | None:
        """Return what is ready for a name; what has become stale is dropped."""
        answers = self._answers.get(owner)
        if answers is not None and answers.token.stale:
            del self._answers[owner]
            return None
        return answers

    def put(self, owner: bytes, answers: Answers) -> None:
        """Keep answers for a name, in place of those kept before."""
        if len(self._answers) >= self._most and owner not in self._answers:
            del self._answers[next(iter(self._answers))]
        self._answers[owner] = answers
