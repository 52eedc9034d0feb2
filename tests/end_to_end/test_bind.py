"""Blocks of one port that are bound to different addresses."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from kubedns.listeners.sockets import ALL_IPV4
from tests.end_to_end.client import LOOPBACK, ask, ask_tcp, compose
from tests.end_to_end.server import PATIENCE, Ports, serving
from tests.end_to_end.workers import CLIENTS, Load, who_answers, write_plugin

if TYPE_CHECKING:
    from pathlib import Path

NOERROR, REFUSED = 0, 5
ANYWHERE = "a.test:{port} {{\n    {any}\n    {workers}\n    hosts /dev/null {{\n        192.0.2.1 a.test\n    }}\n}}\n"
BOUND = "b.test:{port} {{\n    bind {bound}\n    hosts /dev/null {{\n        192.0.2.2 b.test\n    }}\n}}\n"


def rcodes(port: int, host: str, name: str) -> set[int]:
    """Return what clients are told over UDP and TCP, -1 for nothing."""
    replies = [one(port, compose(name), host=host) for one in (ask, ask_tcp) for _ in range(CLIENTS)]
    return {-1 if reply is None else reply[3] & 15 for reply in replies}


@pytest.mark.parametrize("workers", ["", "multisocket 2"], ids=["alone", "workers"])
@pytest.mark.parametrize("everywhere", ["", "bind ::"], ids=["unbound", "all"])
@pytest.mark.parametrize(
    ("bound", "there", "elsewhere"),
    [(ALL_IPV4, "127.0.0.1", "::1"), ("127.0.0.1", "127.0.0.1", "127.0.0.2"), ("::1", "::1", "127.0.0.1")],
)
def test_queries_to_an_address_reach_the_block_that_is_bound_to_it(
    bound: str, there: str, elsewhere: str, everywhere: str, workers: str, tmp_path: Path
) -> None:
    """From the start, and after reloads away from it and back; 0.0.0.0 is an address of its own."""
    with Ports() as ports:
        port = ports.take()
        alone = ANYWHERE.format(port=port, any=everywhere, workers=workers)
        both = alone + BOUND.format(port=port, bound=bound)
        with serving(tmp_path, both) as server:
            for corefile in (both, alone, both):
                (tmp_path / "Corefile").write_text(corefile)
                assert "complete" in server.reload()
                told = (REFUSED, NOERROR) if corefile == both else (NOERROR, REFUSED)
                assert [rcodes(port, there, name) for name in ("a.test", "b.test")] == [{rcode} for rcode in told]
                assert [rcodes(port, elsewhere, name) for name in ("a.test", "b.test")] == [{NOERROR}, {REFUSED}]
            assert server.end() == 0


@pytest.mark.parametrize("bound", [ALL_IPV4, LOOPBACK])
def test_what_a_worker_has_closed_gets_nothing_more_while_another_answers_yet(bound: str, tmp_path: Path) -> None:
    """Of two workers one has to wait before it closes the sockets of a block that is gone, the other has not."""
    with Ports() as ports:
        port = ports.take()
        without = f".:{port} {{\n    multisocket 2\n    who\n}}\n"
        beside = without + f"example.org:{port} {{\n    bind {bound}\n    who\n}}\n"
        with serving(tmp_path, beside, "-plugin-dir", write_plugin(tmp_path)) as server, Load(port) as load:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(PATIENCE)
                client.connect((LOOPBACK, port))
                client.send(compose("slow.example.org", "TXT"))
                (tmp_path / "Corefile").write_text(without)
                assert "complete" in server.reload()
                assert client.recv(512)
            load.wait_for(CLIENTS)
            assert len(who_answers(port)) == 2
        # What comes between a worker's last look and its closing is lost; it was all that the kernel put there.
        assert load.lost < CLIENTS / 4


@pytest.mark.parametrize("bound", [ALL_IPV4, "::", f"{ALL_IPV4} ::"])
def test_all_addresses_are_those_of_both_families(bound: str, tmp_path: Path) -> None:
    """As in CoreDNS, by Go's net.Listen; both at once are no two listeners for one query."""
    with Ports() as ports:
        port = ports.take()
        with serving(tmp_path, BOUND.format(port=port, bound=bound)) as server:
            assert [rcodes(port, host, "b.test") for host in ("127.0.0.1", "::1")] == [{NOERROR}] * 2
            assert server.end() == 0
