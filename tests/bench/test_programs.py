"""The programs in C tell the truth: the echo about what it was sent, the asker about what came back, and when."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import TYPE_CHECKING

import dns.message
import pytest

from bench import programs
from bench.load import Asker
from bench.measure import ECHO
from bench.ours import start_echo
from bench.pace import Pacer
from bench.processes import BenchError, Server
from bench.questions import KEPT, KINDS, Files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CORE = min(os.sched_getaffinity(0))
OTHER_CORE = max(os.sched_getaffinity(0))
RATE = 500
SECONDS = 0.4


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> programs.Programs:
    return programs.prepare(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def echo(compiled: programs.Programs, tmp_path: Path) -> Iterator[Server]:
    with start_echo(ECHO, compiled.echo, tmp_path, CORE) as server:
        server.await_answer("example.net", b"\0\1\0\1")
        yield server


def exchange(port: int, query: dns.message.Message) -> dns.message.Message:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", port))
        client.send(query.to_wire())
        return dns.message.from_wire(client.recv(4096))


def test_the_echo_gives_the_question_back(echo: Server) -> None:
    query = dns.message.make_query("name1.example.net", "A", use_edns=True)
    reply = exchange(echo.port, query)
    assert query.is_response(reply)
    assert not reply.answer


@pytest.mark.parametrize("edns", [False, True], ids=["plain", "EDNS"])
def test_an_upstream_has_a_record_for_names_that_a_cache_keeps(
    compiled: programs.Programs, tmp_path: Path, *, edns: bool
) -> None:
    with start_echo("upstream", compiled.echo, tmp_path, CORE, upstream=True) as server:
        server.await_answer("example.net", b"\0\1\0\1")
        kept = exchange(server.port, dns.message.make_query(f"{KEPT}7.example.net", "A", use_edns=edns))
        assert [rrset.to_text() for rrset in kept.answer] == [f"{KEPT}7.example.net. 3600 IN A 192.0.2.1"]
        assert (kept.edns == 0) == edns
        assert not exchange(server.port, dns.message.make_query("host7.example.net", "A")).answer


def test_the_asker_counts_what_it_sent_and_what_came_back(
    compiled: programs.Programs, echo: Server, tmp_path: Path
) -> None:
    paced = Pacer(compiled.latency, OTHER_CORE, Files(tmp_path)).run(echo, KINDS["hot"], RATE, SECONDS)
    assert (paced.sent, paced.lost, paced.servfail) == (RATE * SECONDS, 0, 0)
    assert 0 < paced.p50 <= paced.p99 <= paced.p999 <= paced.longest
    assert paced.microseconds > 0


def test_dnsperf_and_the_clock_of_the_process_give_a_cost(echo: Server, tmp_path: Path) -> None:
    run = Asker(OTHER_CORE, Files(tmp_path)).full_load(echo, KINDS["hot"], 0.3)
    assert (run.lost, run.wrong) == (0, 0)
    assert 0.5 < run.microseconds < 1000


class Slow:
    """Answers every other question, and each of those after a while."""

    def __init__(self, seconds: float) -> None:
        self.name = "slow"
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._seconds = seconds
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        number = 0
        while True:
            try:
                octets, peer = self._socket.recvfrom(512)
            except OSError:
                return
            if number % 2 == 0:
                time.sleep(self._seconds)
                self._socket.sendto(octets[:2] + b"\x80\x02" + octets[4:], peer)
            number += 1

    def cpu(self) -> float:
        return 0.0

    def log(self) -> str:
        return ""

    def close(self) -> None:
        self._socket.close()


def test_what_is_lost_or_slow_is_told(compiled: programs.Programs, tmp_path: Path) -> None:
    slow = Slow(0.05)
    try:
        paced = Pacer(compiled.latency, OTHER_CORE, Files(tmp_path)).run(slow, KINDS["hot"], 10, 1.0)  # type: ignore[arg-type]
    finally:
        slow.close()
    assert (paced.sent, paced.lost, paced.servfail, paced.slow) == (10, 5, 5, 5)
    assert paced.p50 >= 50
    assert paced.windows
    assert all(milliseconds >= 50 for _, milliseconds in paced.windows)


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match=r"(?s)apt-get install dnsperf.*apt-get install gcc"):
        programs.prepare(tmp_path)
