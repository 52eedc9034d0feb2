"""The sockets of all workers, held by the supervisor: so what waits in one outlives the worker that reads it.

Rules of this file:

- Nothing is to come to a socket that nobody reads yet, or that is about to be closed: while there are such, the kernel
  is told which of an address's sockets to choose from.
- It knows them by their places, so each list here is in its order: it appends what is bound, and puts the last in the
  place of what is closed (net/core/sock_reuseport.c).
- A worker gets duplicates; a bundle here goes with close().
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from kubedns.listeners.sockets import open_sockets
from kubedns.server.workers.linux import steer, steer_no_more

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from kubedns.server.configuration import Address
    from kubedns.server.others import Bundle

    Slot = dict[Address, Bundle]  # what one worker reads


class Pool:
    """Sockets by address, in bundles: TCP's, then UDP's. *Idle* ones get nothing new as long as there are others."""

    def __init__(self) -> None:
        """Nothing is open."""
        self._bundles: dict[Address, list[Bundle]] = {}
        self._idle: set[int] = set()  # identities
        self._opened: list[tuple[Address, Bundle]] = []  # by the last open()

    def first(self, address: Address) -> Bundle | None:
        """Return duplicates of an address's first bundle, for a process that goes on without workers."""
        bundles = self._bundles.get(address)
        return duplicated(bundles[0]) if bundles else None

    def firsts(self, addresses: Iterable[Address]) -> Slot:
        """Return each address's first bundle, where there is one."""
        return {address: self._bundles[address][0] for address in addresses if address in self._bundles}

    def open(
        self, addresses: Iterable[Address], count: int, own: Mapping[Address, Bundle], held: Sequence[Slot] = ()
    ) -> list[Slot]:
        """Return a slot for each of so many workers, with a bundle for each address.

        `own` are the bundles that this process itself listens to: they become the first. `held` are the slots that
        there are: each keeps what it has. What is opened is idle. ListenError where something can't be had.
        """
        addresses = list(addresses)
        self._opened = []
        try:
            for address in addresses:
                if address not in self._bundles and address in own:
                    self._bundles[address] = [duplicated(own[address])]
                    self._opened.append((address, self._bundles[address][0]))
                while len(self._bundles.get(address, ())) < count:
                    self._opened.append((address, self._open_idle(address)))
        except OSError:
            self.undo()
            raise
        slots: list[Slot] = [{} for _ in range(count)]
        for address in addresses:
            self._deal(address, slots, held)
        return slots

    def _deal(self, address: Address, slots: list[Slot], held: Sequence[Slot]) -> None:
        """Give each slot one of an address's bundles, where it can be that of the slot before it."""
        left = {id(bundle): bundle for bundle in self._bundles[address]}
        for slot, before in zip(slots, held, strict=False):
            bundle = left.pop(id(before.get(address)), None)
            if bundle is not None:
                slot[address] = bundle
        rest = iter(left.values())
        for slot in slots:
            if address not in slot:
                slot[address] = next(rest)

    def undo(self) -> None:
        """Close what the last open() opened."""
        for address, bundle in reversed(self._opened):
            self.close(address, bundle)
        self._opened = []

    def reopen(self, slot: Slot) -> None:
        """Open those bundles of a slot that were closed, idle."""
        for address, bundle in slot.items():
            if not any(bundle is one for one in self._bundles.get(address, ())):
                slot[address] = self._open_idle(address)

    def activate(self, slot: Slot) -> None:
        """Say that somebody reads a slot's bundles."""
        for address, bundle in slot.items():
            self._idle.discard(id(bundle))
            self._steer(address)

    def retain(self, slots: Iterable[Slot]) -> list[tuple[Address, Bundle]]:
        """Make the bundles of these slots active and all others idle; return those, for drop()."""
        used = {id(bundle) for slot in slots for bundle in slot.values()}
        surplus = []
        self._opened = []
        for address, bundles in self._bundles.items():
            surplus += [(address, bundle) for bundle in reversed(bundles) if id(bundle) not in used]
            self._idle = (self._idle | {id(bundle) for bundle in bundles}) - used
            self._steer(address)
        return surplus

    def drop(self, surplus: Iterable[tuple[Address, Bundle]]) -> None:
        """Close bundles that retain() gave."""
        for address, bundle in surplus:
            self.close(address, bundle)

    def close(self, address: Address, bundle: Bundle) -> None:
        """Close one bundle; what waits in it is lost if no worker has it any more."""
        bundles = self._bundles.get(address, [])
        at = next((at for at, one in enumerate(bundles) if one is bundle), None)
        if at is None:
            return
        for sock in bundle:
            sock.close()
        self._idle.discard(id(bundle))
        bundles[at] = bundles[-1]
        bundles.pop()
        if bundles:
            self._steer(address)
        else:
            del self._bundles[address]

    def close_all(self, *, but: Collection[Address] = ()) -> None:
        """Close everything, or what is of other addresses than these. A worker that has it goes on with it."""
        for address, bundles in list(self._bundles.items()):
            if address in but:
                continue
            for sock in bundles[0]:
                steer_no_more(sock)  # somebody may have it still
            for bundle in reversed(list(bundles)):
                self.close(address, bundle)

    def _open_idle(self, address: Address) -> Bundle:
        """Open one more bundle; from its first moment on nothing comes to it, if there are active ones."""
        if address in self._bundles:
            self._steer(address, always=True)
        bundle = open_sockets(address.host, address.port, one_family=address.one_family)
        self._bundles.setdefault(address, []).append(bundle)
        self._idle.add(id(bundle))
        return bundle

    def _steer(self, address: Address, *, always: bool = False) -> None:
        bundles = self._bundles[address]
        active = [place for place, bundle in enumerate(bundles) if id(bundle) not in self._idle]
        for sock in bundles[0]:
            if active and (always or len(active) < len(bundles)):
                with contextlib.suppress(OSError):  # the kernel goes on choosing among all
                    steer(sock, active)
            else:
                steer_no_more(sock)


def duplicated(bundle: Bundle) -> Bundle:
    """Return other descriptors of the same sockets."""
    return tuple(sock.dup() for sock in bundle)
