"""What is counted of each name server, for as long as the process lives: reloads change nothing of it."""

from __future__ import annotations

from bisect import bisect_left

DURATIONS = tuple(0.00025 * 2**power for power in range(16))  # seconds
SHORTEST = DURATIONS[0]
MOST_RCODES = 40  # told apart: an upstream that makes them up must not make series without end
OTHER = -1
PROTOCOLS = ("udp", "tcp", "tcp-tls", "https")  # the last one is counted for tests alone, as CoreDNS shows none


class Statistics:
    """One name server's counts. `durations` are by RCODE: a count for each bucket, and the sum of seconds as last.

    `hits` and `misses` are by protocol (udp, tcp, tcp-tls): a socket or connection that was there, one that was made.
    `strays` are messages that belong to no query, or have another question than the one asked.
    """

    __slots__ = ("durations", "health_failures", "hits", "misses", "requests", "strays")

    def __init__(self) -> None:
        self.requests = 0
        self.hits = dict.fromkeys(PROTOCOLS, 0)
        self.misses = dict.fromkeys(PROTOCOLS, 0)
        self.health_failures = 0
        self.strays = 0
        self.durations: dict[int, list[float]] = {}

    def observe(self, rcode: int, seconds: float) -> None:
        """Count a reply."""
        counts = self.durations.get(rcode)
        if counts is None:
            counts = self._new(rcode)
        counts[bisect_left(DURATIONS, seconds) if seconds > SHORTEST else 0] += 1
        counts[-1] += seconds

    def _new(self, rcode: int) -> list[float]:
        if len(self.durations) >= MOST_RCODES:
            rcode = OTHER
        return self.durations.setdefault(rcode, [0] * (len(DURATIONS) + 2))


every: dict[str, Statistics] = {}  # by `IP:port`


def statistics_of(text: str) -> Statistics:
    """Return the counts of a name server, from its first use in this process on."""
    return every.setdefault(text, Statistics())
