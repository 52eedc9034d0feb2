"""A reply whose records change places, sent in one order after another without asking for each."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from kubedns.wire.compose import pieces
from kubedns.wire.numbers import HEADER_SIZE
from kubedns.wire.parse import COUNTS, ttl_places_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubedns.wire.compose import Body
    from kubedns.wire.query import Query
    from kubedns.wire.reply import Reply

SENDINGS = 64  # of an order that was drawn, or one less, before another is; more where it has more records
MOST_CUT = 4  # times as many of its records as are shown turn where the message is cut
TURNS, PLACE = 512, 72  # octets of memory, besides the records' own, and for each record
SHARED = 1024  # sequences of places
LONGEST_SHARED = 2 * SENDINGS  # of them: those of more records would take more memory than they save
ONE_OCTET = 255  # the longest TTL whose other octets are zero


class _Run(NamedTuple):
    """Places in a body: of records that turn, and behind `last`, up to `end` or the end, of those that do not.

    A sending has `sent` octets of the run, written twice, from one of `starts` on.
    """

    first: int
    last: int
    starts: Sequence[int]
    sent: int
    end: int | None


class Turns:
    """The octets of a reply that turns, each time with the next record of a run in front.

    So all of them are first equally often, until another order is drawn.
    """

    __slots__ = (
        "_ends",
        "_head",
        "_layout",
        "_lead",
        "_query",
        "_reply",
        "_runs",
        "_sendings",
        "_shown",
        "_spans",
        "_step",
        "_tail",
        "_ttl",
        "_ttls",
        "exact",
    )

    def __init__(self, reply: Reply, query: Query, octets: bytes) -> None:
        """`octets` are those of the reply to this query, which tell how many records fit.

        `exact`: as many fit in each order, for records that turn are of one size where the message is cut. If they are
        not, nothing is to be sent.
        """
        body = reply.body(query)
        start = HEADER_SIZE + len(query.question)
        self._shown = sum(COUNTS.unpack_from(octets)) - (query.edns is not None)
        self._reply, self._query = reply, query
        self._head = octets[2:start]
        self._tail = octets[start + (*body.ends, 0)[self._shown - 1] :]
        self._spans = [(first, self._stop(first, stop)) for first, stop in reply.spans if first < self._shown]
        most = max((stop - first for first, stop in self._spans), default=1)
        self._sendings = -(-SENDINGS // most) * most
        self._ends: Sequence[int] | None = None
        self._ttls: Sequence[int] = ()
        self._ttl = self._step = 0
        cut = [range(*span) for span in reply.spans if span[0] <= self._shown < span[1]]
        self.exact = all(len(set(map(len, pieces(body.octets, body.ends, span)))) == 1 for span in cut)
        if self._spans:
            self._take(body)

    def _stop(self, first: int, stop: int) -> int:
        """Of a run that is cut take some times what is shown: thousands would take more room than they are worth."""
        return stop if stop <= self._shown else min(stop, first + MOST_CUT * (self._shown - first))

    def __bool__(self) -> bool:
        """Tell whether any of what is shown turns: a message may have been cut before."""
        return bool(self._spans)

    def follow(self, sent: bytes) -> None:
        """Begin with another message than the one that was sent before."""
        self._step = self._sendings
        if self.next(sent[:2]) != sent:
            self._step = self._sendings

    def next(self, ident: bytes) -> bytes:
        """Return the octets of one sending, with an ID."""
        if not self._step:
            self._draw()
        step = self._step = self._step - 1
        octets = ident + self._lead
        for run, starts, sent, behind in self._runs:
            start = starts[step]
            octets += run[start : start + sent] + behind
        return octets

    def show(self, ttl: int) -> None:
        """Show a TTL in seconds from now on, in place of the reply's own."""
        self._ttl = ttl
        orders = (run[: len(run) // 2] + behind for run, _, _, behind in self._runs)
        self._lay_out(b"".join((self._lead[len(self._head) :], *orders)))

    @property
    def size(self) -> int:
        """Octets of memory."""
        places = PLACE * len(self._ttls)
        return TURNS + places + len(self._lead) + sum(len(run) + len(behind) for run, _, _, behind in self._runs)

    def _draw(self) -> None:
        """Take another order, and see to it that nothing is sent twice running."""
        last = self._sending(0)
        self._take(self._reply.body(self._query))
        if self._sending(self._step - 1) == last:
            self._step -= 1

    def _sending(self, step: int) -> list[bytes]:
        return [run[starts[step] :][:sent] for run, starts, sent, _ in self._runs]

    def _take(self, body: Body) -> None:
        end = max(self._spans[-1][1], self._shown)
        if body.ends is not self._ends:
            self._ends = body.ends
            self._layout = self._runs_of(body.ends)
            self._ttls = ttl_places_in(body)[:end]
        self._lay_out(body.octets[: body.ends[end - 1]] + self._tail)
        self._step = self._sendings

    def _lay_out(self, octets: bytes) -> None:
        """Take the octets of an order apart, with the OPT record behind all that is shown."""
        if self._ttl:
            octets = with_ttl(octets, self._ttls, self._ttl, 0)
        self._lead = self._head + octets[: self._layout[0].first]
        self._runs = [
            (octets[first:last] * 2, starts, sent, octets[last:end]) for first, last, starts, sent, end in self._layout
        ]

    def _runs_of(self, ends: Sequence[int]) -> list[_Run]:
        """Return the runs in all bodies whose records end at these places."""
        shown = self._shown
        ends = (*ends, 0)  # the first begins where the last of these says
        runs = []
        for (first, stop), end in zip(
            self._spans, [*(ends[first - 1] for first, _ in self._spans[1:]), None], strict=True
        ):
            begin, last = ends[first - 1], ends[stop - 1]
            starts = tuple(ends[place - 1] - begin for place in range(first, stop))
            starts = shared(starts * -(-self._sendings // len(starts)))
            runs.append(_Run(begin, last, starts, ends[min(stop, shown) - 1] - begin, end))
        return runs


def shared(places: tuple[int, ...]) -> tuple[int, ...]:
    """Return the same places for all whose records are of the same sizes, unless they are very many."""
    return _shared(places) if len(places) <= LONGEST_SHARED else places


@lru_cache(SHARED)
def _shared(places: tuple[int, ...]) -> tuple[int, ...]:
    return places


def with_ttl(octets: bytes, places: Sequence[int], ttl: int, shift: int) -> bytes:
    """Return octets with a TTL, in seconds, at some places where they have another, each shifted by so many octets."""
    if not places:
        return octets
    changed = bytearray(octets)
    if ttl <= ONE_OCTET and not any(octets[places[0] + shift : places[0] + shift + 3]):
        for place in places:
            changed[place + shift + 3] = ttl
        return bytes(changed)
    told = ttl.to_bytes(4, "big")
    for place in places:
        changed[place + shift : place + shift + 4] = told
    return bytes(changed)
