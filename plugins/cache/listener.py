"""A listener's share of a cache: its counters, and the replies that count there when they are given again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubedns.plugin.derived import Derived
from kubedns.wire.reply import Reply
from kubedns.wire.validity import NEVER
from plugins.cache.counters import KINDS, Labels, counters

if TYPE_CHECKING:
    from kubedns.wire.validity import Tally
    from plugins.cache.judging import Verdict

MOST_NORMAL = 4096  # replies of sources of our own whose normal forms are kept


@dataclass(slots=True)
class Normal:
    """A reply from a source that tells when it changes, as clients get it.

    `reply` is for where it is not to be kept: it is given again while it is true. `first` is for one query, after which
    there is an entry. Where it denies names, their TTLs count down together, to `denied_until`, whoever asked first:
    the wire cache answers for names that no entry was ever made for.
    """

    verdict: Verdict
    reply: Reply
    first: Reply
    denied_until: float = 0.0


class Listener:
    """What is told apart by listener; `tallies` are what a hit on each kind of entry adds to."""

    __slots__ = ("counters", "labels", "normal", "tallies")

    def __init__(self, server: str, zones: str) -> None:
        """`server` is the listener's name as in `dns://:53`."""
        self.labels = Labels(server, zones)
        self.counters = counters(self.labels)
        self.tallies: dict[str, tuple[Tally, ...]] = {
            kind: (self.counters.requests, self.counters.hits[kind]) for kind in KINDS
        }
        self.normal: Derived[Normal] = Derived(MOST_NORMAL)

    def normal_of(self, reply: Reply, verdict: Verdict) -> Normal:
        """Return, and keep, a reply's normal form: one TTL for all records, and a miss that is counted."""
        sections = reply.sections
        if any(rr.ttl != verdict.seconds for section in sections for rr in section):
            first, second, third = (tuple(rr._replace(ttl=verdict.seconds) for rr in section) for section in sections)
            sections = first, second, third
        made = Reply(
            *sections,
            rcode=reply.rcode,
            flags=reply.flags,
            validity=reply.lasting,
            suffix=reply.suffix,
            zone=reply.zone,
            tallies=(*reply.tallies, self.counters.requests, self.counters.misses),
        )
        made.denies = reply.denies
        normal = Normal(verdict, made, made.replaced(validity=NEVER, denies=b""))
        self.normal.put(reply, normal)
        return normal
