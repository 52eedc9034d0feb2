"""Replies whose records come in another order each time.

Addresses that are compressed to a pointer and fixed fields are octets that stand anywhere in their run: such a reply
is composed once, and its records are then put together in an order drawn for each sending. (Between one order and the
next the wire cache sends the first with each record in front: kubedns.server.turns.)
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate, pairwise
from random import random
from typing import TYPE_CHECKING, NamedTuple

from kubedns.wire.compose import MOVABLE, Body, can_move, compose, pieces
from kubedns.wire.numbers import RRType
from kubedns.wire.packed import TTL_AT
from kubedns.wire.reply import Reply
from kubedns.wire.validity import NEVER, Validity
from kubedns.wire.walk import SHARED_RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kubedns.wire.packed import PackedReply
    from kubedns.wire.query import Query
    from kubedns.wire.records import RR
    from kubedns.wire.walk import Layout
    from plugins.loadbalance.options import Network

    # Returns the order, as places of records, in which a run comes; the run starts and stops at these places.
    Turn = Callable[[int, int], list[int]]

CNAME, OTHER, ADDRESS, MX = range(4)
RANKS = {int(RRType.CNAME): CNAME, int(RRType.A): ADDRESS, int(RRType.AAAA): ADDRESS, int(RRType.MX): MX}
# Octets of an address's record, and those to its TTL, its owner being a pointer: where all are alike they can turn.
EVEN = [{(size, TTL_AT)} for _, size in MOVABLE]
MOST_LAYOUTS = 1024  # whose spans are kept


class Run(NamedTuple):
    """Records that stand together; `turns`: their order does."""

    records: Sequence[RR]
    turns: bool = False


def rank(rrtype: int) -> int:
    """Return where a record of a type comes among those of others."""
    return RANKS.get(rrtype, OTHER)


def split(section: Sequence[RR]) -> tuple[list[RR], list[RR], list[RR], list[RR]]:
    """Return a section's CNAME records, others, addresses, and MX records, each in their order."""
    found: tuple[list[RR], list[RR], list[RR], list[RR]] = [], [], [], []
    for rr in section:
        found[rank(rr.rrtype)].append(rr)
    return found


def shuffled_runs(section: Sequence[RR]) -> list[Run]:
    """CNAMEs, others, addresses, MX: the latter two turn."""
    if len(section) < 2:  # noqa: PLR2004 - there is one order alone
        return [Run(section)]
    cnames, others, addresses, mx = split(section)
    return [Run(cnames), Run(others), Run(addresses, turns=True), Run(mx, turns=True)]


def preferred_runs(section: Sequence[RR], networks: Sequence[Network]) -> list[Run]:
    """CNAMEs, addresses by the first network that they are inside of, MX, others: each network's addresses turn."""
    if len(section) < 2:  # noqa: PLR2004 - as above
        return [Run(section)]
    cnames, others, addresses, mx = split(section)
    groups: list[list[RR]] = [[] for _ in range(len(networks) + 1)]
    for rr in addresses:
        groups[next((place for place, one in enumerate(networks) if one.holds(rr.rdata)), -1)].append(rr)
    return [Run(cnames), *(Run(group, turns=True) for group in groups), Run(mx, turns=True), Run(others)]


def weighted_runs(section: Sequence[RR]) -> list[Run]:
    """CNAMEs, others, addresses, MX: addresses turn."""
    cnames, others, addresses, mx = split(section)
    if len(section) < 2 or not addresses:  # noqa: PLR2004 - as above
        return [Run(section)]
    return [Run(cnames), Run(others), Run(addresses, turns=True), Run(mx)]


def spans_of(layout: Layout) -> tuple[range, ...] | None:
    """Return even_spans, which are kept for layouts that come again: large ones are each reply's own."""
    return _kept_spans(layout) if len(layout.ends) <= SHARED_RECORDS else even_spans(layout)


def even_spans(layout: Layout) -> tuple[range, ...] | None:
    """Return where addresses stand that turn, alike in size, owners pointers; None: there is more to do than that."""
    spans = []
    starts = (0, *layout.ends)
    place = 0
    for types in layout.types:
        ranks = [rank(rrtype) for rrtype in types]
        if ranks != sorted(ranks) or ranks.count(MX) > 1:
            return None
        span = (
            range(place + ranks.index(ADDRESS), place + len(ranks) - ranks.count(MX)) if ADDRESS in ranks else range(0)
        )
        sizes = {(layout.ends[at] - starts[at], layout.ttls[at] - starts[at]) for at in span}
        if len(span) > 1:
            if sizes not in EVEN:
                return None
            spans.append(span)
        place += len(types)
    return tuple(spans)


_kept_spans = lru_cache(MOST_LAYOUTS)(even_spans)


def shuffled(reply: PackedReply, spans: Sequence[range]) -> PackedReply:
    """Return a reply whose addresses are in an order drawn by chance, for one client."""
    places = list(range(len(reply.layout.ends)))
    for span in spans:
        places[span.start : span.stop] = sorted(span, key=by_chance)
    return reply.reordered(places)


def by_chance(_: object) -> float:
    """Return a key that sorts into an order drawn by chance, three times as fast as random.shuffle does."""
    return random()  # noqa: S311 - for balance, not for secrecy


class Turning(Reply):
    """A reply whose `body` comes in another order each time, made of a reply that is shared and stays as it is.

    Its octets are not to be kept, so it is never valid unless there is one order alone; `lasting` is the validity of
    its records. The sections tell the records in one of the orders.
    """

    __slots__ = ("_known", "_lasting", "_spans", "_turn")

    def __init__(self, reply: Reply, runs: Sequence[Sequence[Run]], turn: Turn | None = None) -> None:
        """`runs` are those of each section; `turn` draws the order of one, by default each is as likely as another."""
        sections = [tuple(rr for run in section for rr in run.records) for section in runs]
        super().__init__(
            *sections,
            rcode=reply.rcode,
            flags=reply.flags,
            edns=reply.edns,
            validity=NEVER,
            suffix=reply.suffix,
            zone=reply.zone,
            tallies=reply.tallies,
        )
        self.expires, self.anew = reply.expires, reply.anew
        self._lasting = reply.lasting if turn is None else NEVER  # weights may change, and each order is drawn anew
        self._turn = turn
        ends = accumulate((len(run.records) for section in runs for run in section), initial=0)
        every = [run for section in runs for run in section]
        self._spans = [
            span for run, span in zip(every, pairwise(ends), strict=True) if run.turns and len(run.records) > 1
        ]
        self._known: dict[int, _Known] = {}  # by the size of the question's name
        if not self._spans:
            self.validity = reply.validity

    @property
    def spans(self) -> Sequence[tuple[int, int]]:
        """Addresses that stand together, and so do MX records."""
        return self._spans

    @property
    def lasting(self) -> Validity:
        """The validity of the reply that it was made of; NEVER where weights are drawn."""
        return self._lasting

    def replaced(self, *, validity: Validity | None = None, denies: bytes | None = None) -> Turning:
        """As a Reply's: whoever gives it another validity means that of its records."""
        made = super().replaced(validity=validity, denies=denies)
        if validity is not None:
            made._lasting = validity  # noqa: SLF001 - of the same class
        return made

    def body(self, query: Query) -> Body:
        """Return the sections' octets in an order drawn by chance."""
        base, size = super().body(query), len(query.name)
        known = self._known.get(size)
        if known is None or known.base is not base:  # the zone's spelling may be this client's alone
            known = self._known[size] = self._look_at(base)
        places = self._drawn()
        if not known.movable:
            return self._composed(places, query)
        turned = pieces(base.octets, base.ends, places)
        return Body(b"".join(turned), base.counts, base.ends if known.even else tuple(accumulate(map(len, turned))))

    def is_movable(self, query: Query) -> bool:
        """As a Reply's: whether all that turn are addresses whose owners are pointers."""
        known = self._known.get(len(query.name))
        return known is not None and known.movable

    def _look_at(self, base: Body) -> _Known:
        runs = [pieces(base.octets, base.ends, range(*span)) for span in self._spans]
        movable = all(can_move(piece) for run in runs for piece in run)
        return _Known(base, movable, all(len(set(map(len, run))) == 1 for run in runs))

    def _drawn(self) -> list[int]:
        """Return the places of all records in an order drawn by chance."""
        places = list(range(sum(map(len, self.sections))))
        for start, stop in self._spans:
            places[start:stop] = self._turn(start, stop) if self._turn else sorted(places[start:stop], key=by_chance)
        return places

    def _composed(self, places: Sequence[int], query: Query) -> Body:
        """Return the body of an order, composed as a whole."""
        records = [rr for section in self.sections for rr in section]
        turned = [records[place] for place in places]
        stops = accumulate(map(len, self.sections), initial=0)
        sections = [turned[start:stop] for start, stop in pairwise(stops)]
        spelling = query.question[-4 - len(self.zone) : -4] if self.zone else b""
        return compose(sections, self.suffix or query.name, len(query.name), spelling)


class _Known(NamedTuple):
    """What is known of a body that turns; `even`: records end at the same places in each order."""

    base: Body
    movable: bool
    even: bool
