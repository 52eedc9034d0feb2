"""A silent upstream under a flood of new names: memory is bounded, and other names are answered as fast as before."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.end_to_end.client import LOOPBACK, ask, compose
from tests.end_to_end.server import Ports, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE = 5_000  # names a second
SECONDS = 15.0
BURST = 50
MOST_WAITING = 1 << 16  # octets; the kernel has room for three times as many
LEAST = 5_000  # names, on however busy a machine
MOST_GROWTH = 120 << 20  # octets; CoreDNS without max_concurrent grows by 500 MiB
SLOWER = 50e-3  # seconds that a reply may take longer than before, in the median

COREFILE = """.:{port} {{
    errors {{
        consolidate 10s .*
    }}
    hosts {{
        192.0.2.7 here.test
        fallthrough
    }}
    forward . 127.0.0.1:{silent}
}}
"""


def waiting(port: int) -> int:
    """Return the octets that wait in the kernel for whoever is bound to a port (proc(5), /proc/net/udp)."""
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, _, queues, *_ = line.split()
            if int(local.rpartition(":")[2], 16) == port:
                return int(queues.partition(":")[2], 16)
    return 0


class Flood(threading.Thread):
    """Asks for names that nobody asked for before, at a steady rate, and reads no replies.

    On a machine that is too busy for that rate it asks as fast as the server reads, so that no question is lost.
    """

    def __init__(self, port: int) -> None:
        super().__init__()
        self.sent = 0
        self._port = port
        self._ended = threading.Event()

    def run(self) -> None:
        began = time.monotonic()
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.connect((LOOPBACK, self._port))
            while not self._ended.is_set():
                for _ in range(BURST):
                    self.sent += 1
                    client.send(compose(f"n{self.sent}.flood.test", ident=self.sent % 65536))
                time.sleep(max(0.001, began + self.sent / RATE - time.monotonic()))
                while waiting(self._port) > MOST_WAITING and not self._ended.is_set():
                    time.sleep(0.005)

    def end(self) -> None:
        self._ended.set()
        self.join()


def latencies(port: int, seconds: float) -> Iterator[float]:
    """Yield how long each of the replies took that came in so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        reply = ask(port, compose("here.test"), timeout=10.0)
        assert reply is not None
        assert reply.endswith(bytes((192, 0, 2, 7)))
        yield time.monotonic() - began
        time.sleep(0.005)


def test_a_silent_upstream(tmp_path: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as silent, Ports() as ports:
        silent.bind((LOOPBACK, 0))
        port = ports.take()
        with serving(tmp_path, COREFILE.format(port=port, silent=silent.getsockname()[1])) as server:
            before = statistics.median(latencies(port, 1.0))
            memory = server.memory()
            flood = Flood(port)
            flood.start()
            try:
                during = list(latencies(port, SECONDS))
                grown = server.memory() - memory
            finally:
                flood.end()
            assert flood.sent > LEAST
            assert grown < MOST_GROWTH, f"{grown >> 20} MiB"
            assert statistics.median(during) < before + SLOWER, (before, statistics.median(during), max(during))
