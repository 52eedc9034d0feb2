"""An Index told to other processes, which hold one of their own that says the same: a watch of the API server for all.

Rules of this file:

- A change is told at the end of the turn of the loop in which it happened, and an object that changed more than once
  in that turn is told once, as it is by then.
- A copy is made by telling what there is, a few objects at a time, with the changes meanwhile in between: an object
  is read when it is told, so that whoever takes it all in the order in which it came holds the same in the end.
"""

from __future__ import annotations

import asyncio
from sys import intern
from typing import TYPE_CHECKING

import msgspec

from kubedns.cluster.child import Frame, packed, unpacked
from kubedns.cluster.index import Index
from kubedns.cluster.objects import EndpointSlice, Kind, Namespace, Object, Pod, Service, shared_ports
from kubedns.cluster.reading import Contents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    ObjectKey = tuple[Kind, str, str]  # namespace, name

KINDS: tuple[Kind, ...] = ("Namespace", "Service", "EndpointSlice", "Pod")
OBJECTS_AT_A_TIME = 50


class Batch(msgspec.Struct):
    """Objects as they are now, those that are gone, and what the index says of itself behind them."""

    serial: int
    synced: bool
    objects: Frame
    gone: list[tuple[Kind, str, str]] = []


class Relay:
    """Tells of one index."""

    def __init__(self, index: Index) -> None:
        """Nobody is told before attach()."""
        self._index = index
        self._tell: Callable[[bytes], None] | None = None
        self._changed: dict[ObjectKey, Object | None] = {}
        self._due = False

    def attach(self, tell: Callable[[bytes], None]) -> None:
        """Have a function told of changes from now on, in octets for Replica.take()."""
        self._tell = tell
        self._index.watch(self._note)

    def detach(self) -> None:
        """Tell nobody."""
        self._tell = None
        self._index.watch(None)
        self._changed.clear()

    def contents(self) -> Iterator[bytes]:
        """Yield what the index holds; it may change between two steps, and whoever takes this must take changes too."""
        for kind in KINDS:
            keys = self._index.keys(kind)
            for start in range(0, len(keys), OBJECTS_AT_A_TIME):
                held = [self._index.held(kind, *key) for key in keys[start : start + OBJECTS_AT_A_TIME]]
                yield self._packed(one for one in held if one is not None)
        yield self._packed(())

    def _note(self, kind: Kind | None, namespace: str, name: str, new: Object | None) -> None:
        if kind is not None:
            self._changed[kind, namespace, name] = new
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._due = False
        changed, self._changed = self._changed, {}
        if self._tell is not None:
            gone = [key for key, new in changed.items() if new is None]
            self._tell(self._packed((new for new in changed.values() if new is not None), gone))

    def _packed(self, objects: Iterable[Object], gone: list[ObjectKey] | None = None) -> bytes:
        contents = Contents()
        for value in objects:
            match value:
                case Service():
                    contents.services.append(value)
                case EndpointSlice():
                    contents.slices.append(value)
                case Pod():
                    contents.pods.append(value)
                case Namespace():
                    contents.namespaces.append(value)
        batch = Batch(self._index.serial.value, self._index.synced, packed(contents), gone or [])
        return msgspec.msgpack.encode(batch)


class Replica:
    """An index that is told by a Relay of another process."""

    _decoder = msgspec.msgpack.Decoder(Batch)

    def __init__(self) -> None:
        """Empty, and not synced."""
        self._serial = 0
        self.index = Index(lambda: self._serial)

    def __reduce__(self) -> tuple[type[Replica], tuple[()]]:
        """Travel empty: it is filled where it is."""
        return type(self), ()

    def take(self, told: bytes) -> None:
        """Do as the other index did."""
        batch = self._decoder.decode(told)
        self._serial = batch.serial
        contents = unpacked(batch.objects)
        for namespace in contents.namespaces:
            self.index.upsert(namespace)
        for service in contents.services:
            self.index.upsert(_shared(service))
        for held in contents.slices:
            self.index.upsert(held)
        for pod in contents.pods:
            self.index.upsert(Pod(intern(pod.namespace), pod.name, pod.ip))
        for key in batch.gone:
            self.index.remove(*key)
        self.index.serial.become(batch.serial)
        if batch.synced and not self.index.synced:
            self.index.mark_synced()


def _shared(service: Service) -> Service:
    """Return a Service whose repeated texts are those of all others, as decoding makes it."""
    return Service(
        intern(service.namespace),
        intern(service.name),
        intern(service.type),
        service.cluster_ips,
        service.external_name,
        shared_ports(service.ports),
        service.external_ips,
    )
