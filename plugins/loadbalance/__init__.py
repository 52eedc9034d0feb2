"""loadbalance [round_robin|weighted FILE] { ... }: records in another order each time (docs/plugins/loadbalance.md)."""

from __future__ import annotations

from random import choices
from typing import TYPE_CHECKING

from kubedns.plugin.derived import Derived
from kubedns.plugin.straight import Straight
from kubedns.slices import in_slices
from kubedns.wire.numbers import RRType
from kubedns.wire.packed import PackedReply
from plugins.loadbalance.options import read_options
from plugins.loadbalance.turning import (
    Run,
    Turning,
    preferred_runs,
    shuffled,
    shuffled_runs,
    spans_of,
    weighted_runs,
)
from plugins.loadbalance.weights import Weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kubedns.corefile.values import Directive
    from kubedns.plugin.contract import ServerBlock
    from kubedns.wire.query import Query
    from kubedns.wire.records import RR
    from kubedns.wire.reply import Reply
    from plugins.loadbalance.options import Network
    from plugins.loadbalance.turning import Turn
    from plugins.loadbalance.weights import Table

MOST_KEPT = 1024  # replies whose orders are kept
TRANSFERS = (RRType.AXFR, RRType.IXFR)
WEIGHTED_TYPES = (RRType.A, RRType.AAAA, RRType.SRV)


def setup(directive: Directive, block: ServerBlock) -> RoundRobin | Weighted:
    """Return the policy of the last line."""
    options = read_options(directive, block)
    return RoundRobin(options.networks) if options.weights is None else Weighted(options.weights, options.reload)


class RoundRobin(Straight):
    """Each order of the addresses is as likely as another, in every section of its own."""

    cacheable = heeds_denials = True

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        """Addresses inside of the first network come before those of the second, and so on."""
        self._networks = networks
        self._kept: Derived[Reply] = Derived(MOST_KEPT)

    async def stop(self) -> None:
        """Hold no replies."""
        await in_slices(self._kept.emptying())

    def after(self, query: Query, reply: Reply) -> Reply:
        """Return a reply of which each sending has an order of its own; the one from behind stays as it is."""
        answers, authorities, extras = reply.counts
        if answers < 2 and authorities < 2 and extras < 2:  # noqa: PLR2004 - one record has one order
            return reply
        if reply.rcode or query.rrtype in TRANSFERS:
            return reply
        if reply.validity.never and isinstance(reply, PackedReply) and not self._networks:
            spans = spans_of(reply.layout)
            if spans is not None:
                return shuffled(reply, spans) if spans else reply
        made = self._kept.get(reply)
        if made is None:
            answer, authority, additional = reply.sections
            made = _turning(reply, [self._runs(answer), shuffled_runs(authority), self._runs(additional)])
            if not reply.validity.never:
                self._kept.put(reply, made)
        return made

    def _runs(self, section: Sequence[RR]) -> list[Run]:
        return preferred_runs(section, self._networks) if self._networks else shuffled_runs(section)


class Weighted(Straight):
    """The first address is drawn by weight, and changes places with the one that stood there."""

    cacheable = heeds_denials = True

    def __init__(self, weights: Path, interval: float) -> None:
        """`weights` is a file, looked at again after so many seconds; 0: never."""
        self._kept: Derived[Reply] = Derived(MOST_KEPT)
        self._weights = Weights(weights, interval, self._kept.clear)

    async def start(self) -> None:
        """Read the weights; raises StartError."""
        await self._weights.start()

    async def stop(self) -> None:
        """Follow their file no longer, and hold no replies."""
        await self._weights.stop()
        await in_slices(self._kept.emptying())

    def after(self, query: Query, reply: Reply) -> Reply:
        """As RoundRobin; for types that have no addresses, return the reply from behind itself."""
        answers, _, extras = reply.counts
        if answers < 2 and extras < 2:  # noqa: PLR2004 - one record has one order
            return reply
        if reply.rcode or query.rrtype not in WEIGHTED_TYPES:
            return reply
        made = self._kept.get(reply)
        if made is None:
            answer, authority, additional = reply.sections
            runs = [weighted_runs(answer), [Run(authority)], weighted_runs(additional)]
            made = _turning(reply, runs, self._weights.table)
            if not reply.validity.never:
                self._kept.put(reply, made)
        return made


def _turning(reply: Reply, runs: Sequence[Sequence[Run]], weights: Table | None = None) -> Reply:
    """Return the reply itself where there is nothing to turn and nothing to arrange."""
    records = [rr for section in runs for run in section for rr in run.records]
    made = Turning(reply, runs, None if weights is None else _by_weight(records, weights))
    return made if made.spans or made.sections != reply.sections else reply


def _by_weight(records: Sequence[RR], table: Table) -> Turn:
    """Return what draws the first record of a run by the weights of all in it; 1 where there is none."""
    weights = [table.get((rr.owner, rr.rdata), 1) for rr in records]

    def turn(start: int, stop: int) -> list[int]:
        places = list(range(start, stop))
        [first] = choices(range(stop - start), weights[start:stop])  # noqa: S311 - for balance, not for secrecy
        places[0], places[first] = places[first], places[0]
        return places

    return turn
