"""Lines of a hosts file (hosts(5)) as tables: names to addresses, addresses to names."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from kubedns.cluster.addresses import IPV4_SIZE, IPV6_SIZE, pack_address
from kubedns.wire.errors import WireError
from kubedns.wire.name import ROOT, name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kubedns.plugin.zones import Zones

WILDCARD = b"\x01*"
LINES = 256  # parsed in one step
# As many records as a message can hold, and one more: of 65,535 octets each record takes 13 or more.
MOST_RECORDS = 65535 // 13 + 1

Several = dict[bytes, bytes | list[bytes]]  # most names have one address, and most addresses one name


class HostsTable:
    """Names as lower-case wire octets, addresses packed; both in the order of the lines, duplicates kept.

    `entries` counts pairs of name and address, and those of address and name.
    """

    __slots__ = ("_addresses", "_names", "_parents", "_wildcards", "entries")

    def __init__(self) -> None:
        self._addresses: dict[int, Several] = {IPV4_SIZE: {}, IPV6_SIZE: {}}
        self._wildcards: dict[int, Several] = {IPV4_SIZE: {}, IPV6_SIZE: {}}  # by the name below the asterisk
        self._names: Several = {}
        self._parents: set[bytes] = set()
        self.entries = 0

    def holds(self, wire: bytes) -> bool:
        """Tell whether a name has an address, its own or a wildcard's."""
        if wire in self._addresses[IPV4_SIZE] or wire in self._addresses[IPV6_SIZE]:
            return True
        wildcards = self._wildcards
        if not wildcards[IPV4_SIZE] and not wildcards[IPV6_SIZE]:
            return False
        return any(self.wildcard(wire, size) for size in wildcards)

    def holds_below(self, parent: bytes) -> bool:
        """Tell whether there is a name right below a parent, or a wildcard for such names."""
        return parent in self._parents or any(parent in table for table in self._wildcards.values())

    @property
    def has_names(self) -> bool:
        """Whether any address has a name."""
        return bool(self._names)

    def addresses(self, wire: bytes, size: int) -> list[bytes]:
        """Return a name's own addresses of 4 or 16 octets."""
        return _all(self._addresses[size], wire)

    def wildcard(self, wire: bytes, size: int) -> list[bytes]:
        """Return the addresses of the wildcard that a name falls under: with an asterisk for its first label."""
        parent = wire[wire[0] + 1 :]
        return _all(self._wildcards[size], parent) if parent and parent != ROOT else []

    def names(self, packed: bytes) -> list[bytes]:
        """Return an address's names."""
        return _all(self._names, packed)

    def has_wildcards_besides(self, before: HostsTable) -> bool:
        return any(self._wildcards[size].keys() - before._wildcards[size].keys() for size in self._wildcards)

    def besides(self, before: HostsTable) -> Iterator[list[bytes]]:
        """Yield, some at a time, the names and the addresses with names that another table has not."""
        old_names = before._addresses.values()
        for table, old in *((names, old_names) for names in self._addresses.values()), (self._names, (before._names,)):
            keys = iter(table)
            while some := list(islice(keys, LINES)):
                yield [key for key in some if not any(key in each for each in old)]

    def reading(self, lines: Iterable[bytes], zones: Zones[bytes], *, reverse: bool) -> Iterator[None]:
        """Add lines, some at each step: names inside `zones`, and names of addresses if `reverse`."""
        known: dict[bytes, bytes] = {}  # blocklists have one address a hundred thousand times
        rest = iter(lines)
        while some := list(islice(rest, LINES)):
            for line in some:
                self._add(line, zones, known, reverse=reverse)
            yield

    def _add(self, line: bytes, zones: Zones[bytes], known: dict[bytes, bytes], *, reverse: bool) -> None:
        fields = line.partition(b"#")[0].split()
        if len(fields) < 2:  # noqa: PLR2004 - an address and a name
            return
        packed = pack_address(fields[0].partition(b"%")[0].decode("ascii", "replace"))
        if packed is None:
            return
        packed = known.setdefault(packed, packed)
        for word in fields[1:]:
            try:
                wire = name(word.decode("utf-8", "replace"))
            except WireError:
                continue
            if zones.longest(wire) is None:
                continue
            self.entries += 1
            if wire.startswith(WILDCARD):
                _append(self._wildcards[len(packed)], wire[len(WILDCARD) :], packed)
                continue
            _append(self._addresses[len(packed)], wire, packed)
            self._parents.add(wire[wire[0] + 1 :])
            if reverse:
                self.entries += 1
                _append(self._names, packed, wire)


def _append(table: Several, key: bytes, value: bytes) -> None:
    found = table.get(key)
    if found is None:
        table[key] = value
    elif isinstance(found, list):
        found.append(value)
    else:
        table[key] = [found, value]


def _all(table: Several, key: bytes) -> list[bytes]:
    found = table.get(key)
    if found is None:
        return []
    return found[:MOST_RECORDS] if isinstance(found, list) else [found]
