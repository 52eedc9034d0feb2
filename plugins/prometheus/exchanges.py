"""What is counted of each exchange: plain numbers in place, folded into families when somebody asks."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.metrics_core import Metric

from kubedns.metrics import add_histogram
from kubedns.wire.edns import DO
from kubedns.wire.numbers import MAXIMUM_SIZE, RCODE_TEXTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kubedns.plugin.contract import KeptObserver, Observer
    from kubedns.wire.query import Query

    Key = tuple[str, bool, int, int, bool, str]  # a Kind
    Alike = tuple[str, bool, int, int, bool, str, int, int]  # a Kind of any type, and the octets of query and reply

# Types with a label of their own; all else is `other`, so that no stranger can make series.
TYPES = {
    1: "A", 28: "AAAA", 5: "CNAME", 48: "DNSKEY", 43: "DS", 15: "MX", 47: "NSEC", 50: "NSEC3", 2: "NS", 12: "PTR",
    46: "RRSIG", 6: "SOA", 33: "SRV", 16: "TXT", 65: "HTTPS", 64: "SVCB", 251: "IXFR", 252: "AXFR", 255: "ANY",
}  # fmt: skip
OTHER = 0
MOST_ALIKE = 1000  # exchanges told apart until they are folded
MOST_KINDS = 10_000  # of exchanges told apart in one series; an upstream with odd RCODEs makes no more
DURATIONS = tuple(0.00025 * 2**power for power in range(16))  # seconds
SHORTEST = DURATIONS[0]
SIZES = (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16000, 32000, 48000, 64000)  # octets
# A size's bucket by the size itself: half the time that a search takes.
BUCKETS = b"".join(
    bytes([bucket]) * (high - low) for bucket, (low, high) in enumerate(pairwise((-1, *SIZES, MAXIMUM_SIZE)))
)


class Kind(NamedTuple):
    """What tells one exchange from another, but for times and sizes; `rrtype` OTHER and `rcode` -1 are all others."""

    transport: str
    ipv6: bool
    rrtype: int
    rcode: int
    do: bool
    plugin: str


class Series:
    """The exchanges of one zone at one listener. Lists hold a count for each bucket, and the sum as their last."""

    __slots__ = ("alike", "durations", "kinds", "sizes")

    def __init__(self) -> None:
        """`kinds` have lists of one number; `sizes` are those of queries, then of replies.

        `alike` are exchanges that are not folded into either yet, as lists of one number.
        """
        self.alike: dict[Alike, list[int]] = {}
        self.kinds: dict[Key, list[int]] = {}
        self.durations: list[float] = [0] * (len(DURATIONS) + 2)
        self.sizes = {transport: ([0] * (len(SIZES) + 2), [0] * (len(SIZES) + 2)) for transport in ("udp", "tcp")}

    def fold(self) -> None:
        """Bring all counts up to date."""
        alike, self.alike = self.alike, {}
        for (transport, ipv6, rrtype, rcode, do, plugin, asked, size), [count] in alike.items():
            known = rrtype if rrtype in TYPES else OTHER
            self.count((transport, ipv6, known, rcode, do, plugin), asked, size, count)

    def count(self, kind: Key, asked: int, size: int, count: int) -> None:
        """Count exchanges of a kind, each of so many octets, but for their durations."""
        counted = self.kinds.get(kind)
        if counted is None:
            counted = _new_count(self.kinds, kind)
        counted[0] += count
        queries, replies = self.sizes[kind[0]]
        queries[BUCKETS[asked]] += count
        queries[-1] += asked * count
        replies[BUCKETS[size] if size <= MAXIMUM_SIZE else -2] += count
        replies[-1] += size * count


class Again(NamedTuple):
    """Exchanges of one series that are alike in all that is counted."""

    series: Series
    kind: Key
    asked: int  # octets
    size: int  # octets

    def add(self, count: int, seconds: float) -> None:
        """Count exchanges that took far less than the shortest bound each."""
        if count:
            self.series.count(self.kind, self.asked, self.size, count)
            self.series.durations[0] += count
            self.series.durations[-1] += seconds


class Labels(NamedTuple):
    """Which series: `view` is empty until there are views."""

    server: str
    zone: str
    view: str = ""


every_series: dict[Labels, Series] = {}


def observer(labels: Labels, plugin: str) -> Observer:
    """Return what counts the exchanges of a series; `plugin` is said to have made the replies.

    It is called for each query: a microsecond here is a tenth of what an answer takes. So the many that are alike are
    one number until somebody looks.
    """
    series = every_series.setdefault(labels, Series())
    durations = series.durations

    def observe(query: Query, rcode: int, size: int, seconds: float) -> None:
        client, edns, alike = query.client, query.edns, series.alike
        do = edns is not None and edns.flags & DO != 0
        made_by = plugin if size else ""
        key = client.transport, client.ipv6, query.rrtype, rcode, do, made_by, query.size, size
        count = alike.get(key)
        if count is None:
            if len(alike) >= MOST_ALIKE:
                series.fold()
            count = series.alike[key] = [0]
        count[0] += 1
        durations[bisect_left(DURATIONS, seconds) if seconds > SHORTEST else 0] += 1
        durations[-1] += seconds

    return observe


def kept_observer(labels: Labels, plugin: str) -> KeptObserver:
    """Return what tells as which exchanges of a series a reply's further sendings are counted."""
    series = every_series.setdefault(labels, Series())

    def observe(query: Query, rcode: int, size: int) -> Again:
        return Again(series, _kind(query, rcode, plugin if size else ""), query.size, size)

    return observe


def _kind(query: Query, rcode: int, plugin: str) -> Key:
    client, rrtype, edns = query.client, query.rrtype, query.edns
    do = edns is not None and edns.flags & DO != 0
    return client.transport, client.ipv6, rrtype if rrtype in TYPES else OTHER, rcode, do, plugin


def _new_count(kinds: dict[Key, list[int]], kind: Key) -> list[int]:
    if len(kinds) >= MOST_KINDS:
        kind = Kind(*kind)._replace(rrtype=OTHER, rcode=-1)
    return kinds.setdefault(kind, [0])


def families() -> Iterator[Metric]:
    """Yield each family series by series, so that none takes long to make."""
    for series in every_series.values():
        series.fold()
    for name, kind, text, add in FAMILIES:
        for labels, series in list(every_series.items()):
            family = Metric(name, text, kind)
            add(family, labels._asdict(), series)
            yield family


def rcode_label(rcode: int) -> str:
    return RCODE_TEXTS.get(rcode, f"RCODE{rcode}" if rcode >= 0 else "other")


def _add_counts(
    labels: Callable[[Kind], dict[str, str] | None],
) -> Callable[[Metric, dict[str, str], Series], None]:
    """Return what adds a counter's samples: kinds of the same labels together, those without labels not at all."""

    def add(family: Metric, base: dict[str, str], series: Series) -> None:
        counts: dict[tuple[tuple[str, str], ...], int] = {}
        for kind, (count,) in list(series.kinds.items()):
            more = labels(Kind(*kind))
            if more is not None:
                key = tuple(more.items())
                counts[key] = counts.get(key, 0) + count
        for key, count in counts.items():
            family.add_sample(f"{family.name}_total", {**base, **dict(key)}, count)

    return add


def _add_durations(family: Metric, base: dict[str, str], series: Series) -> None:
    _add_buckets(family, base, DURATIONS, series.durations)


def _add_sizes(which: int) -> Callable[[Metric, dict[str, str], Series], None]:
    def add(family: Metric, base: dict[str, str], series: Series) -> None:
        for transport, pair in series.sizes.items():
            _add_buckets(family, {**base, "proto": transport}, SIZES, pair[which])

    return add


def _add_buckets(family: Metric, labels: dict[str, str], bounds: Sequence[float], numbers: Sequence[float]) -> None:
    *counts, total = numbers
    if any(counts):
        add_histogram(family, labels, bounds, [int(count) for count in counts], total)


def _request(kind: Kind) -> dict[str, str]:
    family = "2" if kind.ipv6 else "1"
    return {"proto": kind.transport, "family": family, "type": TYPES.get(kind.rrtype, "other")}


def _response(kind: Kind) -> dict[str, str]:
    return {"rcode": rcode_label(kind.rcode), "plugin": kind.plugin}


FAMILIES = (
    ("coredns_dns_requests", "counter", "Queries by zone, transport, family and type.", _add_counts(_request)),
    (
        "coredns_dns_request_duration_seconds",
        "histogram",
        "Seconds from a query to its reply.",
        _add_durations,
    ),
    ("coredns_dns_request_size_bytes", "histogram", "Octets of queries as they came.", _add_sizes(0)),
    (
        "coredns_dns_do_requests",
        "counter",
        "Queries with the DO bit set.",
        _add_counts(lambda kind: {} if kind.do else None),
    ),
    ("coredns_dns_response_size_bytes", "histogram", "Octets of replies; 0 where no plugin made one.", _add_sizes(1)),
    ("coredns_dns_responses", "counter", "Replies by RCODE and plugin.", _add_counts(_response)),
)
