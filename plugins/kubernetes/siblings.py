"""Names made of an address: where one is answered, so are those beside it, by the same few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubedns.cluster.addresses import IPV4_SIZE, pack_address
from kubedns.wire.numbers import RRClass, RRType
from plugins.kubernetes import names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OCTETS = {bytes((len(text), *text)): bytes((octet,)) for octet in range(256) for text in [b"%d" % octet]}
AT_QUESTION = b"\xc0\x0c"


def record_head(rrtype: RRType, ttl: int) -> bytes:
    """Return what stands before the length of a record's data, its owner being the question's name."""
    return AT_QUESTION + rrtype.to_bytes(2, "big") + RRClass.IN.to_bytes(2, "big") + ttl.to_bytes(4, "big")


class Neighbours:
    """Siblings (kubedns.wire.validity): PTR records of the addresses that share three octets."""

    __slots__ = ("_head", "_network", "_targets", "parent")

    def __init__(self, parent: bytes, network: bytes, ttl: int, targets: Callable[[bytes], Sequence[bytes]]) -> None:
        """`network` is the three octets, `targets` returns an address's names as they are now."""
        self.parent = parent
        self._network = network
        self._targets = targets
        self._head = record_head(RRType.PTR, ttl)

    def answer(self, label: bytes, _now: float) -> bytes | None:
        """Return the record of an address that has one name."""
        octet = OCTETS.get(label)
        if octet is None:
            return None
        targets = self._targets(self._network + octet)
        if len(targets) != 1:
            return None
        [target] = targets
        return self._head + len(target).to_bytes(2, "big") + target


class Pods:
    """Siblings: A records of a namespace's pods, whose names are their addresses, whatever pods there are."""

    __slots__ = ("_head", "parent")

    def __init__(self, parent: bytes, ttl: int) -> None:
        self.parent = parent
        self._head = record_head(RRType.A, ttl) + b"\0\4"

    def answer(self, label: bytes, _now: float) -> bytes | None:
        """Return the record of an address with dashes."""
        packed = pack_address(names.pod_address(label[1:]))
        return self._head + packed if packed is not None and len(packed) == IPV4_SIZE else None
