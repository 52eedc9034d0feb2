"""loop: whose probe it is that comes back, and what is said of it."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from kubedns import log
from kubedns.corefile.errors import CorefileError
from kubedns.plugin.contract import ServerBlock
from kubedns.wire.client import Peer
from kubedns.wire.query import parse_query
from kubedns.wire.reply import Reply
from plugins import loop
from tests.plugins.helpers import answering, directive, placed, query
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from kubedns.wire.query import Query

PATIENCE = 10  # seconds
NEXT = answering(Reply())
FATAL = (
    r"\[FATAL\] plugin/loop: Loop \((\S+) -> (\S+)\) detected for zone \"(\S+)\", see"
    r" https://coredns\.io/plugins/loop#troubleshooting\. Query: \"HINFO (\d{1,19}\.\d{1,19}\.\S*)\"\n  (.*)\n"
)


class LeftError(Exception):
    """The process would have ended."""


@pytest.fixture(autouse=True)
def leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(status: int) -> None:
        assert status == 1
        raise LeftError

    monkeypatch.setattr(log.output, "leave", leave)


class Upstream:
    def upstreams(self) -> list[str]:
        return ["127.0.0.53:53", "10.0.0.2:53"]


class Server:
    """Where the block listens: hands probes out, and answers them when it is told to."""

    def __init__(self, zone: str, *, forwards: bool = True, secret: bytes = b"") -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]
        plugins = [("forward", Upstream())] if forwards else [("hosts", object())]
        block = ServerBlock((zone, "b.org."), listens=("127.0.0.1", self.port), plugins=plugins, secret=secret)
        self.plugin = loop.setup(directive("loop"), block)
        self.listens = ("127.0.0.1", self.port)
        self._client = ("", 0)

    async def probe(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            octets, self._client = await asyncio.get_running_loop().sock_recvfrom(self.socket, 512)
        return octets

    def answer(self, probe: bytes) -> None:
        self.socket.sendto(probe[:2] + bytes([probe[2] | 0x80, 3]) + probe[4:], self._client)

    def seen(self, probe: bytes, client: tuple[str, int] | None = None) -> Query:
        return parse_query(probe, Peer("udp", client or self._client, ("127.0.0.1", self.port)))

    async def idle(self) -> None:
        await until(lambda: self.plugin._task is None)  # noqa: SLF001 - what tells that it probes no more


@asynccontextmanager
async def serving(zone: str = ".", *, forwards: bool = True, secret: bytes = b"") -> AsyncIterator[Server]:
    server = Server(zone, forwards=forwards, secret=secret)
    server.plugin.begin()
    try:
        yield server
    finally:
        await server.plugin.stop()
        server.socket.close()


def run(work: Coroutine[None, None, None]) -> None:
    asyncio.run(work)


def test_a_probe_as_it_is_sent() -> None:
    async def main() -> None:
        async with serving("Example.org.".lower()) as server:
            probe = await server.probe()
            asked = server.seen(probe)
            assert probe[2:12] == bytes.fromhex("0100 0001 0000 0000 0000")  # RD, and one question
            assert (asked.rrtype, asked.rrclass) == (13, 1)
            assert re.fullmatch(rb"\d{1,19}\.\d{1,19}\.example\.org", b".".join(asked.labels))
            async with serving("example.org.") as other:
                assert other.seen(await other.probe()).name != asked.name

    run(main())


@pytest.mark.parametrize("forwards", [True, False])
def test_a_probe_that_comes_back(capsys: pytest.CaptureFixture[str], *, forwards: bool) -> None:
    async def main() -> None:
        async with serving(forwards=forwards) as server:
            probe = await server.probe()
            assert (await server.plugin.resolve(server.seen(probe), NEXT)).rcode == 0
            with pytest.raises(LeftError):
                await server.plugin.resolve(server.seen(probe, ("127.0.0.1", 1)), NEXT)
            found = re.fullmatch(FATAL, capsys.readouterr().out)
            assert found is not None
            name = b".".join(server.seen(probe).labels).decode() + "."
            assert found.groups()[:4] == ("127.0.0.1:1", f"127.0.0.1:{server.port}", ".", name)
            told = (
                "one of 127.0.0.53:53, 10.0.0.2:53 sends this server's queries back to it: name an upstream in forward "
            )
            assert found[5].startswith(told if forwards else "name an upstream in forward ")

    run(main())


def test_a_probe_that_comes_back_from_its_own_port() -> None:
    """As through address translation that keeps ports: the third sighting counts, as in CoreDNS."""

    async def main() -> None:
        async with serving() as server:
            asked = server.seen(await server.probe())
            await server.plugin.resolve(asked, NEXT)
            await server.plugin.resolve(asked, NEXT)
            with pytest.raises(LeftError):
                await server.plugin.resolve(asked, NEXT)

    run(main())


def test_workers_know_each_others_probes() -> None:
    async def main() -> None:
        async with serving(secret=b"a") as one, serving(secret=b"a") as other, serving(secret=b"b") as stranger:
            for _ in range(5):  # a probe may come to any worker, and each probes
                probe = await one.probe()
                for plugin in (one.plugin, other.plugin):
                    await plugin.resolve(one.seen(probe), NEXT)
                await stranger.plugin.resolve(one.seen(probe, ("192.0.2.1", 5)), NEXT)
                await one.plugin.stop()
                one.plugin = loop.setup(directive("loop"), ServerBlock((".",), listens=one.listens, secret=b"a"))
                one.plugin.begin()
            with pytest.raises(LeftError):
                await other.plugin.resolve(one.seen(await one.probe(), ("192.0.2.1", 5)), NEXT)

    run(main())


def test_other_queries_pass() -> None:
    async def main() -> None:
        async with serving("example.org.") as server:
            probe = await server.probe()
            name = b".".join(server.seen(probe).labels).decode()
            for _ in range(5):
                await server.plugin.resolve(query(name, "A"), NEXT)
                await server.plugin.resolve(query("1.2.example.org.", "HINFO"), NEXT)
                await server.plugin.resolve(query(f"x.{name}", "HINFO"), NEXT)

    run(main())


def test_letter_case_does_not_matter() -> None:
    async def main() -> None:
        async with serving("example.org.") as server:
            probe = await server.probe()
            with pytest.raises(LeftError):
                await server.plugin.resolve(server.seen(probe.replace(b"example", b"eXAMPLE"), ("192.0.2.1", 5)), NEXT)

    run(main())


def test_after_a_reply_nothing_is_probed_any_more() -> None:
    async def main() -> None:
        async with serving() as server:
            probe = await server.probe()
            server.answer(b"xx" + probe[2:])  # another query's reply
            await asyncio.sleep(0.05)
            assert server.plugin._task is not None  # noqa: SLF001 - as above
            server.answer(probe)
            await server.idle()
            for _ in range(5):
                await server.plugin.resolve(server.seen(probe, ("192.0.2.1", 5)), NEXT)

    run(main())


def test_without_a_reply_it_is_probed_again_and_sightings_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "TIMEOUT", 0.05)
    monkeypatch.setattr(loop, "PAUSE", 0.05)

    async def main() -> None:
        async with serving() as server:
            for _ in range(4):
                probe = await server.probe()
                await server.plugin.resolve(server.seen(probe), NEXT)
            server.answer(await server.probe())
            await server.idle()

    run(main())


def test_nobody_answers_for_thirty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PROBING", 0.2)
    monkeypatch.setattr(loop, "PAUSE", 0.01)

    async def main() -> None:
        async with serving() as server:
            probe = await server.probe()
            server.socket.close()  # refused from here on
            await server.idle()
            await server.plugin.resolve(server.seen(probe, ("192.0.2.1", 5)), NEXT)

    run(main())


def test_a_zone_with_no_room_for_a_probe() -> None:
    async def main() -> None:
        label = "x" * 62 + "."
        async with serving(label * 4) as server:
            await server.idle()

    run(main())


REFUSED = {
    "loop x": ("Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after 'x'", "2:6"),
    "loop\nloop": ("this plugin can only be used once per Server Block", "3:1"),
}


@pytest.mark.parametrize(("text", "message", "place"), [(text, *row) for text, row in REFUSED.items()], ids=REFUSED)
def test_refused(text: str, message: str, place: str) -> None:
    with pytest.raises(CorefileError) as raised:
        loop.setup(directive(text), ServerBlock((".",)))
    assert str(raised.value) == message
    assert placed(raised.value) == place
