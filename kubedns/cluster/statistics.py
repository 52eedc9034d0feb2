"""What happened between us and an API server, in plain numbers; whoever wants to show them reads them here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kubedns.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubedns.cluster.objects import Kind

# Upper bounds in seconds: Prometheus' defaults, and those of kubernetes' network programming latencies.
REQUEST_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PROGRAMMING_BOUNDS = tuple(0.001 * 2**power for power in range(20))


@dataclass(slots=True)
class ResourceStatistics:
    """Of one resource. `heard` is when the last event or bookmark came, in monotonic seconds, 0 before any.

    `count` returns how many objects are held.
    """

    count: Callable[[], int] = lambda: 0
    heard: float = 0.0
    watching: bool = False
    events: int = 0
    bookmarks: int = 0
    lists: int = 0
    watches: int = 0
    failures: int = 0
    checks: int = 0
    repaired: int = 0
    unusable: int = 0

    @property
    def relists(self) -> int:
        """Full lists after the first."""
        return max(0, self.lists - 1)


@dataclass(slots=True)
class Statistics:
    """Of one API server. `requests` are by status code (`<error>` without a reply) and method; durations in seconds."""

    host: str = ""
    resources: dict[Kind, ResourceStatistics] = field(default_factory=dict)
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    list_durations: Histogram = field(default_factory=lambda: Histogram(REQUEST_BOUNDS))
    programming: dict[str, Histogram] = field(
        default_factory=lambda: {
            kind: Histogram(PROGRAMMING_BOUNDS) for kind in ("cluster_ip", "headless_with_selector")
        }
    )
