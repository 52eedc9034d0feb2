"""Zones of a plugin or a server block: the longest that holds a name, and fallthrough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from kubedns.corefile.keys import expand_zones
from kubedns.corefile.readers import zones_or_keys
from kubedns.wire.name import ROOT, is_within, name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kubedns.corefile.values import Word
    from kubedns.log import Log

Held = TypeVar("Held")

REVERSE_ZONES = ("in-addr.arpa.", "ip6.arpa.")


class Zones(Generic[Held]):
    """A value for each of some zones; looked up by any name inside."""

    __slots__ = ("_by_name", "_longest_first", "_root")

    def __init__(self, pairs: Iterable[tuple[bytes, Held]]) -> None:
        """Of equal zones the first counts."""
        self._by_name: dict[bytes, Held] = {}
        for zone, value in pairs:
            self._by_name.setdefault(zone, value)
        self._root = self._by_name.get(ROOT)
        below_root = [(zone, value) for zone, value in self._by_name.items() if zone != ROOT]
        self._longest_first = sorted(below_root, key=lambda pair: len(pair[0]), reverse=True)

    def exact(self, zone: bytes) -> Held | None:
        """Return the value of that zone itself."""
        return self._by_name.get(zone)

    def longest(self, wire: bytes) -> Held | None:
        """Return the value of the longest zone that a name (lower-case wire octets) is inside of."""
        for zone, value in self._longest_first:
            if wire.endswith(zone) and is_within(wire, zone):
                return value
        return self._root


@dataclass(frozen=True, slots=True)
class Fallthrough:
    """For which names a plugin's NXDOMAIN is left to the plugins behind it: none, those in zones, or all (`.`)."""

    zones: tuple[bytes, ...] = ()

    def __contains__(self, wire: bytes) -> bool:
        """Tell whether a name is inside one of the zones."""
        return wire.endswith(self.zones) and any(is_within(wire, zone) for zone in self.zones)


def argument_zones(words: Sequence[Word], otherwise: Sequence[str], log: Log) -> tuple[bytes, ...]:
    """Return the zones that arguments name (CIDR expanded) as wire names; without arguments, `otherwise`.

    What is no zone is left out, as CoreDNS does, but the log says so.
    """
    for word in words:
        if not expand_zones([word.text]):
            log.warning(f"{word.location}: '{word.text}' is no zone: it is left out")
        elif "/" in word.text and not expand_zones([word.text])[0].endswith(REVERSE_ZONES):
            log.warning(f"{word.location}: '{word.text}' is no address with a prefix: it is taken as a name")
    return wire_zones(zones_or_keys(words, otherwise))


def wire_zones(texts: Iterable[str]) -> tuple[bytes, ...]:
    """Return zones given as text as wire names; the readers have checked that they are names."""
    return tuple(name(text) for text in texts)
