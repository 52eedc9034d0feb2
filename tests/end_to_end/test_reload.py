"""An edited Corefile under a running process comes into effect by itself, as a ConfigMap's does."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.client import ask, compose, parse
from tests.end_to_end.server import COMMAND, Ports, Server, run, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REFUSED = 5
SHA = r"^\[INFO\] plugin/reload: Running configuration SHA512 = [0-9a-f]{128}$"


@pytest.fixture
def ports() -> Iterator[Ports]:
    with Ports() as held:
        yield held


def rcode(port: int, name: str) -> int:
    reply = ask(port, compose(name))
    assert reply is not None
    return parse(reply).rcode()


def corefile(port: int, zone: str) -> str:
    return f"{zone}:{port} {{\n    reload 2s 0s\n    whoami\n}}\n"


def mount(folder: Path, text: str, version: str) -> None:
    """Write a volume as the kubelet does: a folder for each version, and a link that is swapped to it."""
    (folder / version).mkdir()
    (folder / version / "Corefile").write_text(text)
    (folder / "..data_tmp").symlink_to(version)
    (folder / "..data_tmp").replace(folder / "..data")


def test_a_configmap_that_is_edited(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    mount(tmp_path, corefile(port, "a.org"), "..2026_11_25_09_00_00.1")
    (tmp_path / "Corefile").symlink_to("..data/Corefile")
    with Server(("-conf", "Corefile"), tmp_path, {}, COMMAND) as server:
        server.wait_until_started()
        zone, sha, *_ = server.output.all
        assert zone == f"a.org.:{port}"
        assert re.fullmatch(SHA, sha)
        assert rcode(port, "b.org") == REFUSED
        mount(tmp_path, corefile(port, "b.org"), "..2026_11_25_09_01_00.2")
        server.output.wait_for(r"^\[INFO\] Reloading complete$")
        assert rcode(port, "b.org") == 0
        assert rcode(port, "a.org") == REFUSED
        assert server.end() == 0
    said = server.output.all[4:]
    assert said[0] == "[INFO] Reloading"
    assert re.fullmatch(SHA, said[1])
    assert said[1] != sha
    assert said[2:] == ["[INFO] Reloading complete", "[INFO] SIGTERM: Shutting down servers then terminating"]


def test_too_often_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "Corefile").write_text(". {\n    reload 1s\n}\n")
    ended = run(tmp_path, "-conf", "Corefile")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(
        "plugin/reload: interval value must be greater or equal to 2s\n  --> Corefile:2:12\n"
    )


def test_standard_input_is_read_once_and_reloaded_all_the_same(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    file = tmp_path / "text"
    file.write_text(corefile(port, "a.org"))
    shell = ("sh", "-c", 'exec "$@" < text', "sh", *COMMAND)
    with Server(("-conf", "stdin"), tmp_path, {}, shell) as server:
        server.wait_until_started()
        for _ in range(2):
            assert server.reload() == "[INFO] Reloading complete"
            assert rcode(port, "a.org") == 0
            assert rcode(port, "b.org") == REFUSED
        assert server.end() == 0


def test_a_corefile_replaced_by_an_empty_one_changes_nothing(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    with serving(tmp_path, corefile(port, "a.org")) as server:
        (tmp_path / "Corefile").write_text("")
        line = server.output.wait_for("Corefile changed but reload failed")
        assert line.endswith("starting with listener file descriptors: Corefile: no server block in it")
        assert rcode(port, "a.org") == 0
        assert rcode(port, "b.org") == REFUSED
        (tmp_path / "Corefile").write_text(corefile(port, "b.org"))
        server.output.wait_for(r"^\[INFO\] Reloading complete$")
        assert rcode(port, "b.org") == 0
        assert server.end() == 0


def test_a_loop_ends_the_process(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    (tmp_path / "Corefile").write_text(f"example.org:{port} {{\n    loop\n    forward . 127.0.0.1:{port}\n}}\n")
    with Server(("-conf", "Corefile", "-pidfile", "pid"), tmp_path, {}, COMMAND) as server:
        assert server.process.wait(20) == 1
        server.output.join()
    *_, fatal, cure = server.output.all
    assert re.fullmatch(
        rf"\[FATAL\] plugin/loop: Loop \(127\.0\.0\.1:\d+ -> :{port}\) detected for zone \"example\.org\.\", see"
        r" https://coredns\.io/plugins/loop#troubleshooting\. Query: \"HINFO \d+\.\d+\.example\.org\.\"",
        fatal,
    )
    assert cure.startswith(f"  127.0.0.1:{port} sends this server's queries back to it: name an upstream in forward ")
    assert not (tmp_path / "pid").exists()
    assert server.errors.text == ""


def test_a_query_that_waits_for_an_upstream_outlives_the_reload_that_drops_it(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    corefile = f".:{port} {{{{\n    {{}}\n}}}}\n"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream, socket.socket(type=socket.SOCK_DGRAM) as client:
        upstream.bind(("127.0.0.1", 0))
        forward = f"forward . 127.0.0.1:{upstream.getsockname()[1]}"
        upstream.settimeout(20)
        client.settimeout(20)
        client.connect(("127.0.0.1", port))
        with serving(tmp_path, corefile.format(forward)) as server:
            client.send(compose("example.org"))
            query, source = upstream.recvfrom(512)
            (tmp_path / "Corefile").write_text(corefile.format("whoami"))
            assert server.reload() == "[INFO] Reloading complete"
            assert rcode(port, "other.org") == 0
            upstream.sendto(query[:2] + b"\x81\x83" + query[4:], source)  # NXDOMAIN
            assert parse(client.recv(512)).rcode() == 3
            assert server.end() == 0
    assert "[ERROR]" not in server.output.text
