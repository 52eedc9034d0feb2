"""Whatever an API server does to its clients: soon after, the index holds what it holds."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.following import FAST, endpoint_slice, following, namespace, pod, run, service, some_objects

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cluster.following import Raw
    from tests.fakes.apiserver import APIServer

Break = "Callable[[APIServer], None]"


@dataclass(frozen=True)
class Case:
    """What a test does to the server; `mends` where that does not pass by itself; `quiet`: no line is logged."""

    name: str
    breaks: Callable[[APIServer], object]
    mends: bool = False
    quiet: bool = False


def ended(how: str) -> Case:
    return Case(f"watches end: {how}", lambda api: api.end_watches(how=how), quiet=True)


def injected(name: str, line: bytes) -> Case:
    def inject(api: APIServer) -> None:
        for resource in ("services", "pods"):
            api.inject(resource, line)

    return Case(name, inject)


def compacted(api: APIServer) -> None:
    api.compact()
    api.end_watches()


def failing(mode: str, verb: str = "*", count: int | None = 6, **values: Any) -> Case:
    """Return a case where watches are cut and the next requests fail."""

    def fail(api: APIServer) -> None:
        api.fail(mode, verb=verb, count=count, **values)
        api.end_watches(how="reset")

    shown = " ".join([mode, verb, *(f"{key}={value}" for key, value in values.items())])
    return Case(f"requests fail: {shown}", fail, mends=count is None)


def expired_then(mode: str, **values: Any) -> Case:
    """Return a case where the lists fail that a compaction makes necessary."""

    def fail(api: APIServer) -> None:
        api.fail(mode, verb="list", count=4, **values)
        api.fail("status", verb="watch", count=4, code=410)
        api.end_watches()

    return Case(f"lists fail: {mode} {values}", fail)


CASES = [
    *(ended(how) for how in ("end", "line", "chunk", "close", "reset")),
    Case("410 as an event", lambda api: api.inject("services", api.error_event(410))),
    Case("500 as an event", lambda api: api.inject("services", api.error_event(500))),
    Case("compacted", compacted, quiet=True),
    injected("garbage", b'{"type":"ADDED","object":{'),
    injected("no JSON", b"<html>"),
    injected("an unknown type", b'{"type":"STRANGE","object":{}}'),
    injected("an endless line", b'{"type":"ADDED","object":"' + b"x" * (1 << 17) + b'"}'),
    injected("an unusable object", b'{"type":"ADDED","object":{"metadata":{"name":5},"spec":{"ports":7}}}'),
    injected("an object without a name", b'{"type":"ADDED","object":{"metadata":{}}}'),
    injected("nothing", b'{"type":"MODIFIED","object":null}'),
    Case("restart", lambda api: api.restart(down=0.2)),
    Case("restart, compacted", lambda api: api.restart(compact=True, down=0.2)),
    Case("restart, versions lower", lambda api: api.restart(new_epoch=True)),
    failing("status", code=429, retry_after=1),
    failing("status", code=503, retry_after=1),
    failing("status", code=500),
    failing("status", code=410),
    failing("status", "watch", code=410),
    failing("html", code=502),
    failing("garbage"),
    failing("close"),
    failing("reset"),
    failing("silence", count=4),
    failing("mute", "watch", count=4),
    failing("connection_close"),
    failing("no_bookmarks", "watch", count=None),
    failing("cut_line", lines=2),
    failing("cut_chunk", octets=100),
    failing("drip", octets=512, every=0.001),
    expired_then("status", code=410),
    expired_then("cut_chunk", octets=300),
    expired_then("cut_line", octets=300),
    expired_then("garbage"),
    expired_then("html", code=502),
]


# What a server does to lists is tried on one that has no streaming lists, too.
PAGING = ("restart", "lists fail", "compacted", "410", "requests fail: cut", "requests fail: close", "no JSON")
TABLE = [
    *(pytest.param("streaming_api", case, id=case.name) for case in CASES),
    *(pytest.param("paging_api", case, id=f"paging, {case.name}") for case in CASES if case.name.startswith(PAGING)),
]


def changes(api: APIServer, objects: list[Raw]) -> list[Raw]:
    """Change the cluster in every way: something new, something changed, something gone."""
    new = [
        service("new", "10.96.9.9"),
        endpoint_slice("new-x", "new", "10.1.9.9"),
        pod("new", "10.1.9.9"),
        namespace("n"),
    ]
    changed = [service("s1", "10.96.8.1"), endpoint_slice("s1-x", "s1", "10.1.8.1"), pod("p1", "10.1.8.1")]
    api.put(*new, *changed)
    api.delete("services", "s2", "default")
    api.delete("endpointslices", "s2-x", "default")
    api.delete("pods", "p2", "default")
    api.delete("namespaces", "n7")
    replaced = {each["metadata"]["name"] for each in changed} | {"s2", "s2-x", "p2", "n7"}
    return [each for each in objects if each["metadata"]["name"] not in replaced] + new + changed


@pytest.mark.parametrize(("api", "case"), TABLE, indirect=["api"])
def test_nothing_is_wrong_for_long(api: APIServer, kubeconfig: Path, case: Case) -> None:
    async def scenario() -> None:
        objects = some_objects(8)
        api.put(*objects)
        async with following(kubeconfig, FAST) as followed:
            await followed.until(lambda: api.watches() == followed.watching == 4)
            await asyncio.sleep(0.12)
            before = api.count()
            case.breaks(api)
            after = changes(api, objects)
            await asyncio.sleep(0.1)
            if case.mends:
                api.heal()
            await followed.until_holds(after)
            assert api.count() - before < 80
            assert len(set(followed.log.lines)) == len(followed.log.lines)
            if case.quiet:
                assert not [line for line in followed.log.lines if line.startswith("ERROR")]

    run(scenario())
