"""Compare what is held with a fresh list, and set right what a lost event left wrong.

The watch goes on meanwhile. What it brings is no difference, and what the list has before the watch gets a while to
be brought by it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kubedns.cluster.failures import ApiError

if TYPE_CHECKING:
    from msgspec import Raw

    from kubedns.cluster.index import Index, Key
    from kubedns.cluster.objects import Object
    from kubedns.cluster.reflector import Reflector


async def check(reflector: Reflector, index: Index, settle: float) -> int:
    """Return how many objects were set right; none where the list failed, or the watch did meanwhile."""
    statistics = reflector.statistics
    if not _is_steady(reflector, statistics.lists):
        return 0
    lists = statistics.lists
    touched = reflector.touched = set()
    comparison = _Comparison(reflector, index)
    try:
        await reflector.lister.list(comparison.take)
        comparison.take_gone()
        await asyncio.sleep(settle if comparison.suspects else 0)
        statistics.checks += 1
        if not _is_steady(reflector, lists):
            return 0
        repaired = 0
        for key, value in comparison.suspects.items():
            if key not in touched:
                changed = index.remove(reflector.resource.kind, *key) if value is None else index.upsert(value)
                repaired += changed
    except ApiError:
        return 0  # the watch will find out, and say so
    finally:
        reflector.touched = None
    statistics.repaired += repaired
    return repaired


def _is_steady(reflector: Reflector, lists: int) -> bool:
    """Tell whether a watch goes on, and no list came after so many."""
    statistics = reflector.statistics
    return statistics.watching and reflector.listed.is_set() and statistics.lists == lists


class _Comparison:
    """What a list brings beside what the index has."""

    def __init__(self, reflector: Reflector, index: Index) -> None:
        self._reflector = reflector
        self._index = index
        self._seen: set[Key] = set()
        self.suspects: dict[Key, Object | None] = {}

    def take(self, raw: Raw) -> None:
        message = self._reflector.read(raw)
        metadata = self._reflector.identity(raw) if message is None else message.metadata
        if metadata is None:
            return
        key = self._reflector.key(metadata)
        self._seen.add(key)
        if message is None:
            return  # it can't be read: what is held stays
        value = self._reflector.value(message)
        held = self._index.held(self._reflector.resource.kind, *key)
        if value is not None and value != held and not (held is None and getattr(value, "service", True) == ""):
            self.suspects[key] = value

    def take_gone(self) -> None:
        """Suspect what the list did not bring."""
        for key in self._index.keys(self._reflector.resource.kind):
            if key not in self._seen:
                self.suspects[key] = None
