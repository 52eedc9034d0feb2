"""Name servers that fail, each in its way, and what the client hears."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from kubedns.upstream.statistics import statistics_of
from kubedns.wire.numbers import Rcode
from plugins.forward import metrics
from tests.fakes.upstream import CLOSE, HOST, Later, Upstream, answering, closed_port, reply, silent
from tests.plugins.forward.forwarding import LOOPS, addresses, asked, forwarding, gather, nobody, refused, run
from tests.plugins.helpers import query
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.fakes.upstream import Asked, Behaviour

FAST = "read_timeout 50ms"


def probes(upstream: Upstream) -> int:
    return sum(one.record.q.qtype == 2 for one in upstream.asked)


def questions(upstream: Upstream) -> int:
    return len(upstream.asked) - probes(upstream)


async def several(stack: AsyncExitStack, *behaviours: Behaviour) -> list[Upstream]:
    return [await stack.enter_async_context(Upstream(behaviour).serving()) for behaviour in behaviours]


def to(upstreams: Iterable[Upstream]) -> str:
    return " ".join(upstream.address for upstream in upstreams)


def test_all_silent() -> None:
    async def work() -> None:
        async with AsyncExitStack() as stack:
            upstreams = await several(stack, silent, silent)
            plugin = await stack.enter_async_context(forwarding(f"forward . {to(upstreams)} {{\n{FAST}\n}}"))
            error = await refused(plugin)
            assert error.rcode == Rcode.SERVFAIL
            assert str(error).startswith("read udp 127.0.0.1:")
            assert str(error).endswith(f"->{upstreams[0].address}: i/o timeout") or str(error).endswith(
                f"->{upstreams[1].address}: i/o timeout"
            )
            assert [questions(upstream) for upstream in upstreams] == [2, 2]

    run(work())


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_all_refuse_connections(transport: str) -> None:
    async def work() -> None:
        port = closed_port()
        async with forwarding(f"forward . {HOST}:{port} {{\nmax_fails 0\n}}") as plugin:
            began = time.monotonic()
            error = await refused(plugin, query(transport=transport))
            assert error.rcode == Rcode.SERVFAIL
            assert str(error).endswith("connection refused")
            assert time.monotonic() - began < 2.0
            assert statistics_of(f"{HOST}:{port}").requests == 2
            assert statistics_of(f"{HOST}:{port}").health_failures == 0

    run(work())


@pytest.mark.parametrize("factory", LOOPS)
def test_sockets_go_on_after_errors(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """libuv stops to watch a socket that had an error."""

    async def work() -> None:
        port = closed_port()
        async with forwarding(f"forward . {HOST}:{port} {{\nmax_fails 0\nmax_connect_attempts 1\n}}") as plugin:
            for number in range(40):
                assert "refused" in str(await refused(plugin, query(f"n{number}.test.")))
            async with Upstream(answering()).serving(port=port) as upstream:
                for number in range(40):
                    assert addresses(await asked(plugin, query(f"n{number}.test."))) == ["192.0.2.1"]
                assert len(upstream.sources()) == 4
            assert statistics_of(f"{HOST}:{port}").misses["udp"] == 4

    run(work(), factory)


def test_an_error_takes_along_what_was_sent_before_and_nothing_else() -> None:
    async def work() -> None:
        port = closed_port()
        async with forwarding(f"forward . {HOST}:{port} {{\nmax_fails 0\nmax_connect_attempts 1\n}}") as plugin:
            errors = await gather(*(refused(plugin, query(f"n{number}.test.")) for number in range(300)))
            assert all("connection refused" in str(error) for error in errors)

    run(work())


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_one_of_two_refuses_connections(transport: str) -> None:
    async def work() -> None:
        upstream = Upstream(answering("192.0.2.2"))
        port = closed_port()
        async with (
            upstream.serving(),
            forwarding(f"forward . {HOST}:{port} {upstream.address} {{\npolicy sequential\n}}") as plugin,
        ):
            assert addresses(await asked(plugin, query(transport=transport))) == ["192.0.2.2"]
            await until(lambda: statistics_of(f"{HOST}:{port}").health_failures > 2)
            before = statistics_of(f"{HOST}:{port}").requests
            assert addresses(await asked(plugin, query(transport=transport))) == ["192.0.2.2"]
            assert statistics_of(f"{HOST}:{port}").requests == before

    run(work())


def test_one_of_two_is_silent_and_comes_back() -> None:
    async def work() -> None:
        async with AsyncExitStack() as stack:
            first, second = await several(stack, silent, answering("192.0.2.2"))
            lines = f"policy sequential\n{FAST}\nhealth_check 10ms"
            plugin = await stack.enter_async_context(forwarding(f"forward . {to([first, second])} {{\n{lines}\n}}"))
            assert addresses(await asked(plugin)) == ["192.0.2.2"]
            server = plugin.rules[0].servers[0]
            await until(lambda: server.health.down(2))
            before = questions(first)
            assert addresses(await asked(plugin)) == ["192.0.2.2"]
            assert questions(first) == before
            first.behaviour = answering("192.0.2.1")
            await until(lambda: not server.health.failures)
            assert addresses(await asked(plugin)) == ["192.0.2.1"]
            before = probes(first)
            await asyncio.sleep(0.1)
            assert probes(first) == before  # one that is well is not checked

    run(work())


def test_a_reply_later_than_the_deadline_is_for_nobody() -> None:
    async def work() -> None:
        upstream = Upstream(lambda one: [Later(0.12, reply(one, "192.0.2.1"))])
        async with (
            upstream.serving(),
            forwarding(f"forward . {upstream.address} {{\n{FAST}\nmax_fails 0\n}}") as plugin,
        ):
            assert "i/o timeout" in str(await refused(plugin))
            await until(lambda: statistics_of(upstream.address).strays == 2)

    run(work())


def test_three_seconds_are_more_than_a_reply_has() -> None:
    """A first try takes two seconds, and so does the second: SERVFAIL after four, by the defaults."""

    async def work() -> None:
        upstream = Upstream(lambda one: [Later(3.0, reply(one, "192.0.2.1"))])
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            began = time.monotonic()
            assert "i/o timeout" in str(await refused(plugin))
            assert time.monotonic() - began >= 4.0
            assert questions(upstream) == 2

    run(work())


def test_no_try_begins_after_five_seconds() -> None:
    async def work() -> None:
        upstream = Upstream(silent)
        lines = "read_timeout 2600ms\nmax_fails 0\nmax_connect_attempts 0"
        async with upstream.serving(), forwarding(f"forward . {upstream.address} {{\n{lines}\n}}") as plugin:
            await refused(plugin)
            assert questions(upstream) == 2

    run(work())


def test_tries_without_a_limit_are_paced() -> None:
    async def work() -> None:
        port = closed_port()
        async with forwarding(f"forward . {HOST}:{port} {{\nmax_connect_attempts 0\nmax_fails 0\n}}") as plugin:
            assert "refused" in str(await refused(plugin))
            assert 20 <= statistics_of(f"{HOST}:{port}").requests <= 120

    run(work())


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NXDOMAIN", "NOTIMP"])
def test_an_rcode_is_a_reply(rcode: str) -> None:
    async def work() -> None:
        upstream = Upstream(answering(rcode=rcode))
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            record = await asked(plugin)
            assert record.header.rcode == Rcode[rcode]
            assert len(upstream.asked) == 1

    run(work())


@pytest.mark.parametrize(("edns", "rcode"), [(None, 2), (1232, 1)], ids=["no OPT record", "an OPT record"])
def test_an_rcode_that_an_opt_record_tells(edns: int | None, rcode: int) -> None:
    """BADKEY, 17: who did not ask for an OPT record can't be told, and hears SERVFAIL."""

    def odd(one: Asked) -> list[bytes]:
        octets = bytearray(reply(one))
        octets[3] |= 1
        octets[10:12] = b"\0\1"
        return [bytes(octets) + b"\0\0\x29\4\xd0\1\0\0\0\0\0"]

    async def work() -> None:
        upstream = Upstream(odd)
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            asked_query = query("www.test.", edns=edns)
            found = await plugin.resolve(asked_query, nobody)
            assert found.rcode == 17
            assert found.octets(asked_query)[3] & 15 == rcode

    run(work())


def test_cut_over_udp_is_handed_on() -> None:
    async def work() -> None:
        upstream = Upstream(lambda one: [reply(one, tc=one.transport == "udp")])
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            assert (await asked(plugin)).header.tc == 1
            assert [one.transport for one in upstream.asked] == ["udp"]

    run(work())


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_cut_over_udp_is_asked_over_tcp_with_prefer_udp(transport: str) -> None:
    async def work() -> None:
        upstream = Upstream(
            lambda one: [reply(one, *(() if one.transport == "udp" else ("192.0.2.1",)), tc=one.transport == "udp")]
        )
        async with upstream.serving(), forwarding(f"forward . {upstream.address} {{\nprefer_udp\n}}") as plugin:
            record = await asked(plugin, query(transport=transport))
            assert (record.header.tc, addresses(record)) == (0, ["192.0.2.1"])
            assert [one.transport for one in upstream.asked] == ["udp", "tcp"]

    run(work())


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_force_tcp_wins_over_prefer_udp(transport: str) -> None:
    async def work() -> None:
        upstream = Upstream(answering())
        async with (
            upstream.serving(),
            forwarding(f"forward . {upstream.address} {{\nprefer_udp\nforce_tcp\n}}") as plugin,
        ):
            await asked(plugin, query(transport=transport))
            assert [one.transport for one in upstream.asked] == ["tcp"]

    run(work())


def test_a_reply_too_long_for_the_client_has_no_records() -> None:
    many = [f"192.0.2.{number}" for number in range(1, 61)]  # 960 octets

    async def work() -> None:
        upstream = Upstream(answering(*many))
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            record = await asked(plugin)
            assert (record.header.tc, record.header.rcode, len(record.rr), record.header.ra) == (1, 0, 0, 1)
            record = await asked(plugin, query(edns=1232))
            assert (record.header.tc, len(record.rr)) == (0, 60)

    run(work())


@pytest.mark.parametrize("seconds", [0.0, 0.02], ids=["at once", "after a while"])
def test_tcp_closed_without_a_reply(seconds: float) -> None:
    async def work() -> None:
        upstream = Upstream(lambda _: [Later(seconds, None)])
        async with upstream.serving(), forwarding(f"forward . {upstream.address} {{\nmax_fails 0\n}}") as plugin:
            error = await refused(plugin, query(transport="tcp"))
            assert (error.rcode, str(error)) == (Rcode.SERVFAIL, "EOF")
            assert upstream.connections == 2

    run(work())


def test_tcp_closed_in_the_middle_of_a_reply() -> None:
    def half(one: Asked) -> Iterable[bytes | Later]:
        return [reply(one, "192.0.2.1") + b"more", CLOSE]

    async def work() -> None:
        upstream = Upstream(half)
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            assert addresses(await asked(plugin, query(transport="tcp"))) == [
                "192.0.2.1"
            ]  # what is behind is no matter

    run(work())


def test_silence_over_tcp() -> None:
    async def work() -> None:
        upstream = Upstream(silent)
        async with (
            upstream.serving(),
            forwarding(f"forward . {upstream.address} {{\n{FAST}\nmax_fails 0\n}}") as plugin,
        ):
            error = await refused(plugin, query(transport="tcp"))
            assert str(error).startswith("read tcp 127.0.0.1:")
            assert str(error).endswith("i/o timeout")
            assert upstream.connections == 2

    run(work())


def test_all_down_one_is_tried() -> None:
    async def work() -> None:
        async with AsyncExitStack() as stack:
            upstreams = await several(stack, silent, silent)
            plugin = await stack.enter_async_context(
                forwarding(f"forward . {to(upstreams)} {{\n{FAST}\nhealth_check 10ms\n}}")
            )
            await refused(plugin)
            servers = plugin.rules[0].servers
            await until(lambda: all(server.health.down(2) for server in servers))
            for upstream in upstreams:
                upstream.asked.clear()
                upstream.behaviour = lambda one: [reply(one, "192.0.2.1")] if one.record.q.qtype == 1 else []
            broken = metrics.broken.value
            assert addresses(await asked(plugin)) == ["192.0.2.1"]
            assert sum(questions(upstream) for upstream in upstreams) == 1
            assert metrics.broken.value == broken + 1
            assert all(server.health.down(2) for server in servers)  # only a check makes it well

    run(work())


def test_all_down_and_failfast() -> None:
    async def work() -> None:
        upstream = Upstream(silent)
        lines = f"{FAST}\nhealth_check 10ms\nfailfast_all_unhealthy_upstreams"
        async with upstream.serving(), forwarding(f"forward . {upstream.address} {{\n{lines}\n}}") as plugin:
            await refused(plugin)
            await until(lambda: plugin.rules[0].servers[0].health.down(2))
            before = questions(upstream)
            error = await refused(plugin)
            assert (error.rcode, str(error)) == (Rcode.SERVFAIL, "no healthy proxies")
            assert questions(upstream) == before

    run(work())


def test_a_check_is_what_the_corefile_says() -> None:
    async def work() -> None:
        upstream = Upstream(lambda one: [reply(one, rcode="REFUSED")] if one.record.q.qtype == 2 else [])
        lines = f"{FAST}\nhealth_check 10ms no_rec domain Probe.test"
        async with upstream.serving(), forwarding(f"forward . {upstream.address} {{\n{lines}\n}}") as plugin:
            await refused(plugin)
            await until(lambda: probes(upstream) > 0)
            check = next(one.record for one in upstream.asked if one.record.q.qtype == 2)
            assert (str(check.q.qname), check.header.rd, check.header.qr) == ("probe.test.", 0, 0)
            await until(lambda: plugin.rules[0].servers[0].health._checking is None)  # noqa: SLF001
            assert plugin.rules[0].servers[0].health.failures == 0

    run(work())


@pytest.mark.parametrize(("line", "transport"), [("expire 10s", "udp"), ("force_tcp", "tcp")])
def test_a_check_goes_the_way_of_queries(line: str, transport: str) -> None:
    async def work() -> None:
        upstream = Upstream(silent)
        async with upstream.serving(), forwarding(f"forward . {upstream.address} {{\n{FAST}\n{line}\n}}") as plugin:
            await refused(plugin)
            await until(lambda: probes(upstream) > 0)
            assert {one.transport for one in upstream.asked if one.record.q.qtype == 2} == {transport}

    run(work())


def test_max_concurrent_counts_those_who_wait() -> None:
    async def work() -> None:
        upstream = Upstream(lambda one: [Later(0.1, reply(one, "192.0.2.1"))])
        async with upstream.serving(), forwarding(f"forward . {upstream.address} {{\nmax_concurrent 2\n}}") as plugin:
            before = metrics.rejects.value
            first = [asyncio.create_task(asked(plugin)) for _ in range(2)]
            await asyncio.sleep(0)
            error = await refused(plugin)
            assert (error.rcode, str(error)) == (Rcode.REFUSED, "concurrent queries exceeded maximum 2")
            assert metrics.rejects.value == before + 1
            assert [addresses(record) for record in await gather(*first)] == [["192.0.2.1"]] * 2
            assert addresses(await asked(plugin)) == ["192.0.2.1"]
            assert len(upstream.asked) == 2

    run(work())


def test_what_waits_for_one_upstream_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubedns.upstream.datagrams.MOST_PENDING", 10)
    monkeypatch.setattr("kubedns.upstream.streams.MOST_PENDING", 10)
    monkeypatch.setattr("kubedns.upstream.streams.MOST_CONNECTIONS", 5)

    async def work() -> None:
        upstream = Upstream(silent)
        lines = f"{FAST}\nmax_connect_attempts 1\nmax_fails 0"
        async with upstream.serving(), forwarding(f"forward . {upstream.address} {{\n{lines}\n}}") as plugin:
            for transport, most in (("udp", 10), ("tcp", 15)):
                errors = []
                for number in range(30):
                    one = query(f"n{number}.test.", transport=transport)
                    errors.append(asyncio.create_task(refused(plugin, one)))
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                texts = [str(error) for error in await gather(*errors)]
                assert sum("queries wait for" in text for text in texts) == 30 - most

    run(work())


def test_connections_are_bounded_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubedns.upstream.streams.MOST_CONNECTIONS", 3)

    async def work() -> None:
        upstream = Upstream(lambda one: [Later(0.01, reply(one, "192.0.2.1"))])
        async with upstream.serving(), forwarding(f"forward . {upstream.address} {{\nforce_tcp\n}}") as plugin:
            records = await gather(*(asked(plugin, query(f"n{number}.test.")) for number in range(30)))
            assert [addresses(record) for record in records] == [["192.0.2.1"]] * 30
            assert upstream.connections == 3

    run(work())


def test_max_idle_conns() -> None:
    async def work() -> None:
        upstream = Upstream(lambda one: [Later(0.02, reply(one, "192.0.2.1"))])
        async with (
            upstream.serving(),
            forwarding(f"forward . {upstream.address} {{\nmax_idle_conns 1\n}}") as plugin,
        ):
            for _ in range(2):
                await gather(*(asked(plugin, query(f"n{number}.test.", transport="tcp")) for number in range(5)))
            assert upstream.connections == 9
            for number in range(20):
                await asked(plugin, query(f"n{number}.test."))
            assert len(upstream.sources()) == 1

    run(work())


def test_source_address() -> None:
    async def work() -> None:
        upstream = Upstream(answering())
        async with (
            upstream.serving(),
            forwarding(f"forward . {upstream.address} {{\nsource_address 127.0.0.9\n}}") as plugin,
        ):
            await asked(plugin)
            await asked(plugin, query(transport="tcp"))
            assert {one.source[0] for one in upstream.asked} == {"127.0.0.9"}

    run(work())


def test_stopping_ends_what_waits() -> None:
    async def work() -> None:
        upstream = Upstream(silent)
        async with upstream.serving():
            async with forwarding(f"forward . {upstream.address}") as plugin:
                waiting = [asyncio.create_task(refused(plugin, query(transport=each))) for each in ("udp", "tcp")]
                await until(lambda: len(upstream.asked) == 2)
            for error in await gather(*waiting):
                assert str(error).endswith("proxy: transport stopped")
            error = await refused(plugin)
            assert str(error) == "proxy: transport stopped"
            assert len(upstream.asked) == 2

    run(work())
