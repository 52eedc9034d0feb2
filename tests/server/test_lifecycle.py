"""Plugins that do not start, or do not stop."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from kubedns.plugin.contract import StartError
from kubedns.server import lifecycle, parts
from kubedns.server.lifecycle import Server
from kubedns.wire.client import Peer
from tests.loading import load
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from pathlib import Path

    from kubedns.server.configuration import Configuration
    from kubedns.server.lifecycle import Configure

PLUGIN = """
class P:
    async def start(self):
        {start}
    async def stop(self):
        {stop}
    async def resolve(self, query, pass_on):
        return await pass_on(query)
def setup(directive, block):
    return P()
"""


OLDEST = 2  # the collector's generation
CACHED = 100_000  # objects
QUESTION = bytes.fromhex("000101000001000000000000") + b"\x07example\x03org\0" + b"\0\x01\0\x01"


@pytest.fixture(autouse=True)
def forget_module() -> Iterator[None]:
    yield
    sys.modules.pop("kubedns_dropped_in_mine", None)


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def configured(configuration: Configuration) -> Configure:
    async def configure(_: object) -> Configuration:
        return configuration

    return configure


def server(folder: Path, start: str = "pass", stop: str = "pass") -> tuple[Server, Configure]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    (folder / "mine.py").write_text(PLUGIN.format(start=start, stop=stop))
    text = f".:{port} {{\n    bind 127.0.0.1\n    mine\n    whoami\n}}\n"
    configuration = load(text, plugins=folder)
    return Server(), configured(configuration)


def test_a_start_that_fails_names_the_plugin_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        starting, configure = server(tmp_path, 'raise ValueError("boom")', 'print("stopped")')
        with pytest.raises(StartError, match="plugin/mine: start: ValueError: boom\nTraceback"):
            await starting.start(configure)
        assert await starting.stop_plugins() == []

    run(main())
    assert capsys.readouterr().out == ""


def test_a_stop_that_takes_too_long_is_left_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MOST_STOPPING", 0.1)

    async def main() -> None:
        running, configure = server(tmp_path, stop="import asyncio; await asyncio.sleep(60)")
        await running.start(configure)
        await running.close()
        assert len(await running.stop_plugins()) == 1

    run(main())
    assert "stopping P takes longer than 0 s: left behind" in capsys.readouterr().out


LINGERING = """
class P:
    def __init__(self, text):
        self.text = text
    async def linger(self):
        {linger}
def setup(directive, block):
    return P(directive.texts[0])
"""


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ('raise OSError("boom")', "lingering P: OSError: boom"),
        ('raise TimeoutError("boom")', "lingering P: TimeoutError: boom"),
        ("t = asyncio.create_task(asyncio.sleep(60)); t.cancel(); await t", None),
    ],
    ids=["an error", "a time-out of its own", "a task that it cancelled"],
)
def test_one_that_fails_to_linger_keeps_no_other_from_it(
    failing: str, said: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = f"import asyncio; await asyncio.sleep(0); print(self.text)\n        if self.text == 'a': {failing}"
    (tmp_path / "mine.py").write_text(LINGERING.format(linger=code))
    text = "".join(f"{zone}:53 {{\n    mine {zone}\n    whoami\n}}\n" for zone in "abc")

    async def main() -> None:
        failed = await parts.linger(load(text, plugins=tmp_path).parts)
        assert len(failed) == (said is not None)

    run(main())
    assert capsys.readouterr().out == "a\n" + (f"[ERROR] {said}\n" if said else "") + "b\nc\n"


def test_a_stop_that_awaits_the_task_it_cancelled_is_a_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        stop = "import asyncio; t = asyncio.create_task(asyncio.sleep(60)); t.cancel(); await t"
        running, configure = server(tmp_path, stop=stop)
        await running.start(configure)
        await running.close()
        assert await running.stop_plugins() == []

    run(main())
    assert capsys.readouterr().out == ""


def test_a_server_that_is_told_to_stop_while_plugins_are_set_up_goes_on_with_those_it_has(tmp_path: Path) -> None:
    async def main() -> None:
        running, configure = server(tmp_path)
        old = await running.start(configure)
        new = load(".:53 {\n    whoami\n}\n")  # nothing in it is to be started
        closing: list[asyncio.Task[None]] = []

        async def told_meanwhile(_: object) -> Configuration:
            closing.append(asyncio.get_running_loop().create_task(running.close()))
            await asyncio.sleep(0)
            return new

        with pytest.raises(StartError, match="the server stops"):
            await running.reload(told_meanwhile)
        assert running.configuration is old
        await asyncio.gather(*closing)
        assert await running.stop_plugins() == []

    run(main())


def test_what_the_kernel_holds_when_the_server_stops_is_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        running, configure = server(tmp_path)
        configuration = await running.start(configure)
        [address] = configuration.groups
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect((address.host, address.port))
            client.settimeout(5)
            for _ in range(50):
                client.send(QUESTION)
            await running.close()  # the loop has had no turn to read them
            assert all(client.recv(512)[3] & 15 == 0 for _ in range(50))
        await running.stop_plugins()

    run(main())
    assert capsys.readouterr().out == ""


WAITING = """
import asyncio
from kubedns.wire.reply import Reply
class P:
    entered = stopped = False
    def __init__(self):
        self.may = asyncio.Event()
    async def stop(self):
        self.stopped = True
    async def resolve(self, query, pass_on):
        self.entered = True
        await self.may.wait()
        return Reply() if not self.stopped else 1 / 0
def setup(directive, block):
    return P()
"""


@asynccontextmanager
async def a_query_waits(folder: Path) -> AsyncIterator[tuple[Server, Any, socket.socket]]:
    """Give a server that has replaced the plugin which a query still waits for, that plugin, and the client."""
    running, configure = server(folder)
    (folder / "mine.py").write_text(WAITING)
    sys.modules.pop("kubedns_dropped_in_mine", None)
    [address] = (await configure({})).groups
    text = f".:{address.port} {{\n    bind 127.0.0.1\n    mine\n}}\n"
    old, new = load(text, plugins=folder), load(text.replace("mine", "whoami"), plugins=folder)
    await running.start(configured(old))
    [(_, plugin)] = old.plugins
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((address.host, address.port))
        client.setblocking(False)
        client.send(QUESTION)
        await until(lambda: plugin.entered)
        async with asyncio.timeout(5):
            await running.reload(configured(new))
        yield running, plugin, client
        await running.close()
        assert await running.stop_plugins() == []
        assert plugin.stopped


async def rcode(client: socket.socket) -> int:
    async with asyncio.timeout(5):
        return (await asyncio.get_running_loop().sock_recv(client, 512))[3] & 15


def test_a_plugin_is_stopped_behind_its_last_query(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_query_waits(tmp_path) as (_, plugin, client):
            assert not plugin.stopped
            client.send(QUESTION)
            assert await rcode(client) == 0  # the new configuration answers meanwhile
            assert not plugin.stopped
            plugin.may.set()
            assert await rcode(client) == 0
            await until(lambda: plugin.stopped)

    run(main())


def test_a_plugin_is_stopped_though_a_query_waits_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "DRAIN_OLD", 0.1)

    async def main() -> None:
        async with a_query_waits(tmp_path) as (_, plugin, _client):
            await until(lambda: plugin.stopped)
            plugin.may.set()

    run(main())


def test_a_server_that_ends_waits_no_longer_for_the_configuration_before(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_query_waits(tmp_path) as (running, plugin, _):
            assert await running.stop_plugins() == []
            assert plugin.stopped
            plugin.may.set()

    run(main())


def test_a_reload_does_not_go_through_what_is_cached(tmp_path: Path) -> None:
    """The collector holds all answers up meanwhile: 300 ms where caches are full."""
    held: list[list[object]] = []
    tracked: list[int] = []

    def look(phase: str, about: dict[str, int]) -> None:
        if phase == "start" and about["generation"] == OLDEST:
            tracked.append(len(gc.get_objects()))

    async def main() -> None:
        running, configure = server(tmp_path)
        await running.start(configure)
        await asyncio.sleep(0)
        held.extend([] for _ in range(CACHED))
        gc.callbacks.append(look)
        try:
            await running.reload(configure)
            await asyncio.sleep(0)
        finally:
            gc.callbacks.remove(look)
        await running.close()
        await running.stop_plugins()

    run(main())
    assert tracked
    assert max(tracked) < CACHED


def test_a_reload_leaves_no_replies_that_only_the_collector_would_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    text = f".:{port} {{\n    bind 127.0.0.1\n    hosts /dev/null {{\n        192.0.2.7 example.org\n    }}\n}}\n"

    async def main() -> None:
        running = Server()
        await running.start(configured(load(text)))
        [(udp, _)] = running._listeners.values()  # noqa: SLF001 - what no client can see
        client = Peer("udp", ("192.0.2.1", 1), ("192.0.2.2", 53))
        asyncio.get_running_loop().call_soon(lambda: [udp.answer(QUESTION, client, 0.0) for _ in range(3)])
        await asyncio.sleep(0)
        wirecache = running._wirecache  # noqa: SLF001 - as above
        assert wirecache is not None
        assert len(wirecache) == 1
        kept = weakref.ref(wirecache)
        del wirecache
        await running.reload(configured(load(text)))
        assert kept() is None
        await running.close()
        await running.stop_plugins()

    run(main())
