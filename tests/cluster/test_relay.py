"""An index and its replicas: whatever changes, and whenever the copying starts, they say the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from kubedns.cluster.index import Index
from kubedns.cluster.objects import Endpoint, EndpointSlice, Namespace, Object, Pod, Port, Service
from kubedns.cluster.relay import KINDS, Relay, Replica
from kubedns.server.workers.messages import pickled, unpickled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubedns.cluster.objects import Kind

    Change = Object | tuple[Kind, str, str]

NAMES = st.sampled_from(["a", "b", "c"])
WHERE = st.sampled_from(["default", "other"])
ADDRESSES = st.sampled_from([b"\x0a\0\0\x01", b"\x0a\0\0\x02", b"\xfd" + bytes(15), "name.example.org"])
PORTS = st.sampled_from([(), (Port("http", 80, "TCP"),), (Port("", -1, ""), Port("dns", 53, "UDP"))])
ENDPOINTS = st.builds(
    Endpoint, ADDRESSES, st.sampled_from(["", "host"]), st.sampled_from(["", "pod-1"]), st.sampled_from(["", "zone"])
)
OBJECTS: st.SearchStrategy[Object] = st.one_of(
    st.builds(Namespace, WHERE),
    st.builds(
        Service, WHERE, NAMES, st.just("ClusterIP"), st.sampled_from([("10.0.0.1",), ("None",), ()]), st.just("")
    ),
    st.builds(EndpointSlice, WHERE, NAMES, st.sampled_from(["a", "b", ""]), PORTS, st.lists(ENDPOINTS).map(tuple)),
    st.builds(Pod, WHERE, NAMES, st.sampled_from(["10.0.0.1", "10.0.0.2", ""])),
)
GONE = st.tuples(st.sampled_from(KINDS), WHERE, NAMES)
TURN, COPY, SYNCED = "turn", "copy", "synced"  # of the loop; of a replica that starts now, a step; all is there
STEPS = st.lists(st.one_of(OBJECTS, GONE, st.sampled_from([TURN, COPY, SYNCED])), max_size=60)


def said(index: Index) -> object:
    """Return all that an index says, by itself and by address."""
    held = {kind: {key: index.held(kind, *key) for key in index.keys(kind)} for kind in KINDS}
    by_address = [
        (list(index.services_by_ip(packed)), list(index.endpoints_by_ip(packed)))
        for packed in (b"\x0a\0\0\x01", b"\x0a\0\0\x02", b"\xfd" + bytes(15))
    ]
    slices = [index.slices(where, name) for where in ("default", "other") for name in "abc"]
    pods = [list(index.pods_by_ip(text)) for text in ("10.0.0.1", "10.0.0.2")]
    return held, by_address, slices, pods, index.serial.value, index.synced


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_replicas_say_what_the_index_says(steps: list[Change | str]) -> None:
    asyncio.run(follow(steps))


async def follow(steps: list[Change | str]) -> None:
    clock = 1000
    index = Index(lambda: clock)
    relay = Relay(index)
    first, late = Replica(), Replica()
    told: list[bytes] = []
    copying: Iterator[bytes] | None = None

    def tell(octets: bytes) -> None:
        told.append(octets)
        first.take(octets)
        if copying is not None:
            late.take(octets)

    relay.attach(tell)
    for step in steps:
        clock += 7
        match step:
            case "turn":
                await asyncio.sleep(0)
            case "synced":
                index.mark_synced()
            case "copy":
                copying = copying or relay.contents()
                octets = next(copying, None)
                if octets is not None:
                    late.take(octets)
            case (kind, namespace, name):
                index.remove(kind, "" if kind == "Namespace" else namespace, name)
            case str():
                raise AssertionError(step)
            case _:
                index.upsert(step)
    for octets in copying or relay.contents():
        late.take(octets)
        copying = copying or iter(())
    await asyncio.sleep(0)
    assert said(first.index) == said(index)
    assert said(late.index) == said(index)
    relay.detach()
    count = len(told)
    index.upsert(Namespace("more"))
    await asyncio.sleep(0)
    assert len(told) == count


def test_a_change_turns_the_replicas_tokens_stale_and_no_others() -> None:
    async def main() -> None:
        index = Index(lambda: 1)
        relay, replica = Relay(index), Replica()
        relay.attach(replica.take)
        for name in "ab":
            index.upsert(Service("default", name, cluster_ips=(f"10.0.0.{ord(name)}",)))
        await asyncio.sleep(0)
        mine, other = replica.index.service_token("default", "a"), replica.index.service_token("default", "b")
        index.upsert(Service("default", "a", cluster_ips=("10.0.0.9",)))
        await asyncio.sleep(0)
        assert mine.stale
        assert not other.stale

    asyncio.run(main())


def test_an_object_that_changes_often_in_one_turn_is_told_once() -> None:
    async def main() -> list[bytes]:
        index = Index(lambda: 1)
        relay = Relay(index)
        told: list[bytes] = []
        relay.attach(told.append)
        for last in range(200):
            index.upsert(Pod("default", "p", f"10.0.0.{last}"))
        await asyncio.sleep(0)
        return told

    [only] = asyncio.run(main())
    assert only.count(b"10.0.0.") == 1


def test_a_replica_travels_empty() -> None:
    replica = Replica()
    replica.index.upsert(Namespace("default"))
    copy = unpickled(pickled(replica))
    assert list(copy.index.namespaces) == []
