"""One name server, asked: what goes out, and which of the messages that come back is believed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from dnslib import RCODE, DNSRecord, EDNSOption
from dnslib.dns import EDNS0

from kubedns.upstream import datagrams
from kubedns.upstream.statistics import statistics_of
from kubedns.wire.client import Peer
from kubedns.wire.numbers import Rcode
from kubedns.wire.query import parse_query
from tests.fakes.upstream import Later, Upstream, answering, bound_pair, reply, silent
from tests.plugins.forward.forwarding import LOOPS, addresses, asked, forwarding, gather, refused, run
from tests.plugins.helpers import CLIENT, SERVER, query
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.fakes.upstream import Asked


@pytest.mark.parametrize("factory", LOOPS)
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_query_goes_on_as_it_came_and_the_reply_comes_back(
    factory: Callable[[], asyncio.AbstractEventLoop], transport: str
) -> None:
    async def work() -> None:
        upstream = Upstream(answering("192.0.2.80"))
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            record = await asked(plugin, query("WwW.ExAmPlE.org.", transport=transport, ident=4711))
            assert (record.header.id, record.header.ra, addresses(record)) == (4711, 1, ["192.0.2.80"])
            assert str(record.q.qname) == "WwW.ExAmPlE.org."
            [one] = upstream.asked
            assert one.transport == transport
            assert one.octets[2:] == bytes(DNSRecord.question("WwW.ExAmPlE.org.").pack())[2:]

    run(work(), factory)


def test_all_of_the_clients_edns_goes_on() -> None:
    async def work() -> None:
        upstream = Upstream(answering())
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            record = DNSRecord.question("example.org.")
            options = [EDNSOption(10, b"12345678"), EDNSOption(65001, b"local")]
            record.add_ar(EDNS0(udp_len=1400, flags="do", opts=options))
            one = parse_query(bytes(record.pack()), Peer("udp", CLIENT, SERVER))
            await asked(plugin, one)
            [sent] = upstream.asked
            assert sent.octets[2:] == bytes(record.pack())[2:]

    run(work())


def test_ids_and_ports_change() -> None:
    async def work() -> None:
        upstream = Upstream(answering())
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            for number in range(200):
                await asked(plugin, query(f"n{number}.test."))
            idents = [int.from_bytes(one.ident, "big") for one in upstream.asked]
            steps = {(after - before) % 65536 for before, after in pairwise(idents)}
            assert len(steps) > 150  # a counter has one step
            assert len(upstream.sources()) == datagrams.SOCKETS

    run(work())


def test_a_socket_is_left_after_so_many_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams, "MOST_QUERIES", 5)

    async def work() -> None:
        upstream = Upstream(answering())
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            for number in range(100):
                await asked(plugin, query(f"n{number}.test."))
            assert len(upstream.sources()) >= 15
            statistics = statistics_of(upstream.address)
            assert statistics.hits["udp"] + statistics.misses["udp"] == 100

    run(work())


def test_what_is_idle_is_closed() -> None:
    async def work() -> None:
        upstream = Upstream(answering())
        async with (
            upstream.serving(),
            forwarding(f"forward . {upstream.address} {{\nexpire 10ms\n}}") as plugin,
        ):
            for _ in range(2):
                await asked(plugin)
                await asked(plugin, query(transport="tcp"))
                await asyncio.sleep(0.1)
            assert len(upstream.sources()) == 2
            assert upstream.connections == 2

    run(work())


def test_a_connection_is_used_again() -> None:
    async def work() -> None:
        upstream = Upstream(answering())
        async with upstream.serving(), forwarding(f"forward . {upstream.address} {{\nforce_tcp\n}}") as plugin:
            for _ in range(5):
                await asked(plugin)
            assert (upstream.connections, len(upstream.asked)) == (1, 5)
            upstream.cut_connections()
            await asyncio.sleep(0.05)
            assert addresses(await asked(plugin)) == ["192.0.2.1"]
            statistics = statistics_of(upstream.address)
            assert (statistics.hits["tcp"], statistics.misses["tcp"]) == (4, 2)

    run(work())


def test_a_connection_closed_as_it_is_used_again_is_no_failure() -> None:
    def once(one: Asked) -> Iterable[bytes | Later]:
        first = sum(each.source == one.source for each in upstream.asked) == 1
        return [reply(one, "192.0.2.1")] if first else [Later(0, None)]

    upstream = Upstream(once)

    async def work() -> None:
        async with (
            upstream.serving(),
            forwarding(f"forward . {upstream.address} {{\nforce_tcp\nmax_connect_attempts 1\n}}") as plugin,
        ):
            await asked(plugin)
            assert addresses(await asked(plugin)) == ["192.0.2.1"]
            assert upstream.connections == 2

    run(work())


def test_equal_questions_in_flight_are_asked_once() -> None:
    async def work() -> None:
        upstream = Upstream(lambda one: [Later(0.05, reply(one, "192.0.2.1"))])
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            one = [query("same.test.", ident=number) for number in range(50)]
            other = [query("SAME.test."), query("same.test.", "AAAA"), query("same.test.", transport="tcp")]
            records = await gather(*(asked(plugin, each) for each in one + other))
            assert [record.header.id for record in records[:50]] == list(range(50))
            assert len(upstream.asked) == 4
            await asked(plugin, one[0])
            assert len(upstream.asked) == 5

    run(work())


def test_one_who_gives_up_takes_nobody_along() -> None:
    async def work() -> None:
        upstream = Upstream(lambda one: [Later(0.1, reply(one, "192.0.2.1"))])
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            first, second = (asyncio.create_task(asked(plugin)) for _ in range(2))
            await until(lambda: bool(upstream.asked))
            first.cancel()
            assert addresses(await second) == ["192.0.2.1"]
            assert len(upstream.asked) == 1

    run(work())


def other_question(one: Asked) -> bytes:
    return one.ident + bytes(DNSRecord.question("elsewhere.test.").reply().pack())[2:]


SPOOFS: dict[str, Callable[[Asked], bytes]] = {
    "another id": lambda one: bytes((one.ident[0] ^ 1, one.ident[1])) + reply(one, "203.0.113.66")[2:],
    "another name": other_question,
    "another type": lambda one: one.ident + bytes(DNSRecord.question("example.org.", "AAAA").reply().pack())[2:],
    "the type in another case": lambda one: reply(one)[:-4] + b"\0\x21" + reply(one)[-2:],
    "less than a header": lambda one: one.octets[:11],
    "an octet": lambda _: b"\0",
}


@pytest.mark.parametrize("spoof", SPOOFS.values(), ids=SPOOFS.keys())
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_what_is_no_reply_to_us_does_not_end_the_wait(spoof: Callable[[Asked], bytes], transport: str) -> None:
    async def work() -> None:
        upstream = Upstream(lambda one: [spoof(one), Later(0.05, reply(one, "192.0.2.1"))])
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            assert addresses(await asked(plugin, query(transport=transport))) == ["192.0.2.1"]
            assert statistics_of(upstream.address).strays == 1
            assert len(upstream.asked) == 1

    run(work())


def test_a_reply_from_another_port_is_never_seen() -> None:
    tcp, other = bound_pair()

    def spoofed(one: Asked) -> list[Later]:
        other.sendto(reply(one, "203.0.113.66"), one.source)
        return [Later(0.05, reply(one, "192.0.2.1"))]

    async def work() -> None:
        upstream = Upstream(spoofed)
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            assert addresses(await asked(plugin)) == ["192.0.2.1"]

    with tcp, other:
        run(work())


ODD: dict[str, Callable[[Asked], bytes]] = {
    "no question": lambda one: one.ident + b"\x81\x80" + bytes(8),
    "two questions": lambda one: reply(one)[:4] + b"\0\2" + reply(one)[6:] + reply(one)[12:],
    "not a response": lambda one: one.octets,
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_reply_that_is_none_is_answered_with_formerr(odd: Callable[[Asked], bytes], transport: str) -> None:
    async def work() -> None:
        upstream = Upstream(lambda one: [odd(one)])
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            record = await asked(plugin, query(transport=transport))
            assert (record.header.rcode, record.header.bitmap >> 7, len(record.rr)) == (RCODE.FORMERR, 0x102, 0)
            assert len(upstream.asked) == 1
            assert all(not server.health.failures for server in plugin.rules[0].servers)

    run(work())


def test_a_reply_is_matched_whatever_its_letters() -> None:
    async def work() -> None:
        upstream = Upstream(lambda one: [reply(one)[:12] + reply(one)[12:].lower()])
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            record = await asked(plugin, query("EXAMPLE.org."))
            assert str(record.q.qname) == "EXAMPLE.org."

    run(work())


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        pytest.param(lambda one: reply(one, "192.0.2.1")[:-2], "record cut short", id="cut"),
        pytest.param(lambda one: reply(one)[:6] + b"\0\5" + reply(one)[8:], "cut short", id="counts lie"),
        pytest.param(lambda one: reply(one)[:6] + b"\0\1" + reply(one)[8:] + b"\xc0\x1d", "", id="pointer to itself"),
    ],
)
def test_a_reply_that_cant_be_read_is_a_failure(broken: Callable[[Asked], bytes], text: str) -> None:
    async def work() -> None:
        upstream = Upstream(lambda one: [broken(one)])
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            error = await refused(plugin)
            assert error.rcode == Rcode.SERVFAIL
            assert text in str(error)
            assert len(upstream.asked) - sum(one.record.q.qtype == 2 for one in upstream.asked) == 2

    run(work())


@pytest.mark.parametrize("upstreams", [1, 2, 3])
def test_the_number_of_tries_is_twice_that_of_upstreams(upstreams: int) -> None:
    async def work() -> None:
        async with AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(Upstream(silent).serving()) for _ in range(upstreams)]
            named = " ".join(server.address for server in servers)
            plugin = await stack.enter_async_context(
                forwarding(f"forward . {named} {{\nread_timeout 20ms\nmax_fails 0\n}}")
            )
            assert "i/o timeout" in str(await refused(plugin))
            assert [len(server.asked) for server in servers] == [2] * upstreams

    run(work())
