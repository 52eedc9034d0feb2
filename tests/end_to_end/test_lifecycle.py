"""What is answered while the server starts, and while it ends."""

from __future__ import annotations

import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.client import LOOPBACK, ask, compose
from tests.end_to_end.http import OK, REFUSED, Answer, get, wait_for
from tests.end_to_end.server import COMMAND, PATIENCE, Ports, Server, run, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROBES = "    health {host}:{health} {{\n        lameduck {lameduck}\n    }}\n    ready {host}:{ready}\n"


@pytest.fixture
def ports() -> Iterator[Ports]:
    with Ports() as held:
        yield held


def probes(ports: Ports, lameduck: str = "0s") -> tuple[int, int, str]:
    """Return the ports of /health and /ready, and the lines that ask for them."""
    health, ready = ports.take(), ports.take()
    return health, ready, PROBES.format(host=LOOPBACK, health=health, ready=ready, lameduck=lameduck)


def test_probes_are_answered_while_the_cluster_is_awaited(ports: Ports, tmp_path: Path) -> None:
    """Kubernetes would kill a container whose /health is silent for as long as its API server."""
    health, ready, lines = probes(ports)
    with socket.socket() as silent:
        silent.bind((LOOPBACK, 0))
        silent.listen()
        cluster = f"endpoint http://{LOOPBACK}:{silent.getsockname()[1]}\n        startup_timeout 1h"
        block = f"    kubernetes cluster.local {{\n        {cluster}\n    }}\n"
        (tmp_path / "Corefile").write_text(f".:{ports.take()} {{\n{block}{lines}}}\n")
        with Server(("-conf", "Corefile"), tmp_path, {}, COMMAND) as server:
            server.output.wait_for("waiting for Kubernetes API before starting server")
            assert get(health, "/health") == OK
            assert get(ready, "/ready") == Answer(503, "kubernetes")
            assert not [line for line in server.output.all if line.startswith("kubedns-")]


def test_a_reload_in_lameduck_time_does_not_make_ready_again(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    health, ready, lines = probes(ports, "2s")
    with serving(tmp_path, f".:{port} {{\n{lines}    whoami\n}}\n") as server:
        assert get(ready, "/ready") == OK
        server.send(signal.SIGTERM)
        server.output.wait_for("Going into lameduck mode for 2s")
        wait_for(ready, "/ready", REFUSED)
        said = server.reload()
        assert said == "[ERROR] SIGUSR1: starting with listener file descriptors: the server stops"
        assert get(ready, "/ready") == REFUSED
        assert get(health, "/health") == OK
        assert ask(port, compose("example.org")) is not None
        assert server.process.wait(20) == 0


SLOW_START = """
import asyncio
from pathlib import Path


def setup(directive, block):
    return Slow()


class Slow:
    async def start(self):
        while Path("wait").exists():
            Path("waits").touch()
            await asyncio.sleep(0.01)
"""


def test_a_reload_under_way_when_the_server_ends_is_given_up(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    _, ready, lines = probes(ports, "1s")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "slow.py").write_text(SLOW_START)
    text = f".:{port} {{\n{lines}    slow\n    whoami\n}}\n"
    with serving(tmp_path, text, "-plugin-dir", "plugins") as server:
        (tmp_path / "wait").touch()
        server.send(signal.SIGUSR1)
        wait_until(tmp_path / "waits")
        server.send(signal.SIGTERM)
        server.output.wait_for("Going into lameduck mode for 1s")
        (tmp_path / "wait").unlink()
        said = server.output.wait_for(r"SIGUSR1: starting")
        assert said == "[ERROR] SIGUSR1: starting with listener file descriptors: the server stops"
        assert get(ready, "/ready") != OK
        assert server.process.wait(20) == 0


def wait_until(path: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def foreign(ports: Ports) -> Iterator[int]:
    """Hold a port as a program does that shares it with nobody."""
    with socket.socket() as sock:
        port = ports.take()
        sock.bind((LOOPBACK, port))
        sock.listen()
        yield port


def test_a_health_port_in_use_keeps_the_server_from_starting(foreign: int, ports: Ports, tmp_path: Path) -> None:
    (tmp_path / "Corefile").write_text(f".:{ports.take()} {{\n    health {LOOPBACK}:{foreign}\n    whoami\n}}\n")
    ended = run(tmp_path, "-conf", "Corefile")
    said = f"plugin/health: listen tcp {LOOPBACK}:{foreign}: bind: address already in use\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", said)


def test_a_new_configuration_whose_health_port_is_in_use_is_not_taken_up(
    foreign: int, ports: Ports, tmp_path: Path
) -> None:
    port, (health, ready, lines) = ports.take(), probes(ports)
    text = f".:{port} {{\n{lines}    whoami\n}}\n"
    with serving(tmp_path, text) as server:
        (tmp_path / "Corefile").write_text(text.replace(f":{health}", f":{foreign}"))
        bind = f"plugin/health: listen tcp {LOOPBACK}:{foreign}: bind: address already in use"
        assert server.reload() == f"[ERROR] SIGUSR1: starting with listener file descriptors: {bind}"
        assert f"[ERROR] Restart failed: {bind}" in server.output.all
        assert get(health, "/health") == get(ready, "/ready") == OK
        assert ask(port, compose("example.org")) is not None
        (tmp_path / "Corefile").write_text(text.replace(f":{ready}", f":{foreign}"))
        assert server.reload() == "[INFO] Reloading complete"
        assert any(
            line.startswith(f"[ERROR] plugin/ready: listen tcp {LOOPBACK}:{foreign}") for line in server.output.all
        )
        assert get(health, "/health") == OK
        assert get(ready, "/ready") == REFUSED
        assert server.end() == 0


def test_a_metrics_port_in_use_is_done_without(foreign: int, ports: Ports, tmp_path: Path) -> None:
    port, metrics = ports.take(), ports.take()
    text = f".:{port} {{\n    prometheus {LOOPBACK}:{metrics}\n    whoami\n}}\n"
    with serving(tmp_path, text) as server:
        assert get(metrics, "/metrics").status == 200
        (tmp_path / "Corefile").write_text(text.replace(f":{metrics}", f":{foreign}"))
        assert server.reload() == "[INFO] Reloading complete"
        said = f"listen tcp {LOOPBACK}:{foreign}: bind: address already in use"
        assert f"[ERROR] Failed to start metrics handler: {said}" in server.output.all
        assert get(metrics, "/metrics") == REFUSED
        assert ask(port, compose("example.org")) is not None
        (tmp_path / "Corefile").write_text(text)
        assert server.reload() == "[INFO] Reloading complete"
        assert get(metrics, "/metrics").status == 200
        assert server.end() == 0
