"""What a cache holds when the Corefile changes: kept if the plugins behind it would say the same, else gone."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import dns.asyncquery
import dns.message
import pytest
import uvloop

from kubedns import metrics
from kubedns.answers.table import Answers
from kubedns.server.entries import Denial, Kept
from kubedns.server.lifecycle import Server
from plugins.cache.anew import Anew
from plugins.cache.listener import Normal
from plugins.cache.store import Entry
from plugins.loadbalance.turning import Turning
from tests.fakes.upstream import Upstream, answering
from tests.loading import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from kubedns.server.configuration import Configuration

TIME_ENOUGH = 20.0
NAME = "www.example.com."
START = """
.:{port} {{
    bind 127.0.0.1
    prometheus 127.0.0.1:{metrics}
    cache 30
    hosts {hosts} {{
        10.0.0.1 other.example.com
        fallthrough
    }}
    kubernetes cluster.local in-addr.arpa {{
        fallthrough in-addr.arpa
    }}
    forward . {upstream}
    loadbalance
}}
"""
# What is changed in the Corefile, and whether what an upstream said is asked for anew.
CHANGES = {
    "nothing": ("", "", False),
    "log above": ("    prometheus", "    log\n    prometheus", False),
    "a comment": ("    forward", "    # elsewhere\n    forward", False),
    "loadbalance goes": ("    loadbalance\n", "", False),
    "another block": ("\n.:", "\nmore.test:{port} {{\n    bind 127.0.0.1\n    whoami\n}}\n.:", False),
    "cache's own TTL": ("cache 30", "cache 60", True),
    "a line of hosts": ("10.0.0.1 other", "10.0.0.2 other", True),
    "an option of kubernetes": ("fallthrough in-addr.arpa", "fallthrough in-addr.arpa\n        ttl 30", True),
    "kubernetes goes": (START[START.index("    kubernetes") : START.index("    forward")], "", True),
    "an option of forward": ("forward . {upstream}", "forward . {upstream} {{\n        max_fails 3\n    }}", True),
    "a plugin more": ("    loadbalance", "    loadbalance\n    whoami", True),
}


class Running:
    """A server in this process, asked over UDP; its wire cache is on."""

    def __init__(self, upstream: Upstream, port: int, others: Mapping[str, object]) -> None:
        self.server = Server()
        self.upstream = upstream
        self._values = {"port": port, "upstream": upstream.address, **others}
        self.port = port

    async def configuration(self, text: str, previous: Mapping[Any, Any]) -> Configuration:
        return load(text.format(**self._values), previous=previous)

    async def start(self, text: str) -> None:
        await self.server.start(lambda previous: self.configuration(text, previous))

    async def reload(self, text: str) -> None:
        await self.server.reload(lambda previous: self.configuration(text, previous))

    async def ask(self, name: str = NAME, rrtype: str = "A", host: str = "127.0.0.1") -> list[str]:
        query = dns.message.make_query(name, rrtype)
        reply = await dns.asyncquery.udp(query, host, timeout=TIME_ENOUGH, port=self.port)
        return sorted(rdata.to_text() for rrset in reply.answer for rdata in rrset)


@asynccontextmanager
async def running(text: str, hosts: Any) -> AsyncIterator[Running]:
    async with Upstream(answering("192.0.2.1")).serving() as upstream, Upstream(answering()).serving() as taken:
        port = taken.port
    async with Upstream(answering("192.0.2.1")).serving() as upstream:
        one = Running(upstream, port, {"metrics": 0, "hosts": hosts})
        await one.start(text)
        try:
            yield one
        finally:
            await one.server.close()
            assert await one.server.stop_plugins() == []


def run(work: Any) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


@pytest.fixture
def hosts(tmp_path: Any) -> Any:
    path = tmp_path / "hosts"
    path.write_text("")
    return path


@pytest.mark.parametrize(("old", "new", "anew"), CHANGES.values(), ids=CHANGES)
def test_what_stays(hosts: Any, old: str, new: str, *, anew: bool) -> None:
    async def told() -> None:
        async with running(START, hosts) as one:
            assert old in START
            for _ in range(3):
                assert await one.ask() == ["192.0.2.1"]
            assert len(one.upstream.asked) == 1
            one.upstream.behaviour = answering("192.0.2.2")
            await one.reload(START.replace(old, new, 1))
            for _ in range(3):
                assert await one.ask() == ["192.0.2.2" if anew else "192.0.2.1"]
            assert len(one.upstream.asked) == 1 + anew

    run(told())


def test_blocks_that_say_the_same_have_a_cache_each(hosts: Any) -> None:
    """Each keeps its own through reloads, and what it counts is its own."""

    async def told() -> None:
        both = START + START.replace("bind 127.0.0.1", "bind 127.0.0.2")
        async with running(both, hosts) as one:
            for anew in (1, 0):
                for place, host in enumerate(("127.0.0.1", "127.0.0.2"), 1):
                    labels = {"server": f"dns://{host}:{one.port}", "type": "success"}
                    assert await one.ask(host=host) == ["192.0.2.1"]
                    assert await one.ask("kubernetes.default.svc.cluster.local.", host=host) == ["10.96.0.1"]
                    assert sample("coredns_cache_hits_total", one.port, **labels) == (0 if anew else 1)
                    assert sample("coredns_cache_entries", one.port, **labels) == 2
                    assert len(one.upstream.asked) == (place if anew else 2)
                await one.reload(both)

    run(told())


HELD = (Kept, Denial, Answers, Turning, Normal, Anew)


def held() -> Counter[str]:
    """Return how many replies are held in each way, garbage of cycles included."""
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, HELD))


def test_what_went_with_a_configuration_is_let_go_at_once(hosts: Any) -> None:
    """Its plugins hold each other until the collector comes by, which takes many reloads; their replies must not."""
    names = ("kubernetes.default", "superopsmsb-nginx-headless.default", "a.nope.default", "b.nope.default")

    async def told() -> None:
        async with running(START, hosts) as one:
            gc.unfreeze()
            gc.collect()
            before = held()
            for _ in range(3):
                await one.ask("other.example.com.")
                for name in names:
                    await one.ask(f"{name}.svc.cluster.local.")
            gc.unfreeze()
            assert {each.__name__ for each in HELD} <= (held() - before).keys()
            await one.reload(START)
            gc.unfreeze()
            assert held() - before == Counter()
            assert await one.ask("kubernetes.default.svc.cluster.local.") == ["10.96.0.1"]

    run(told())


def test_what_a_cache_held_goes_with_it(hosts: Any) -> None:
    """An edit of what is behind it makes another cache, and a worker's collector never looks at the old one."""

    def entries() -> int:
        gc.unfreeze()
        return sum(isinstance(each, Entry) for each in gc.get_objects())

    async def told() -> None:
        async with running(START, hosts) as one:
            before = entries()
            for number in range(20):
                await one.ask(f"host{number}.example.com.")
            assert entries() == before + 20
            gc.freeze()
            await one.reload(START.replace("cache 30", "cache 60"))
            assert entries() <= before

    run(told())


EDIT = """    hosts {hosts} {{
        10.0.0.1 other.example.com
        10.0.0.7 www.example.com
        fallthrough"""


def test_an_operator_adds_a_name_that_was_kept(hosts: Any) -> None:
    """It is answered as the new Corefile says at the first question after the switch, and so it is taken back."""

    async def told() -> None:
        async with running(START, hosts) as one:
            for _ in range(3):
                assert await one.ask() == ["192.0.2.1"]
            start = EDIT.replace("        10.0.0.7 www.example.com\n", "")
            await one.reload(START.replace(start, EDIT))
            for _ in range(3):
                assert await one.ask() == ["10.0.0.7"]
            await one.reload(START)
            for _ in range(3):
                assert await one.ask() == ["192.0.2.1"]

    run(told())


def test_an_operator_excepts_a_zone_that_was_kept(hosts: Any) -> None:
    async def told() -> None:
        async with running(START, hosts) as one:
            assert await one.ask("a.internal.example.com.") == ["192.0.2.1"]
            excepted = "forward . {upstream} {{\n        except internal.example.com\n    }}"
            await one.reload(START.replace("forward . {upstream}", excepted))
            for _ in range(3):
                assert await one.ask("a.internal.example.com.") == []
            assert len(one.upstream.asked) == 1

    run(told())


def test_the_cluster_is_as_it_is_after_a_reload(hosts: Any) -> None:
    """The zone goes to another plugin: what the cluster said is not what is said now."""

    async def told() -> None:
        async with running(START, hosts) as one:
            name = "kubernetes.default.svc.cluster.local."
            cluster = await one.ask(name)
            for _ in range(3):
                assert await one.ask(name) == cluster != ["192.0.2.1"]
            gone = START[START.index("    kubernetes") : START.index("    forward")]
            await one.reload(START.replace(gone, ""))
            for _ in range(3):
                assert await one.ask(name) == ["192.0.2.1"]
            await one.reload(START)
            for _ in range(3):
                assert await one.ask(name) == cluster

    run(told())


def sample(name: str, port: int, **labels: str) -> float:
    wanted = {"server": f"dns://127.0.0.1:{port}", "zones": ".", "view": "", **labels}
    metrics.fold()
    return metrics.registry.get_sample_value(name, wanted) or 0.0


def test_counters_are_exact_with_what_the_wire_cache_gave(hosts: Any) -> None:
    async def told() -> None:
        async with running(START, hosts) as one:
            for name in (NAME, "kubernetes.default.svc.cluster.local.", "nope.default.svc.cluster.local."):
                for _ in range(20):
                    await one.ask(name)
            port = one.port
            asked = sample("coredns_cache_requests_total", port)
            misses = sample("coredns_cache_misses_total", port)
            hits = {kind: sample("coredns_cache_hits_total", port, type=kind) for kind in ("success", "denial")}
            assert (asked, misses, hits) == (60, 3, {"success": 38, "denial": 19})
            entries = {kind: sample("coredns_cache_entries", port, type=kind) for kind in ("success", "denial")}
            assert entries == {"success": 2, "denial": 1}
            await one.reload(START.replace("cache 30", "cache 60"))
            assert sample("coredns_cache_entries", port, type="success") == 0
            assert sample("coredns_cache_requests_total", port) == asked
            await one.reload(START.replace("    cache 30\n", ""))
            assert metrics.registry.get_sample_value("coredns_cache_entries", {"type": "success"}) is None

    run(told())
