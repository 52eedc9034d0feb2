"""What outlives a reload, resolv.conf files that change, and names of name servers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from kubedns.plugin.contract import ServerBlock, Shared, StartLaterError
from kubedns.upstream.address import TRANSPORTS
from plugins import forward
from tests.fakes.upstream import HOST, Later, Upstream, answering, reply
from tests.plugins.forward.forwarding import addresses, asked, forwarding, run
from tests.plugins.helpers import directive, query
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.fakes.upstream import Asked

TO = "forward . 10.0.0.1 10.0.0.2 {{\n{}\n}}"


def servers(text: str, shared: Shared) -> list[object]:
    """Return the name servers of a configuration that follows the one whose parts are shared."""
    plugin = forward.setup(directive(text), ServerBlock((".",), shared=shared))
    return list(plugin.rules[0].servers)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("max_concurrent 5", True),
        ("except a.test", True),
        ("policy sequential", True),
        ("max_fails 7", True),
        ("next NXDOMAIN", True),
        ("read_timeout 1s", False),
        ("expire 1s", False),
        ("force_tcp", False),
        ("health_check 1s", False),
        ("source_address 10.1.1.1", False),
    ],
)
def test_a_name_server_is_kept_while_it_is_asked_in_the_same_way(line: str, *, kept: bool) -> None:
    old = Shared()
    before = servers(TO.format("max_fails 2"), old)
    after = servers(TO.format(line), Shared(old.kept))
    assert [one is other for one, other in zip(before, after, strict=True)] == [kept] * 2


def test_another_to_leaves_the_others_alone() -> None:
    old = Shared()
    before = servers(TO.format("max_fails 2"), old)
    after = servers("forward . 10.0.0.3 10.0.0.2", Shared(old.kept))
    assert after[1] is before[1]


def test_what_is_in_flight_over_a_reload_is_answered() -> None:
    async def work() -> None:
        upstream = Upstream(lambda one: [Later(0.1, reply(one, "192.0.2.1"))])
        async with upstream.serving():
            old = Shared()
            text = f"forward . {upstream.address}"
            async with forwarding(text, shared=old) as plugin:
                waiting = asyncio.create_task(asked(plugin))
                await until(lambda: bool(upstream.asked))
                later = forward.setup(
                    directive(f"{text} {{\nmax_concurrent 9\n}}"), ServerBlock((".",), Shared(old.kept))
                )
                assert addresses(await asked(later, query("b.test."))) == ["192.0.2.1"]
                assert addresses(await waiting) == ["192.0.2.1"]
                assert later.rules[0].servers == plugin.rules[0].servers

    run(work())


def test_a_resolv_conf_that_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only a new name server is taken, but the old one answers what it was asked before."""
    monkeypatch.setattr("plugins.forward.destinations.INTERVAL", 0.02)
    path = tmp_path / "resolv.conf"

    async def work() -> None:
        async with AsyncExitStack() as stack:
            old = await stack.enter_async_context(Upstream(lambda one: [Later(0.5, reply(one, "192.0.2.1"))]).serving())
            new = await stack.enter_async_context(Upstream(answering("192.0.2.2")).serving())
            # nameserver lines have no port: both listen on the default one, which here is each one's own.
            monkeypatch.setitem(TRANSPORTS, "dns", old.port)
            path.write_text(f"nameserver {HOST}\n")
            plugin = await stack.enter_async_context(forwarding(f"forward . {path}"))
            assert plugin.upstreams() == [old.address]
            waiting = asyncio.create_task(asked(plugin))
            await until(lambda: bool(old.asked))
            monkeypatch.setitem(TRANSPORTS, "dns", new.port)
            path.write_text(f"# changed\nnameserver {HOST}\n")
            await until(lambda: plugin.upstreams() == [new.address])
            assert addresses(await asked(plugin, query("b.test."))) == ["192.0.2.2"]
            assert addresses(await waiting) == ["192.0.2.1"]
            path.write_text("search a.test\n")
            await asyncio.sleep(0.2)
            assert plugin.upstreams() == [new.address]
            path.unlink()
            await asyncio.sleep(0.1)
            path.write_text(f"nameserver {HOST}\nnameserver ::1\n")
            await until(lambda: plugin.upstreams() == [new.address, f"[::1]:{new.port}"])

    run(work())


def resolving(one: Asked) -> Iterable[bytes]:
    if str(one.record.q.qname) != "dns.test.":
        return [reply(one, rcode="NXDOMAIN")]
    return [reply(one, *([HOST, "127.0.0.2"] if one.record.q.qtype == 1 else []))]


def test_a_host_name_is_resolved_at_the_start() -> None:
    async def work() -> None:
        async with AsyncExitStack() as stack:
            resolver = await stack.enter_async_context(Upstream(resolving).serving())
            dead = await stack.enter_async_context(Upstream(lambda one: [reply(one, rcode="REFUSED")]).serving())
            upstream = await stack.enter_async_context(Upstream(answering("192.0.2.1")).serving())
            lines = f"policy sequential\nresolver {dead.address} {resolver.address}"
            text = f"forward . dns.test:{upstream.port} {{\n{lines}\n}}"
            plugin = await stack.enter_async_context(forwarding(text))
            assert plugin.upstreams() == [upstream.address, f"127.0.0.2:{upstream.port}"]
            assert addresses(await asked(plugin)) == ["192.0.2.1"]
            assert [one.record.q.qtype for one in resolver.asked] == [1, 28]

    run(work())


def test_a_host_name_without_address_is_no_start() -> None:
    async def work() -> None:
        async with Upstream(resolving).serving() as resolver:
            text = f"forward . other.test {{\nresolver {resolver.address}\n}}"
            with pytest.raises(StartLaterError) as caught:
                async with forwarding(text):
                    pass
            said = (
                f'plugin/forward: failed to resolve "other.test": lookup other.test on {resolver.address}: no such host'
            )
            assert str(caught.value).startswith(f"{said}\n  --> Corefile:2:11\n")

    run(work())


def test_a_host_name_by_the_system_s_resolver() -> None:
    async def work() -> None:
        async with forwarding("forward . localhost:5300") as plugin:
            assert f"{HOST}:5300" in plugin.upstreams()

    run(work())
