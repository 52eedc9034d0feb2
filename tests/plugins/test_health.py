"""health: alive over HTTP, in lameduck time too; and whether the process finds itself slow."""

from __future__ import annotations

import asyncio
import socket
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from kubedns.corefile.errors import CorefileError
from kubedns.plugin.contract import ServerBlock, StartError
from kubedns.server import parts
from plugins import health
from tests.end_to_end.client import ask, compose
from tests.end_to_end.server import Ports, serving
from tests.plugins.helpers import directive, placed, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = ServerBlock((".",))


@pytest.fixture
def ports() -> Iterator[Ports]:
    with Ports() as held:
        yield held


def get(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_the_process_from_start_to_end(ports: Ports, tmp_path: Path) -> None:
    """Two blocks share an address; ready closes at once, health and queries go on for the lameduck time."""
    port, healthy, ready = ports.take(), ports.take(), ports.take()
    plugins = (
        f"    health 127.0.0.1:{healthy} {{\n        lameduck 1s\n    }}\n    ready 127.0.0.1:{ready}\n    whoami\n"
    )
    corefile = f"a.test:{port} {{\n{plugins}}}\nb.test:{port} {{\n{plugins}}}\n"
    with serving(tmp_path, corefile) as server:
        assert get(healthy, "/health") == (200, b"OK")
        assert get(healthy, "/healthz") == (404, b"404 page not found\n")
        assert get(ready, "/ready") == (200, b"OK")
        start = time.monotonic()
        server.process.terminate()
        server.output.wait_for("Going into lameduck mode for 1s")
        assert get(healthy, "/health") == (200, b"OK")
        assert ask(port, compose("a.test")) is not None
        with pytest.raises(urllib.error.URLError, match="refused"):
            get(ready, "/ready")
        assert server.process.wait(10) == 0
        assert 2 <= time.monotonic() - start < 6  # one lameduck time after the other


def test_a_reload_keeps_the_listener_and_has_no_lameduck(ports: Ports, tmp_path: Path) -> None:
    port, old, new, taken = ports.take(), ports.take(), ports.take(), ports.take()

    def corefile(at: int) -> str:
        return f".:{port} {{\n    health 127.0.0.1:{at} {{\n        lameduck 30s\n    }}\n    whoami\n}}\n"

    with serving(tmp_path, corefile(old)) as server, socket.socket() as foreign:
        before = time.monotonic()
        assert server.reload() == "[INFO] Reloading complete"
        assert get(old, "/health") == (200, b"OK")
        foreign.bind(("127.0.0.1", taken))
        foreign.listen()
        (tmp_path / "Corefile").write_text(corefile(taken))
        assert "starting with listener file descriptors" in server.reload()
        said = f"plugin/health: listen tcp 127.0.0.1:{taken}: bind: address already in use"
        assert said in server.output.text
        assert get(old, "/health") == (200, b"OK")
        (tmp_path / "Corefile").write_text(corefile(new))
        assert server.reload() == "[INFO] Reloading complete"
        assert get(new, "/health") == (200, b"OK")
        with pytest.raises(urllib.error.URLError, match="refused"):
            get(old, "/health")
        assert time.monotonic() - before < 15


def test_an_address_that_cannot_be_had() -> None:
    plugin = health.setup(directive("health 192.0.2.1:8080"), BLOCK)
    with pytest.raises(StartError) as raised:
        asyncio.run(plugin.start())
    said = "plugin/health: listen tcp 192.0.2.1:8080: bind: cannot assign requested address"
    assert str(raised.value) == said


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5), ("0", 0), ("-5s", 0), ("1m30s", 90)])
def test_lameduck(text: str, seconds: float, capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> float:
        before = asyncio.get_running_loop().time()
        await health.setup(directive(f"health {{\nlameduck {text}\n}}"), BLOCK).linger()
        return asyncio.get_running_loop().time() - before

    assert run(work()) == seconds
    said = f"[INFO] plugin/health: Going into lameduck mode for {text}\n" if seconds else ""
    assert capsys.readouterr().out == said


def test_several_lameduck_times_follow_one_another(capsys: pytest.CaptureFixture[str]) -> None:
    """As CoreDNS runs its shutdown hooks."""

    async def work() -> tuple[list[Exception], float]:
        before = asyncio.get_running_loop().time()
        blocks = [health.setup(directive(f"health {{\nlameduck {text}\n}}"), BLOCK) for text in ("5s", "0", "2s")]
        failed = await parts.linger(blocks)
        return failed, asyncio.get_running_loop().time() - before

    assert run(work()) == ([], 7)
    said = [f"[INFO] plugin/health: Going into lameduck mode for {text}" for text in ("5s", "2s")]
    assert capsys.readouterr().out.splitlines() == said


async def watch(address: str, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(health, "PERIOD", 0.02)
    task = asyncio.create_task(health.watch(address))
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_the_look_at_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        plugin = health.setup(directive("health 127.0.0.1:0"), ServerBlock((".",)))
        await plugin.start()
        listener = plugin._endpoint.listener  # noqa: SLF001 - its port is chosen by the system
        await watch(f"127.0.0.1:{listener.port}", monkeypatch, 0.2)
        await plugin.stop()

    before, failed = sum(health.durations.counts), health.failures.value
    asyncio.run(work())
    assert sum(health.durations.counts) > before + 2
    assert health.failures.value == failed


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = health.failures.value
    asyncio.run(watch("127.0.0.1:1", monkeypatch, 0.1))
    assert health.failures.value > before
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith('[WARNING] plugin/health: Local health request to "http://127.0.0.1:1/health" failed: ')


def test_an_answer_that_takes_long(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def slow(_: str) -> None:
        await asyncio.sleep(0.05)

    monkeypatch.setattr(health, "SLOW", 0.01)
    monkeypatch.setattr(health, "request", slow)
    asyncio.run(watch(":8080", monkeypatch, 0.1))
    assert 'Local health request to "http://:8080/health" took more than 1s: ' in capsys.readouterr().out


REFUSED = [
    ("address", "health bla", "address bla: missing port in address", "2:8"),
    (
        "arguments",
        "health a:1 b:2",
        "Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after 'b:2'",
        "2:12",
    ),
    ("option", "health {\nlamedudk 4\n}", "Corefile:3 - Error during parsing: unknown property 'lamedudk'", "3:1"),
    (
        "duration",
        "health {\nlameduck a\n}",
        "unable to parse lameduck duration value: 'a' : time: invalid duration \"a\"",
        "3:10",
    ),
]


@pytest.mark.parametrize(("text", "message", "place"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(text: str, message: str, place: str) -> None:
    with pytest.raises(CorefileError) as raised:
        health.setup(directive(text), BLOCK)
    assert str(raised.value) == message
    assert placed(raised.value) == place
