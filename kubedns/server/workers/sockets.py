"""The sockets of all workers, held by the supervisor: so what waits in one outlives the worker that reads it.

Rules of this file:

- Nothing is to come to a socket that nobody reads yet, or that is about to be closed: while there are such, the kernel
  is told which of an address's sockets to choose from.
- It knows them by their places, so each list here is in its order: it appends what is bound, and puts the last in the
  place of what is closed (net/core/sock_reuseport.c).
- A worker gets duplicates; a pair here goes with close().
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from kubedns.listeners.sockets import open_pair
from kubedns.server.workers.linux import steer, steer_no_more

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kubedns.server.configuration import Address
    from kubedns.server.others import Pair

    Slot = dict[Address, Pair]  # what one worker reads


class Pool:
    """Pairs of sockets by address. Those that are *idle* get nothing new as long as there are others."""

    def __init__(self) -> None:
        """Nothing is open."""
        self._pairs: dict[Address, list[Pair]] = {}
        self._idle: set[int] = set()  # identities
        self._opened: list[tuple[Address, Pair]] = []  # by the last open()

    def first(self, address: Address) -> Pair | None:
        """Return duplicates of an address's first pair, for a process that goes on without workers."""
        pairs = self._pairs.get(address)
        return duplicated(pairs[0]) if pairs else None

    def firsts(self, addresses: Iterable[Address]) -> Slot:
        """Return each address's first pair, where there is one."""
        return {address: self._pairs[address][0] for address in addresses if address in self._pairs}

    def open(
        self, addresses: Iterable[Address], count: int, own: Mapping[Address, Pair], held: Sequence[Slot] = ()
    ) -> list[Slot]:
        """Return a slot for each of so many workers, with a pair for each address; ListenError where one can't be had.

        `own` are the pairs that this process itself listens to: they become the first. `held` are the slots that there
        are: each keeps what it has. What is opened is idle.
        """
        addresses = list(addresses)
        self._opened = []
        try:
            for address in addresses:
                if address not in self._pairs and address in own:
                    self._pairs[address] = [duplicated(own[address])]
                    self._opened.append((address, self._pairs[address][0]))
                while len(self._pairs.get(address, ())) < count:
                    self._opened.append((address, self._open_idle(address)))
        except OSError:
            self.undo()
            raise
        slots: list[Slot] = [{} for _ in range(count)]
        for address in addresses:
            self._deal(address, slots, held)
        return slots

    def _deal(self, address: Address, slots: list[Slot], held: Sequence[Slot]) -> None:
        """Give each slot one of an address's pairs, where it can be that of the slot before it."""
        left = {id(pair): pair for pair in self._pairs[address]}
        for slot, before in zip(slots, held, strict=False):
            pair = left.pop(id(before.get(address)), None)
            if pair is not None:
                slot[address] = pair
        rest = iter(left.values())
        for slot in slots:
            if address not in slot:
                slot[address] = next(rest)

    def undo(self) -> None:
        """Close what the last open() opened."""
        for address, pair in reversed(self._opened):
            self.close(address, pair)
        self._opened = []

    def reopen(self, slot: Slot) -> None:
        """Open those pairs of a slot that were closed, idle."""
        for address, pair in slot.items():
            if not any(pair is one for one in self._pairs.get(address, ())):
                slot[address] = self._open_idle(address)

    def activate(self, slot: Slot) -> None:
        """Say that somebody reads a slot's pairs."""
        for address, pair in slot.items():
            self._idle.discard(id(pair))
            self._steer(address)

    def retain(self, slots: Iterable[Slot]) -> list[tuple[Address, Pair]]:
        """Make the pairs of these slots active and all others idle; return those, for drop()."""
        used = {id(pair) for slot in slots for pair in slot.values()}
        surplus = []
        self._opened = []
        for address, pairs in self._pairs.items():
            surplus += [(address, pair) for pair in reversed(pairs) if id(pair) not in used]
            self._idle = (self._idle | {id(pair) for pair in pairs}) - used
            self._steer(address)
        return surplus

    def drop(self, surplus: Iterable[tuple[Address, Pair]]) -> None:
        """Close pairs that retain() gave."""
        for address, pair in surplus:
            self.close(address, pair)

    def close(self, address: Address, pair: Pair) -> None:
        """Close one pair; what waits in it is lost if no worker has it any more."""
        pairs = self._pairs.get(address, [])
        at = next((at for at, one in enumerate(pairs) if one is pair), None)
        if at is None:
            return
        for sock in pair:
            sock.close()
        self._idle.discard(id(pair))
        pairs[at] = pairs[-1]
        pairs.pop()
        if pairs:
            self._steer(address)
        else:
            del self._pairs[address]

    def close_all(self) -> None:
        """Close everything."""
        for address, pairs in list(self._pairs.items()):
            for sock in pairs[0]:
                steer_no_more(sock)  # somebody may have it still
            for pair in reversed(list(pairs)):
                self.close(address, pair)

    def _open_idle(self, address: Address) -> Pair:
        """Open one more pair; from its first moment on nothing comes to it, if there are active ones."""
        if address in self._pairs:
            self._steer(address, always=True)
        pair = open_pair(address.host, address.port)
        self._pairs.setdefault(address, []).append(pair)
        self._idle.add(id(pair))
        return pair

    def _steer(self, address: Address, *, always: bool = False) -> None:
        pairs = self._pairs[address]
        active = [place for place, pair in enumerate(pairs) if id(pair) not in self._idle]
        for sock in pairs[0]:
            if active and (always or len(active) < len(pairs)):
                with contextlib.suppress(OSError):  # the kernel goes on choosing among all
                    steer(sock, active)
            else:
                steer_no_more(sock)


def duplicated(pair: Pair) -> Pair:
    """Return other descriptors of the same two sockets."""
    tcp, udp = pair
    return tcp.dup(), udp.dup()
