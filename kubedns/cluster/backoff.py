"""How long to wait before trying again, and the other times that following an API server goes by."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds, unless a name says otherwise; the values are client-go's where it has any."""

    # client-go's reflector
    watch: tuple[int, int] = (300, 600)  # timeoutSeconds of a watch, drawn anew each time
    page: int = 500  # objects asked for at once
    backoff: float = 0.8  # the first, then twice as long each time
    longest_backoff: float = 30.0
    health: float = 120.0  # without failure, and the next back-off is the first again
    # Ours
    longest_absence: float = 5.0  # between looks at a server that does not reply at all, which cost it nothing
    connect: float = 10.0  # TCP and TLS
    answer: float = 30.0  # from a request to its reply's header
    silence: float = 150.0  # a watch's, whose bookmarks come about every minute
    list_silence: float = 30.0  # inside a list's reply
    initial_silence: float = 4.0  # inside a streaming list: some servers take the words for it and do nothing
    overtime: float = 60.0  # that a watch may go on beyond its timeoutSeconds
    short: float = 1.0  # a watch that lived as long is resumed at once when it is cut
    recovered: float = 10.0  # a watch that lived as long proves the connection well: its back-off starts anew
    steady: float = 3.0  # a watch that lived as long is worth a line that all is well again
    relist: float = 30.0  # between two lists of which the second need not wait
    longest_retry_after: float = 120.0
    stream_again: float = 600.0  # until a server that refused a streaming list is asked for one again
    check: float = 3600.0  # between self-checks, a fifth more or less
    settle: float = 5.0  # that the watch has to bring what a self-check found first
    slice: float = 0.001  # of work before the loop has its turn
    page_octets: int = 4 << 20  # pages are asked for with fewer objects once one was larger
    longest_page: int = 128 << 20  # octets
    longest_line: int = 8 << 20  # octets; etcd takes objects of 1.5 MB


class Backoff:
    """Waits that double from one failure to the next, drawn from the upper half so that clients spread out."""

    def __init__(self, timings: Timings) -> None:
        self._timings = timings
        self._step = 0
        self._last = float("-inf")

    def reset(self) -> None:
        """Let the next wait be the first."""
        self._step = 0

    def next(self, now: float, longest: float = float("inf")) -> float:
        """Return the seconds to wait after a failure, `longest` at most; `now` in monotonic seconds."""
        if now - self._last >= self._timings.health:
            self._step = 0
        bound = min(longest, self._timings.longest_backoff, self._timings.backoff * (1 << self._step))
        self._step = min(self._step + 1, 32)
        self._last = now + bound
        return bound * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
