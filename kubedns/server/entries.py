"""What the wire cache holds: the octets of a reply, or what makes those of many, and while what they hold."""

from __future__ import annotations

from math import ceil, inf
from typing import TYPE_CHECKING, Any

from kubedns.server.turns import Turns, shared, with_ttl
from kubedns.wire.numbers import HEADER_SIZE, TC
from kubedns.wire.parse import last_end, ttl_places
from kubedns.wire.records import write_serial
from kubedns.wire.validity import UNCHANGING, one_token

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kubedns.plugin.contract import Exchanges
    from kubedns.wire.reply import Reply
    from kubedns.wire.validity import Anew, Serial, Tally, Token

    Home = dict[bytes, Any]  # where an entry is found by its key

ENTRY = 256  # octets that an entry costs besides its key and its reply
FIRST_LABEL = HEADER_SIZE + 1  # where a question's first label starts, behind its length
QUESTION_AT = HEADER_SIZE - 2  # in all of a message but its ID
QUESTION_FIXED = 4  # octets: type and class
RECORD_FIXED = 12  # octets of a record before its data, its owner a pointer


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


class Kept:
    """A reply's octets behind the ID, or its turns, and while what they hold.

    `used`: given since the clock's hand passed.

    `dated` is stale once `serial`, that of the SOA behind all other records, is another than they show.
    """

    __slots__ = (
        "anew",
        "dated",
        "expires",
        "group",
        "home",
        "key",
        "octets",
        "question",
        "serial",
        "token",
        "ttls",
        "turns",
        "until",
        "used",
    )

    def __init__(self, key: bytes, home: Home) -> None:
        self.key = key
        self.home = home
        self.used = False
        self.question = 0  # octets
        self.octets = b""
        self.ttls: Sequence[int] = ()  # where they stand, once that was looked for
        self.turns: Turns | None = None
        self.token: Token = UNCHANGING
        self.serial: Serial | None = None
        self.dated: Token = UNCHANGING
        self.until = 0.0
        self.expires = 0.0
        self.anew: Anew | None = None
        self.group: Group

    def holds_on(self, now: float) -> bool:
        """Tell whether TTLs and the serial are all that has changed by now, and then show them as they are."""
        if self.token.stale:
            return False
        if now >= self.until:
            left = self._left(now)
            if not left:
                return False
            if self.turns is None:
                self.ttls = self.ttls or shared(ttl_places(b"\0\0" + self.octets))
                self.octets = with_ttl(self.octets, self.ttls, left, -2)
            else:
                self.turns.show(left)
            self.until = self.expires - left + 1
        if self.dated.stale and self.serial is not None:
            self.octets = with_serial(b"\0\0" + self.octets, self.serial.value)[2:]
            self.dated = self.serial.token
        return True

    def _left(self, now: float) -> int:
        """Return the seconds that TTLs have left, begun anew where they may; 0: the reply has run out."""
        if now < self.expires:
            return ceil(self.expires - now)
        if self.anew is None:
            return 0
        self.expires = self.anew.begin(self.key[QUESTION_AT : QUESTION_AT + self.question], self.token, now)
        return min(ceil(self.expires - now), self.anew.seconds) if self.expires else 0

    @property
    def size(self) -> int:
        """Octets of memory."""
        return ENTRY + len(self.key) + (len(self.octets) if self.turns is None else self.turns.size)

    @property
    def groups(self) -> list[Group]:
        return [self.group]


class Denial:
    """What names right below a parent are answered: flags and counts, the question itself, and what follows it.

    The latter, and who counts, depend on the question's size: `sizes` has them by the place behind its first label.
    """

    __slots__ = (
        "dated",
        "expires",
        "head",
        "home",
        "key",
        "question",
        "serial",
        "sizes",
        "token",
        "until",
        "used",
    )

    def __init__(self, key: bytes, home: Home) -> None:
        self.key = key
        self.home = home
        self.used = False
        self.head = b""
        self.question = 0  # octets behind the first label
        self.sizes: dict[int, tuple[bytes, Group]] = {}
        self.token: Token = UNCHANGING
        self.serial: Serial | None = None
        self.dated: Token = UNCHANGING
        self.until = 0.0
        self.expires = 0.0

    def holds_on(self, now: float) -> bool:
        """As Kept's."""
        if self.token.stale or now >= max(self.until, self.expires):
            return False
        if now >= self.until:
            left = ceil(self.expires - now)
            for behind, (octets, group) in self.sizes.items():
                self.sizes[behind] = self.counted_down(octets, left), group
            self.until = self.expires - left + 1
        if self.dated.stale and self.serial is not None:
            before = self._before()
            for behind, (octets, group) in self.sizes.items():
                self.sizes[behind] = with_serial(before + octets, self.serial.value)[len(before) :], group
            self.dated = self.serial.token
        return True

    def counted_down(self, octets: bytes, left: int) -> bytes:
        """Return what follows a question with its TTLs at so many seconds."""
        before = self._before()
        return with_ttl(octets, ttl_places(before + octets), left, -len(before))

    def _before(self) -> bytes:
        """What stands before: a question for the root is as good as another."""
        return b"\0\0" + self.head + b"\0" * (1 + QUESTION_FIXED)

    @property
    def size(self) -> int:
        return ENTRY + len(self.key) + sum(ENTRY + len(octets) for octets, _ in self.sizes.values())

    @property
    def groups(self) -> list[Group]:
        return [group for _, group in self.sizes.values()]

    def renewed(self, octets: bytes, reply: Reply, now: float) -> list[Group]:
        """Take over from a reply, unless it says the same; return the groups that were counted until then."""
        head, until = octets[2:HEADER_SIZE], reply.lasting.until
        token, serial, dated = tokens(reply, octets)
        left: list[Group] = []
        over = self.token.stale or now >= self.expires > 0 or self.serial is not serial
        if over or (self.head, self.token, bool(self.expires)) != (head, token, bool(reply.expires)):
            left = self.groups
            self.sizes.clear()
            self.until, self.expires = until, reply.expires
            if self.expires:
                self.until = self.expires - ceil(self.expires - now) + 1
        elif self.dated.stale:
            self.holds_on(now)
        self.head, self.question, self.token = head, len(reply.denies) + QUESTION_FIXED, token
        self.serial, self.dated = serial, dated
        if not self.expires:
            self.until = max(self.until, until)  # each name's reply says so of all
        return left

    def reply(self, message: bytes, behind: int, _now: float) -> bytes | None:
        """Return the reply to a name of that size, whose first label ends at `behind`."""
        sized = self.sizes.get(behind)
        if sized is None:
            return None
        self.used = True
        octets, group = sized
        group.given += 1
        return message[:2] + self.head + message[HEADER_SIZE : behind + self.question] + octets


class Alike:
    """What makes the replies of names right below a parent: one record for each, between what is the same in all.

    They are counted by the sizes of the first label and of the reply.
    """

    __slots__ = ("_group_of", "_groups", "_head", "_record", "_tail", "home", "key", "question", "token", "used")

    until = inf
    dated = UNCHANGING

    def __init__(self, key: bytes, home: Home) -> None:
        self.key = key
        self.home = home
        self.used = False
        self.question = 0  # octets behind the first label
        self.token: Token = UNCHANGING
        self._head = self._tail = b""
        self._record: Callable[[bytes, float], bytes | None] = _none
        self._group_of: Callable[[bytes, int], Group]
        self._groups: dict[int, Group] = {}

    def renewed(
        self, octets: bytes, question: int, reply: Reply, group_of: Callable[[bytes, int], Group]
    ) -> list[Group]:
        """Take over from a reply, whose question has so many octets; return the groups that were counted until then.

        `group_of` returns who counts a query's octets and the size of what was sent.
        """
        assert reply.siblings is not None  # noqa: S101 - whose reply it is
        record = HEADER_SIZE + question
        data = record + RECORD_FIXED
        self._head = octets[2:HEADER_SIZE]
        self._tail = octets[data + int.from_bytes(octets[data - 2 : data], "big") :]
        self._record = reply.siblings.answer
        self.question = len(reply.siblings.parent) + QUESTION_FIXED
        self.token = one_token(reply.lasting)
        self._group_of = group_of
        left, self._groups = self.groups, {}
        return left

    def holds_on(self, _now: float) -> bool:
        """Nothing in it counts down: its siblings see to TTLs."""
        return False

    @property
    def size(self) -> int:
        return 3 * ENTRY + len(self.key)

    @property
    def groups(self) -> list[Group]:
        return list(self._groups.values())

    def reply(self, message: bytes, behind: int, now: float) -> bytes | None:
        """As Denial's; None where the siblings have no record."""
        record = self._record(message[FIRST_LABEL - 1 : behind], now)
        if record is None:
            return None
        reply = message[:2] + self._head + message[HEADER_SIZE : behind + self.question] + record + self._tail
        sizes = behind << 16 | len(reply)
        group = self._groups.get(sizes)
        if group is None:
            group = self._groups[sizes] = self._group_of(message, len(reply))
        self.used = True
        group.given += 1
        return reply


Below = Denial | Alike
Entry = Kept | Below


def _none(_label: bytes, _now: float) -> None:
    return None


def with_serial(message: bytes, serial: int) -> bytes:
    """Return a message of ours, whose last record but for the OPT record is an SOA, with a serial."""
    changed = bytearray(message)
    write_serial(changed, last_end(message), serial)
    return bytes(changed)


def tokens(reply: Reply, octets: bytes) -> tuple[Token, Serial | None, Token]:
    """Return what is stale once a reply is another, and the serial that may be written over, with its token."""
    validity, serial = reply.undated
    if serial is None or int.from_bytes(octets[2:4], "big") & TC:  # cut: perhaps the SOA is not in it
        return one_token(reply.lasting), None, UNCHANGING
    return one_token(validity), serial, serial.token
