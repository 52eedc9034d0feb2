"""Exceptions that plugins did not mean to raise: counted, and logged so that a flood of them can't fill a disk."""

from __future__ import annotations

import time
import traceback
from typing import TYPE_CHECKING, NamedTuple

from kubedns import metrics
from kubedns.log import server_log

if TYPE_CHECKING:
    from collections.abc import Callable

    Kind = tuple[type[BaseException], str, int]

PERIOD = 1.0  # seconds between two lines about exceptions of one kind
MOST_KINDS = 100  # told apart; all others count as one
INNERMOST = -10  # frames of a traceback that are shown: where it was raised, not how the query came there


class _Seen(NamedTuple):
    """When (monotonic seconds) a kind was last logged, and how many have come since without a line."""

    logged: float
    unlogged: int


class Panics:
    """Records what one listener's plugins raise: the first of a kind with its traceback, then a line a second at most.

    A kind is an exception's class and the line of code that raised it.
    """

    def __init__(self, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`address` is how log lines name the listener: `dns://:53`."""
        self._address = address
        self._clock = clock
        self._seen: dict[Kind | None, _Seen] = {}

    def record(self, error: BaseException) -> None:
        """Count an exception; log it, unless its kind was logged less than a second ago."""
        metrics.panics.inc()
        kind: Kind | None = _kind(error)
        if kind not in self._seen and len(self._seen) >= MOST_KINDS:
            kind = None
        now, seen = self._clock(), self._seen.get(kind)
        if seen is not None and now - seen.logged < PERIOD:
            self._seen[kind] = seen._replace(unlogged=seen.unlogged + 1)
            return
        self._seen[kind] = _Seen(now, 0)
        server_log.error(self._text(error, seen))

    def _text(self, error: BaseException, seen: _Seen | None) -> str:
        what = traceback.format_exception_only(error)[-1].strip()
        line = f'Recovered from panic in server: "{self._address}" {what}'
        if seen is None:
            return f"{line}\n{''.join(traceback.format_exception(error, limit=INNERMOST)).rstrip()}"
        return f"{line} ({seen.unlogged} more since the last such line)" if seen.unlogged else line


def _kind(error: BaseException) -> Kind:
    trace = error.__traceback__
    if trace is None:
        return type(error), "", 0
    while trace.tb_next is not None:
        trace = trace.tb_next
    return type(error), trace.tb_frame.f_code.co_filename, trace.tb_lineno
