"""An Index that follows the fake API server, with times short enough for tests."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from kubedns.cluster.apiserver import Access
from kubedns.cluster.backoff import Timings
from kubedns.cluster.index import Index
from kubedns.cluster.live import LiveSource
from kubedns.cluster.objects import decode
from kubedns.cluster.reading import Filters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping

    from kubedns.cluster.objects import Kind, Object

Raw = dict[str, Any]

PATIENCE = 15.0  # seconds on a busy machine
PLURALS: Mapping[Kind, str] = {
    "Namespace": "namespaces",
    "Service": "services",
    "EndpointSlice": "endpointslices",
    "Pod": "pods",
}
FAST = Timings(
    backoff=0.02,
    longest_backoff=0.2,
    health=2.0,
    connect=0.4,
    answer=0.6,
    silence=0.8,
    list_silence=0.6,
    initial_silence=0.4,
    short=0.1,
    steady=0.1,
    recovered=1.0,
    relist=0.2,
    stream_again=0.5,
    check=3600.0,
    settle=0.3,
    page=7,
    longest_line=1 << 16,
)
# For tests in which nothing is to be taken for lost: a busy machine may let a reply wait for a second.
CALM = replace(FAST, connect=10.0, answer=10.0, silence=10.0, list_silence=10.0, initial_silence=10.0)


@dataclass
class Written:
    """A log whose lines a test reads."""

    lines: list[str] = field(default_factory=list)

    def info(self, text: str) -> None:
        self.lines.append(f"INFO {text}")

    def warning(self, text: str) -> None:
        self.lines.append(f"WARNING {text}")

    def error(self, text: str) -> None:
        self.lines.append(f"ERROR {text}")


@dataclass
class Followed:
    source: LiveSource
    index: Index
    log: Written

    @property
    def watching(self) -> int:
        """How many resources' watches have begun, as we see it: the server sees that earlier."""
        return sum(one.statistics.watching for one in self.source.reflectors)

    async def until(self, holds: Callable[[], object], patience: float = PATIENCE) -> None:
        end = time.monotonic() + patience
        while not holds():
            if time.monotonic() > end:
                raise AssertionError("\n".join(["not in time", repr(self.source.statistics), *self.log.lines]))
            await asyncio.sleep(0.005)

    async def until_holds(self, objects: Iterable[Raw], patience: float = PATIENCE) -> None:
        """Wait until the index holds exactly these objects."""
        wanted = held_of(objects)
        try:
            await self.until(lambda: contents(self.index) == wanted, patience)
        except AssertionError as error:
            found = contents(self.index)
            error.add_note(f"missing: {wanted - found}\ntoo much: {found - wanted}")
            raise


@asynccontextmanager
async def following(
    access: Access | Path, timings: Timings = CALM, filters: Filters | None = None, *, synced: bool = True
) -> AsyncIterator[Followed]:
    """Follow the API server of a kubeconfig, or of an Access."""
    index, log = Index(time.time), Written()
    if not isinstance(access, Access):
        access = Access(kubeconfig=(str(access), ""))
    source = LiveSource(access, index, filters or Filters(pods=True), log, timings)
    followed = Followed(source, index, log)
    await source.start()
    try:
        if synced:
            await followed.until(source.synced.is_set)
        yield followed
    finally:
        await source.stop()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run on the loop that the server runs on, until connections that were closed are gone."""

    async def whole() -> None:
        before = _sockets()
        try:
            await scenario
        finally:
            for _ in range(1000):  # TLS says goodbye, and a busy server is slow to hear it
                if _sockets() <= before:
                    break
                await asyncio.sleep(0.005)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(whole())


def _sockets() -> int:
    """Count this process's sockets."""
    return sum(one.is_socket() for one in Path("/proc/self/fd").iterdir())


def contents(index: Index) -> set[Object]:
    """Return all that an index holds."""
    found = {index.held(kind, *key) for kind in PLURALS for key in index.keys(kind)}
    return {value for value in found if value is not None}


def held_of(objects: Iterable[Raw]) -> set[Object]:
    """Return what an index should hold of these."""
    decoded = [decode(each["kind"], each) for each in objects]
    return {value for value in decoded if value is not None and getattr(value, "service", True) != ""}


# Objects


def namespace(name: str) -> Raw:
    return {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}


def service(name: str, ip: str = "10.96.0.1", where: str = "default", **spec: Any) -> Raw:
    return {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": where},
        "spec": {
            "clusterIP": ip,
            "clusterIPs": [ip],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
            **spec,
        },
    }


def endpoint_slice(name: str, of: str, *addresses: str, where: str = "default", **metadata: Any) -> Raw:
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": name,
            "namespace": where,
            "labels": {"kubernetes.io/service-name": of} if of else {},
            **metadata,
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def pod(name: str, ip: str, where: str = "default", phase: str = "Running", **metadata: Any) -> Raw:
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": where, **metadata},
        "status": {"phase": phase, "podIP": ip},
    }


def some_objects(count: int = 20) -> list[Raw]:
    """Return a small cluster: more of each kind than a page of FAST holds."""
    objects = [namespace("default"), *(namespace(f"n{number}") for number in range(8))]
    for number in range(count):
        objects.append(service(f"s{number}", f"10.96.0.{number}"))
        objects.append(endpoint_slice(f"s{number}-x", f"s{number}", f"10.1.0.{number}", f"10.2.0.{number}"))
        objects.append(pod(f"p{number}", f"10.1.0.{number}"))
    return objects
