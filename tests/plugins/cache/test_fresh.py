"""What has changed is never answered as it was, whatever is kept: in the cluster, in a hosts file."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubedns.cluster.objects import kind_of_object
from kubedns.plugin.contract import ServerBlock
from kubedns.tokens import Token
from kubedns.wire.records import address
from kubedns.wire.reply import Reply
from kubedns.wire.validity import NEVER, Validity
from plugins import cache, hosts, loadbalance
from tests.plugins.cache.caching import SOA, Backend, ask, ports
from tests.plugins.helpers import answering, directive, query, run
from tests.plugins.kubernetes.cluster import (
    NXDOMAIN,
    SVC,
    Made,
    Running,
    Shown,
    at,
    elsewhere,
    endpoints,
    external,
    of,
    reply,
    sample,
    service,
    shown,
    step,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from kubedns.plugin.contract import Next, Plugin
    from kubedns.wire.query import Query


def behind(plugin: Plugin, pass_on: Next) -> Next:
    def asked(query: Query) -> Awaitable[Reply]:
        return plugin.resolve(query, pass_on)

    return asked


class Cached:
    """The sample cluster behind a cache, and behind both a backend."""

    def __init__(self, options: str = "pods verified", line: str = "cache 30", says: str = "NOTIMP") -> None:
        self.running: Running = sample(options)
        self.cache = cache.setup(directive(line), ServerBlock((".",), servers=(f"dns://:{next(ports)}",)))
        self.backend = Backend(says)
        self.chain = behind(self.running.plugin, self.backend)

    def octets(self, asked: Query) -> bytes:
        asked.lookup = elsewhere
        return step(self.cache.resolve(asked, self.chain)).octets(asked)

    def ask(self, question: str) -> Shown:
        name, rrtype = question.split()
        spelled = name.replace("~", SVC)
        return shown(self.octets(query(spelled, rrtype)), spelled)

    def remove(self, made: Made) -> None:
        value = of(made)
        self.running.index.remove(kind_of_object(value), value.namespace, value.name)


def test_a_name_asked_for_just_before_it_is_made() -> None:
    cached = Cached()
    for _ in range(3):
        assert cached.ask("new.default~ A") == NXDOMAIN
    made = service("default/new", "10.96.0.99", ports="http 80/TCP")
    cached.running.index.upsert(of(made))
    for _ in range(3):
        assert cached.ask("new.default~ A") == reply("@ A 10.96.0.99")
    cached.running.index.upsert(of(service("default/new", "10.96.0.98", ports="http 80/TCP")))
    for _ in range(3):
        assert cached.ask("new.default~ A") == reply("@ A 10.96.0.98")
    cached.remove(made)
    for _ in range(3):
        assert cached.ask("new.default~ A") == NXDOMAIN


def test_hits_are_counted_and_are_one_object() -> None:
    cached = Cached()
    now = [1000.0]
    cached.cache.clock = lambda: now[0]
    asked = query(f"web.default{SVC}")
    _, first, *others = [step(cached.cache.resolve(asked, cached.chain)) for _ in range(5)]
    assert all(other is first for other in others)
    assert first.validity.until == 1001.0
    assert len(first.validity.tokens) == 1
    counted = cached.cache.listeners[0].counters
    assert list(first.tallies) == [counted.requests, counted.hits["success"]]


def test_ttls_are_capped_and_count_down() -> None:
    cached = Cached("ttl 3600", "cache 30 {\n denial 9984 20\n}")
    now = [1000.0]
    cached.cache.clock = lambda: now[0]
    for time, positive, negative in ((1000.0, 30, 20), (1010.0, 20, 10), (1029.0, 1, 20), (1031.0, 30, 18)):
        now[0] = time
        assert cached.ask("web.default~ A").answer == (f"@ {positive} A 10.96.0.20",)
        assert cached.ask("nope.default~ A").authority[0].startswith(f"{negative} SOA")


def test_what_is_not_to_be_kept_is_asked_for_each_time() -> None:
    cached = Cached(line="cache 30 {\n disable success cluster.local\n disable denial cluster.local\n}")
    for question in ("web.default~ A", "nope.default~ A"):
        for _ in range(3):
            cached.ask(question)
    counted = cached.cache.listeners[0].counters
    assert counted.misses.value == counted.requests.value > 0
    asked = query(f"web.default{SVC}")
    given_again = step(cached.cache.resolve(asked, cached.chain))
    assert not given_again.validity.never
    assert list(given_again.tallies) == [counted.requests, counted.misses]


def test_an_address_that_an_upstream_was_asked_about() -> None:
    """Reverse names fall through; as soon as something in the cluster has the address, it answers."""
    cached = Cached("fallthrough in-addr.arpa", says="NXDOMAIN / +" + SOA.format(900))
    question = "7.9.244.10.in-addr.arpa. PTR"
    for _ in range(3):
        assert cached.ask(question).rcode == "NXDOMAIN"
    assert len(cached.backend.asked) == 1
    cached.running.index.upsert(of(service("default/other", "10.96.0.99", ports="http 80/TCP")))
    cached.ask(question)
    assert len(cached.backend.asked) == 1  # another address is not its concern
    held = endpoints("default/other", at("10.244.9.7", hostname="x"), ports="http 80")
    cached.running.index.upsert(of(held))
    assert cached.ask(question) == reply("@ PTR x.other.default~")
    cached.remove(held)
    assert cached.ask(question).rcode == "NXDOMAIN"
    assert len(cached.backend.asked) <= 2


OBJECTS = [
    service("default/new", "10.96.0.99", ports="http 80/TCP"),
    service("default/new", "10.96.0.98", ports="http 81/TCP"),
    service("default/new", "None", ports="http 80/TCP"),
    external("default/new", "web.default.svc.cluster.local"),
    endpoints("default/new", at("10.244.9.7", hostname="x"), ports="http 80"),
    endpoints("default/new", at("10.244.9.8", hostname="y"), at("10.244.9.7"), ports="http 80"),
]
QUESTIONS = [
    "new.default~ A", "new.default~ SRV", "x.new.default~ A", "_http._tcp.new.default~ SRV", "web.default~ A",
    "7.9.244.10.in-addr.arpa. PTR", "99.0.96.10.in-addr.arpa. PTR", "nope.default~ AAAA", "new.default~ AAAA",
]  # fmt: skip
steps = st.one_of(
    st.sampled_from(OBJECTS).map(lambda made: ("put", made)),
    st.sampled_from(OBJECTS).map(lambda made: ("remove", made)),
    st.sampled_from(QUESTIONS).map(lambda question: ("ask", question)),
)


@given(st.lists(steps, max_size=30))
@settings(max_examples=150)
def test_says_what_the_cluster_says(taken: list[tuple[str, object]]) -> None:
    """Through any changes the cache in front makes no difference, as long as no second has passed."""
    cached = Cached("pods verified")
    cached.cache.clock = lambda: 1000.0
    plain = cached.running
    for what, value in taken:
        if what == "put":
            plain.index.upsert(of(value))  # type: ignore[arg-type]
        elif what == "remove":
            cached.remove(value)  # type: ignore[arg-type]
        else:
            assert isinstance(value, str)
            assert cached.ask(value) == plain.ask(value)


A = "NOERROR / @ 600 A 192.0.2.1"


@pytest.mark.parametrize("says", [A, "NXDOMAIN / +" + SOA.format(900)])
def test_a_hosts_file_that_gets_a_name(tmp_path: Path, says: str) -> None:
    """What an upstream said of a name is forgotten when the file changes."""

    async def told() -> None:
        path = tmp_path / "hosts"
        path.write_text("10.0.0.1 other.example.org\n")
        plugin = hosts.setup(directive(f"hosts {path} {{\n fallthrough\n}}"), ServerBlock((".",)))
        await plugin.file.start()
        front = cache.setup(directive("cache"), ServerBlock((".",)))
        backend = Backend(says)
        chain = behind(plugin, backend)

        async def addresses() -> list[bytes]:
            return [rr.rdata for rr in (await front.resolve(ask(), chain)).answer]

        before = await addresses()
        assert [await addresses() for _ in range(3)] == [before] * 3
        assert len(backend.asked) == 1
        path.write_text("10.0.0.2 www.example.org\n10.0.0.1 other.example.org\n")
        await plugin.file.read()
        assert await addresses() == [b"\x0a\0\0\2"]
        path.write_text("10.0.0.1 other.example.org\n")
        await plugin.file.read()
        assert await addresses() == before
        await plugin.file.stop()

    run(told())


async def in_front_of_hosts(path: Path) -> tuple[cache.Cache, hosts.Hosts, Backend]:
    """Return a cache, a hosts file that is followed, and what is behind it."""
    plugin = hosts.setup(directive(f"hosts {path} {{\n fallthrough\n}}"), ServerBlock((".",)))
    await plugin.file.start()
    return cache.setup(directive("cache"), ServerBlock((".",))), plugin, Backend(A)


def test_a_hosts_file_that_gets_another_name(tmp_path: Path) -> None:
    """Nothing else has to be asked for anew."""

    async def told() -> None:
        path = tmp_path / "hosts"
        path.write_text("10.0.0.1 other.example.org\n")
        front, plugin, backend = await in_front_of_hosts(path)
        chain = behind(plugin, backend)
        for text in ("10.0.0.2 another.example.org\n", "10.0.0.3 other.example.org\n", ""):
            await front.resolve(ask(), chain)
            path.write_text(text)
            await plugin.file.read()
        await front.resolve(ask(), chain)
        assert len(backend.asked) == 1
        await plugin.file.stop()

    run(told())


def test_a_hosts_file_that_changes_while_an_upstream_is_asked(tmp_path: Path) -> None:
    async def told() -> None:
        path = tmp_path / "hosts"
        path.write_text("10.0.0.1 other.example.org\n")
        front, plugin, backend = await in_front_of_hosts(path)
        backend.held = asyncio.Event()
        chain = behind(plugin, backend)
        first = asyncio.create_task(front.resolve(ask(), chain))
        await asyncio.sleep(0)
        path.write_text("10.0.0.2 www.example.org\n10.0.0.1 other.example.org\n")
        await plugin.file.read()
        backend.held.set()
        assert (await first).answer[0].rdata == bytes((192, 0, 2, 1))
        assert (await front.resolve(ask(), chain)).answer[0].rdata == b"\x0a\0\0\2"
        await plugin.file.stop()

    run(told())


def test_a_miss_says_how_long_it_is_true() -> None:
    """A Service that is another's name (ExternalName) is made of it, and is true no longer."""
    token = Token()
    plugin = cache.setup(directive("cache 30"), ServerBlock((".",), servers=(f"dns://:{next(ports)}",)))
    asked = query("example.org.")
    said = Reply([address(asked.name, bytes((192, 0, 2, 1)), 300)], validity=NEVER.joined(Validity(tokens=(token,))))
    passed = run(plugin.resolve(asked, answering(said)))
    assert passed.answer[0].ttl == 30
    assert passed.validity.never
    assert token in passed.validity.tokens


def test_orders_are_turned_of_what_is_kept() -> None:
    """12 of loadbalance: a hit comes in another order than the last, out of one value with ready orders."""

    async def told() -> None:
        records = " / ".join(f"@ 600 A 192.0.2.{number}" for number in range(1, 9))
        backend = Backend(f"NOERROR / {records}")
        front = cache.setup(directive("cache"), ServerBlock((".",)))
        now = [1000.0]
        front.clock = lambda: now[0]
        turned = loadbalance.setup(directive("loadbalance"), ServerBlock((".",)))
        chain = behind(front, backend)
        replies = [await turned.resolve(ask(), chain) for _ in range(40)]
        assert all(one is replies[1] for one in replies[2:])
        assert replies[1].lasting.until == 1001.0
        asked = ask()
        bodies = {one.octets(asked) for one in replies[1:]}
        assert len(bodies) > 10
        now[0] += 1
        assert [rr.ttl for rr in (await turned.resolve(ask(), chain)).answer] == [599] * 8
        assert len(backend.asked) == 1

    run(told())


def test_sections_are_those_that_any_client_asked_for() -> None:
    """Letters are the client's own, of shared replies too."""
    cached = Cached()
    for name in ("web.default.svc.cluster.local.", "WEB.default.SVC.cluster.LOCAL."):
        assert shown(cached.octets(query(name)), name).answer == ("@ A 10.96.0.20",)
