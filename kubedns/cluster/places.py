"""A map from addresses to what has them, for a cluster's 150,000 that come and go.

Addresses are given out from ranges, so neighbours are kept together: a /24 (of IPv6: a /120) is a *row*. A row of few
is a dict by the last octet; a row of many is a list with a place for each. Beside one dict for all addresses that is a
third of the memory, and nothing has to be built anew while a cluster changes: a dict of 150,000 keys is, every 27,000
changes or so, which takes 10 ms and leaves it at twice its size.
"""

from __future__ import annotations

from typing import Generic, TypeVar

ROW = 256  # places
MANY = 48  # in a row, from which on a list is the smaller
FEW = 16  # in a list, from which on a dict is

_Held = TypeVar("_Held")


class AddressMap(Generic[_Held]):
    """Packed addresses (4 or 16 octets) to what is not None."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[bytes, dict[int, _Held] | list[_Held | None]] = {}

    def get(self, address: bytes) -> _Held | None:
        row = self._rows.get(address[:-1])
        if row is None:
            return None
        return row[address[-1]] if isinstance(row, list) else row.get(address[-1])

    def __contains__(self, address: bytes) -> bool:
        return self.get(address) is not None

    def __setitem__(self, address: bytes, held: _Held) -> None:
        at, last = address[:-1], address[-1]
        row = self._rows.get(at)
        if row is None:
            self._rows[at] = {last: held}
        elif isinstance(row, list) or last in row or len(row) < MANY:
            row[last] = held
        else:
            places: list[_Held | None] = [None] * ROW
            for place, other in row.items():
                places[place] = other
            places[last] = held
            self._rows[at] = places

    def __delitem__(self, address: bytes) -> None:
        """Drop an address; KeyError if nothing has it."""
        at, last = address[:-1], address[-1]
        row = self._rows[at]
        if isinstance(row, list):
            if row[last] is None:
                raise KeyError(address)
            row[last] = None
            if row.count(None) >= ROW - FEW:
                self._rows[at] = {place: held for place, held in enumerate(row) if held is not None}
            return
        del row[last]
        if not row:
            del self._rows[at]
