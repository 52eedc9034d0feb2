"""Replies whose records come in another order each time.

Addresses that are compressed to a pointer and fixed fields are octets that stand anywhere in their run: such a reply
is composed once, and its records are then put together in each order that is wanted.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate, pairwise, permutations, product
from math import factorial, prod
from random import random
from typing import TYPE_CHECKING, NamedTuple

from kubedns.wire.compose import Body, compose, pieces
from kubedns.wire.numbers import RRType
from kubedns.wire.packed import RDATA_AT, TTL_AT
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

READY = 16  # orders, a power of two
READY_OCTETS = 4096  # that those of a reply may have, unless even two have more
RENEWAL = 5  # after so many replies one of them is replaced; it has no factor in common with READY
FEW = 24  # orders: of so many one is drawn for each reply, and made when it is first drawn
ADDRESSES = (RRType.A, RRType.AAAA)
CNAME, OTHER, ADDRESS, MX = range(4)
RANKS = {int(RRType.CNAME): CNAME, int(RRType.A): ADDRESS, int(RRType.AAAA): ADDRESS, int(RRType.MX): MX}
# Octets of an address's record, and those to its TTL, its owner being a pointer: where all are alike they can turn.
EVEN = ({(RDATA_AT + 4, TTL_AT)}, {(RDATA_AT + 16, TTL_AT)})
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

    __slots__ = ("_lasting", "_orders", "_spans", "_turn")

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
        self.expires = reply.expires
        self._lasting = reply.lasting if turn is None else NEVER  # weights may change, and each order is drawn anew
        self._turn = turn
        ends = accumulate((len(run.records) for section in runs for run in section), initial=0)
        every = [run for section in runs for run in section]
        self._spans = [
            span for run, span in zip(every, pairwise(ends), strict=True) if run.turns and len(run.records) > 1
        ]
        self._orders: dict[int, _Orders] = {}
        if not self._spans:
            self.validity = reply.validity

    @property
    def turns(self) -> bool:
        """Whether there is more than one order."""
        return bool(self._spans)

    @property
    def steady(self) -> bool:
        """Whether records are of equal sizes where they change places, for all sizes of name asked for so far."""
        return all(orders.even for orders in self._orders.values())

    @property
    def lasting(self) -> Validity:
        """The validity of the reply that it was made of; NEVER where weights are drawn."""
        return self._lasting

    def body(self, query: Query) -> Body:
        """Return the sections' octets in the next order."""
        size = len(query.name)
        if self.zone:  # its spelling may be this client's alone, and then so is the body
            base = super().body(query)
            orders = self._orders.get(size)
            if orders is None or orders.base is not base:
                orders = _Orders(base, self, query)
                self._orders.setdefault(size, orders)
            return orders.next(self)
        orders = self._orders.get(size)
        if orders is None:
            orders = self._orders[size] = _Orders(super().body(query), self, query)
        return orders.next(self)

    def is_movable(self, pieces: Sequence[bytes]) -> bool:
        """Tell of the octets of each record whether those that turn can stand anywhere in their run."""
        records = [rr for section in self.sections for rr in section]
        for start, stop in self._spans:
            for rr, piece in zip(records[start:stop], pieces[start:stop], strict=True):
                if rr.rrtype not in ADDRESSES or len(piece) != RDATA_AT + len(rr.rdata):
                    return False
        return True

    def is_even(self, pieces: Sequence[bytes]) -> bool:
        """Tell whether in each run that turns all pieces are of one size, so that records end where they did."""
        return all(len(set(map(len, pieces[start:stop]))) == 1 for start, stop in self._spans)

    def order(self) -> list[int]:
        """Return the places of all records in an order drawn by chance."""
        places = list(range(sum(map(len, self.sections))))
        for start, stop in self._spans:
            places[start:stop] = self._turn(start, stop) if self._turn else sorted(places[start:stop], key=by_chance)
        return places

    def few_orders(self) -> list[list[int]]:
        """Return all orders, each as likely as another; none if there are many, or they are weighed."""
        if self._turn is not None or prod(factorial(min(stop - start, FEW)) for start, stop in self._spans) > FEW:
            return []
        orders = []
        for runs in product(*(permutations(range(start, stop)) for start, stop in self._spans)):
            places = list(range(sum(map(len, self.sections))))
            for (start, stop), run in zip(self._spans, runs, strict=True):
                places[start:stop] = run
            orders.append(places)
        return orders

    def composed(self, places: Sequence[int], name: bytes, zone: bytes) -> Body:
        """Return the body of an order, composed as a whole."""
        records = [rr for section in self.sections for rr in section]
        turned = [records[place] for place in places]
        stops = accumulate(map(len, self.sections), initial=0)
        sections = [turned[start:stop] for start, stop in pairwise(stops)]
        return compose(sections, self.suffix or name, len(name), zone)

    @property
    def weighed(self) -> bool:
        """Whether some orders are likelier than others: then each is drawn anew."""
        return self._turn is not None


class _Orders:
    """The bodies of a Turning for one size of name: all that were drawn if they are few, else some that are renewed.

    It does not hold its owner, which holds it: what is in a cycle stays until the garbage collector comes, and that is
    hardly ever (server.lifecycle).
    """

    __slots__ = ("_composed", "_few", "_most", "_movable", "_ready", "_sent", "base", "even")

    def __init__(self, base: Body, owner: Turning, query: Query) -> None:
        self.base = base
        cut = pieces(base.octets, base.ends, range(len(base.ends)))
        self._movable = owner.is_movable(cut)
        self.even = self._movable and owner.is_even(cut)
        self._composed = (query.name, query.question[-4 - len(owner.zone) : -4] if owner.zone else b"")
        self._sent = 0
        self._few = owner.few_orders()
        self._ready: list[Body | None] = [None] * len(self._few)  # made when one is first drawn
        fitting = READY_OCTETS // max(1, len(base.octets))
        self._most = max(2, min(READY, 1 << fitting.bit_length() - 1)) if fitting else 2

    def next(self, owner: Turning) -> Body:
        ready = self._ready
        if self._few:
            place = int(random() * len(ready))  # noqa: S311 - for balance, not for secrecy
            body = ready[place]
            if body is None:
                body = ready[place] = self._body(owner, self._few[place])
            return body
        if owner.weighed:
            return self._body(owner, owner.order())
        sent = self._sent = self._sent + 1
        place = sent % self._most
        if len(ready) < self._most:
            place = len(ready)
            ready.append(None)
        body = ready[place]
        if body is None or not sent % RENEWAL:
            body = ready[place] = self._body(owner, owner.order())
        return body

    def _body(self, owner: Turning, places: Sequence[int]) -> Body:
        if not self._movable:
            return owner.composed(places, *self._composed)
        turned = pieces(self.base.octets, self.base.ends, places)  # kept, they would take more memory than two orders
        ends = self.base.ends if self.even else tuple(accumulate(map(len, turned)))
        return Body(b"".join(turned), self.base.counts, ends)
