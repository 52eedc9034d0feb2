"""Signals: what ends the server and how, and what makes it read its Corefile again without losing a query."""

from __future__ import annotations

import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.client import LOOPBACK, Stream, ask, ask_tcp, compose, parse
from tests.end_to_end.server import COMMAND, Ports, Server, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REFUSED = 5
SLOW_STOP = """
import asyncio
from pathlib import Path
from kubedns.wire.reply import Reply

SECONDS, FAILS = {seconds}, {fails}


def setup(directive, block):
    return Slow()


class Slow:
    async def resolve(self, query, pass_on):
        await asyncio.sleep(0.5)
        return Reply()

    async def stop(self):
        await asyncio.sleep(SECONDS)
        Path("stopped").touch()
        if FAILS:
            raise OSError("cannot stop")
"""


@pytest.fixture
def ports() -> Iterator[Ports]:
    with Ports() as held:
        yield held


def whoami(port: int, zone: str = ".") -> str:
    return f"{zone}:{port} {{\n    whoami\n}}\n"


def with_slow_plugin(folder: Path, port: int, *, seconds: float = 0, fails: bool = False) -> tuple[str, str, str]:
    """Return Corefile and flags for a plugin that answers after half a second, and takes its time to stop."""
    (folder / "plugins").mkdir()
    (folder / "plugins" / "slow.py").write_text(SLOW_STOP.format(seconds=seconds, fails=fails))
    return f".:{port} {{\n    slow\n}}\n", "-plugin-dir", "plugins"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGTERM, "[INFO] SIGTERM: Shutting down servers then terminating"),
        (signal.SIGINT, "[INFO] SIGINT: Shutting down"),
        (signal.SIGQUIT, "[INFO] SIGQUIT: Quitting process immediately"),
    ],
)
def test_a_signal_ends_the_server(number: signal.Signals, said: str, ports: Ports, tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    with serving(tmp_path, whoami(ports.take()), "-pidfile", "pid") as server:
        start = time.monotonic()
        assert server.end(number) == 0
        assert time.monotonic() - start < 3
    assert server.output.all[-1] == said
    assert server.errors.text == ""
    assert not pidfile.exists()


def test_sigterm_lets_what_is_in_flight_be_answered(ports: Ports, tmp_path: Path) -> None:
    corefile, *flags = with_slow_plugin(tmp_path, port := ports.take())
    with (
        serving(tmp_path, corefile, *flags) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        Stream(port) as stream,
    ):
        client.settimeout(5)
        client.connect((LOOPBACK, port))
        client.send(compose("example.org"))
        stream.send(compose("example.org"))
        time.sleep(0.2)  # in flight by now, and for 0.3 seconds more
        assert server.end() == 0
        assert client.recv(512)
        assert stream.receive()
    assert (tmp_path / "stopped").exists()


def test_sigint_runs_the_hooks_and_a_second_one_does_not_wait_for_them(ports: Ports, tmp_path: Path) -> None:
    corefile, *flags = with_slow_plugin(tmp_path, ports.take(), seconds=60)
    with serving(tmp_path, corefile, *flags) as server:
        server.send(signal.SIGINT)
        server.output.wait_for("SIGINT: Shutting down")
        time.sleep(0.2)
        assert server.process.poll() is None
        assert server.end(signal.SIGINT) == 2
    assert server.output.all[-1] == "[INFO] SIGINT: Force quit"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_hook_that_fails_makes_the_status_4(number: signal.Signals, ports: Ports, tmp_path: Path) -> None:
    corefile, *flags = with_slow_plugin(tmp_path, ports.take(), fails=True)
    with serving(tmp_path, corefile, *flags) as server:
        assert server.end(number) == 4
    assert (tmp_path / "stopped").exists()
    assert "cannot stop" in server.output.text


def test_sighup_and_sigusr2_change_nothing(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with serving(tmp_path, whoami(port)) as server:
        server.send(signal.SIGHUP)
        server.send(signal.SIGUSR2)
        assert server.output.wait_for("SIGUSR2").startswith("[WARNING] SIGUSR2: ")
        assert ask(port, compose("example.org")) is not None
        assert server.end() == 0


def test_a_reload_changes_zones_and_ports(ports: Ports, tmp_path: Path) -> None:
    kept, old, new = ports.take(), ports.take(), ports.take()
    with serving(tmp_path, whoami(kept, "a.org") + whoami(old)) as server, Stream(kept) as stream:
        (tmp_path / "Corefile").write_text(whoami(kept, "b.org") + whoami(new))
        before = len(server.output.all)
        assert server.reload() == "[INFO] Reloading complete"
        assert server.output.all[before:] == [
            "[INFO] SIGUSR1: Reloading",
            "[INFO] Reloading",
            "[INFO] Reloading complete",
        ]
        assert rcode(kept, "a.org") == REFUSED
        assert rcode(kept, "b.org") == rcode(new, "example.org") == 0
        assert ask(old, compose("example.org"), timeout=0.5) is None
        with pytest.raises(ConnectionRefusedError):
            ask_tcp(old, compose("example.org"))
        stream.send(compose("b.org"))  # a connection made before outlives it
        reply = stream.receive()
        assert reply is not None
        assert parse(reply).rcode() == 0


def rcode(port: int, name: str) -> int:
    reply = ask(port, compose(name))
    assert reply is not None
    return parse(reply).rcode()


@pytest.mark.parametrize(
    ("corefile", "said"),
    [
        ("a.org {{\n    nonsense\n}}\n", "Corefile:2 - Error during parsing: Unknown directive 'nonsense'"),
        (".:{port} {{\n    whoami x\n}}\n", "plugin/whoami: Corefile:2 - Error during parsing: Wrong argument count"),
        ("a.org {{\n", "Corefile:1 - Syntax error: Unexpected token '{{', expecting '}}'"),
        (".:{port} .:{held} {{\n    whoami\n}}\n", "Listen: listen tcp :{held}: bind: address already in use"),
        (None, "open Corefile: no such file or directory"),
    ],
    ids=["unknown directive", "setup", "syntax", "a port that another holds", "gone"],
)
def test_a_reload_that_fails_leaves_the_old_one(corefile: str | None, said: str, ports: Ports, tmp_path: Path) -> None:
    port, held = ports.take(), ports.take()
    with serving(tmp_path, whoami(port)) as server, socket.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a server before may linger
        other.bind(("::", held))
        other.listen()
        (tmp_path / "Corefile").unlink()
        if corefile is not None:
            (tmp_path / "Corefile").write_text(corefile.format(port=port, held=held))
        said = said.format(port=port, held=held)
        line = server.reload()
        assert line.startswith("[ERROR] SIGUSR1: starting with listener file descriptors: ")
        assert said in line
        assert any(one.startswith("[ERROR] Restart failed: ") and said in one for one in server.output.all)
        assert rcode(port, "example.org") == 0
        (tmp_path / "Corefile").write_text(whoami(port, "b.org"))
        assert server.reload() == "[INFO] Reloading complete"
        assert rcode(port, "example.org") == REFUSED
        assert server.end() == 0


def test_signals_while_a_reload_is_under_way(ports: Ports, tmp_path: Path) -> None:
    """Reloads that come too fast are done or left out, none of them half; SIGTERM ends it all the same."""
    port = ports.take()
    with serving(tmp_path, whoami(port)) as server:
        for _ in range(20):
            server.send(signal.SIGUSR1)
        server.output.wait_for("Reloading complete")
        assert ask(port, compose("example.org")) is not None
        server.send(signal.SIGUSR1)
        assert server.end() == 0
    assert "Traceback" not in server.output.text + server.errors.text


SLOW_START = """
import asyncio
from kubedns.log import plugin_log


def setup(directive, block):
    return Slow()


class Slow:
    async def start(self):
        plugin_log("slow").info("starting")
        await asyncio.sleep(0.5)

    async def resolve(self, query, pass_on):
        return await pass_on(query)
"""


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGUSR1, "Reloading complete"),
        (signal.SIGTERM, "SIGTERM: Shutting down"),
        (signal.SIGINT, "SIGINT: Shutting down"),
    ],
)
def test_a_signal_while_the_server_starts_waits_its_turn(
    number: signal.Signals, said: str, ports: Ports, tmp_path: Path
) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "slow.py").write_text(SLOW_START)
    (tmp_path / "Corefile").write_text(f".:{ports.take()} {{\n    slow\n    whoami\n}}\n")
    with Server(("-conf", "Corefile", "-plugin-dir", "plugins"), tmp_path, {}, COMMAND) as server:
        server.output.wait_for("plugin/slow: starting")
        server.send(number)
        server.output.wait_for(said)
        assert server.end() == 0
    assert "Traceback" not in server.output.text + server.errors.text


def test_a_server_that_is_killed_leaves_its_port(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with serving(tmp_path, whoami(port)) as server:
        assert server.end(signal.SIGKILL) == -signal.SIGKILL
        with serving(tmp_path, whoami(port)):
            assert ask(port, compose("example.org")) is not None
