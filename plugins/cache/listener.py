"""A listener's share of a cache: its counters, and the replies that count there when they are given again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kubedns.plugin.derived import Derived
from kubedns.wire.reply import Reply
from kubedns.wire.validity import NEVER, one_token
from plugins.cache.counters import KINDS, Labels, counters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubedns.wire.query import Query
    from kubedns.wire.validity import Tally, Token
    from plugins.cache.judging import Verdict

MOST_DENIED = 8192  # parents and types
QUESTION_FIXED = 4  # octets: type and class
MOST_NORMAL = 4096  # replies of sources of our own whose normal forms are kept


@dataclass(slots=True)
class Normal:
    """A reply from a source that tells when it changes, as clients get it.

    `reply` is for where it is not to be kept: it is given again while it is true. `first` is for one query, after which
    there is an entry.
    """

    verdict: Verdict
    reply: Reply
    first: Reply


class Denied(NamedTuple):
    """Until when (monotonic seconds), and while what is unchanged, names right below a parent are denied."""

    until: float
    token: Token


class Listener:
    """What is told apart by listener; `tallies` are what a hit on each kind of entry adds to."""

    __slots__ = ("_denied", "counters", "labels", "normal", "tallies")

    def __init__(self, server: str, zones: str) -> None:
        """`server` is the listener's name as in `dns://:53`."""
        self.labels = Labels(server, zones)
        self.counters = counters(self.labels)
        self.tallies: dict[str, tuple[Tally, ...]] = {
            kind: (self.counters.requests, self.counters.hits[kind]) for kind in KINDS
        }
        self.normal: Derived[Normal] = Derived(MOST_NORMAL)
        self._denied: dict[bytes, Denied] = {}

    def emptying(self) -> Iterator[None]:
        """Hold no replies, one less at each step."""
        self._denied.clear()
        yield from self.normal.emptying()

    def normal_of(self, reply: Reply, verdict: Verdict) -> Normal:
        """Return, and keep, a reply's normal form: one TTL for all records, and a miss that is counted."""
        sections = reply.sections
        plain = type(reply) is Reply and reply.edns is None
        if plain and all(rr.ttl == verdict.seconds for section in sections for rr in section):
            made = reply.replaced(validity=reply.lasting)  # with the octets that it has already
        else:
            made = Reply(
                *(tuple(rr._replace(ttl=verdict.seconds) for rr in section) for section in sections),
                rcode=reply.rcode,
                flags=reply.flags,
                validity=reply.lasting,
                suffix=reply.suffix,
                zone=reply.zone,
            )
            made.denies, made.serial = reply.denies, reply.serial
        made.tallies = (*reply.tallies, self.counters.requests, self.counters.misses)
        normal = Normal(verdict, made, made.replaced(validity=NEVER).alone())
        self.normal.put(reply, normal)
        return normal

    def stored(self, query: Query, reply: Reply, seconds: int, now: float) -> float:
        """Return since when a reply is kept that may be for so many seconds.

        The TTLs of all names that a reply denies count down together, whoever asked first: the wire cache answers for
        names that no entry was ever made for.
        """
        if not reply.denies:
            return now
        key, token = reply.denies + query.question[-QUESTION_FIXED:], one_token(reply.undated[0])
        denied = self._denied.get(key)
        if denied is None or now >= denied.until or token != denied.token:
            if len(self._denied) >= MOST_DENIED:
                self._denied.clear()
            denied = self._denied[key] = Denied(now + seconds, token)
        return denied.until - seconds
