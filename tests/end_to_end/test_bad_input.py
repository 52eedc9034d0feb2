"""What a careless or hostile stranger sends, and files out of all proportion: others are served meanwhile."""

from __future__ import annotations

import json
import random
import resource
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from tests.end_to_end.client import LOOPBACK, PATIENCE, addresses, ask, ask_tcp, compose, framed, parse
from tests.end_to_end.server import SAMPLE, Ports, Server, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "kubernetes.default.svc.cluster.local"
COREFILE = ".:{port} {{\n    errors\n    kubernetes cluster.local in-addr.arpa ip6.arpa\n}}\n"
CORPUS = sorted((Path(__file__).parents[1] / "fuzz" / "corpus").iterdir())
DATAGRAMS = 20_000
CONNECTIONS = 10_000
SPARE = 500  # descriptors that this process needs for itself
MB = 1 << 20
MOST_DELAY = 1.0  # seconds that a well-behaved client may wait while others misbehave
ENOUGH = 20  # exchanges of a neighbour, to tell how it fares
READ = 3.0  # seconds that a connection may be silent at first
LARGE = 50 * MB
LARGE_SECONDS = 30.0  # until a file of that size is served, with both cores busy


@contextmanager
def serving_sample(folder: Path, manifests: Path = SAMPLE) -> Iterator[tuple[Server, int]]:
    with Ports() as ports:
        port = ports.take()
        with serving(folder, COREFILE.format(port=port), "--manifests", str(manifests)) as server:
            yield server, port


class Neighbour:
    """A client that behaves: it asks every few milliseconds, over UDP or TCP, until it is told to stop."""

    def __init__(self, port: int, *, tcp: bool = False) -> None:
        self._port, self._ask = port, ask_tcp if tcp else ask
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.seconds: list[float] = []
        self.failed: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.005):
            start = time.monotonic()
            try:
                reply = self._ask(self._port, compose(NAME))
            except OSError as error:
                self.failed.append(str(error))
                continue
            self.seconds.append(time.monotonic() - start)
            if reply is None or not parse(reply).answer:
                self.failed.append("no reply" if reply is None else parse(reply).to_text())

    def check(self) -> None:
        assert self.failed == []
        assert len(self.seconds) > ENOUGH
        assert max(self.seconds) < MOST_DELAY


def check_unharmed(server: Server, port: int) -> None:
    """It answers, it has not complained, and it ends as always."""
    assert addresses(port, NAME) == ["10.96.0.1"]
    assert ask_tcp(port, compose(NAME)) is not None
    assert server.end() == 0
    assert server.errors.text == ""
    assert [line for line in server.output.all if "panic" in line.lower() or "Traceback" in line] == []


def malformed(chosen: random.Random) -> bytes:
    """Return a message that is wrong somewhere, most of them nearly right."""
    message = bytearray(chosen.choice(CORPUS).read_bytes() if chosen.random() < 0.5 else compose(NAME))
    for _ in range(chosen.randint(0, 6)):
        if message:
            message[chosen.randrange(len(message))] = chosen.choice((0, 0xC0, 0xFF, 0x3F, chosen.randrange(256)))
    match chosen.randrange(4):
        case 0:
            del message[chosen.randrange(len(message) + 1) :]
        case 1:
            message += chosen.randbytes(chosen.randint(1, 1400))
        case 2:
            message = bytearray(chosen.randbytes(chosen.randint(0, 600)))
    return bytes(message)


def test_a_storm_of_malformed_datagrams(tmp_path: Path) -> None:
    chosen = random.Random(4)
    storm = [malformed(chosen) for _ in range(DATAGRAMS)]
    with serving_sample(tmp_path) as (server, port):
        before = server.memory()
        with Neighbour(port) as neighbour, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect((LOOPBACK, port))
            for number, datagram in enumerate(storm):
                client.send(datagram)
                if number % 20 == 0:  # as fast as it is read: a datagram that the kernel drops tests nothing
                    time.sleep(0.001)
        neighbour.check()
        assert server.memory() - before < 64 * MB
        check_unharmed(server, port)


STREAMS = {
    "a length that never comes true": b"\xff\xff" + bytes(100),
    "no length at all": b"GET / HTTP/1.1\r\nHost: kubedns\r\n\r\n" * 20,
    "lengths of nothing": bytes(20_000),
    "lengths of a header's half": (b"\0\5" + bytes(5)) * 2000,
    "a good one behind garbage": framed(bytes(40)) + framed(compose(NAME)),
    "a length and a half": framed(compose(NAME))[:-1],
    "TLS": bytes.fromhex("1603010200010001fc0303") + bytes(500),
    "endless questions": framed(compose(NAME)) * 5000,
}


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_streams_that_are_no_dns(tcp: bool, tmp_path: Path) -> None:
    """Each from a few clients that neither read nor close; the server closes them, in its time."""
    with serving_sample(tmp_path) as (server, port), ExitStack() as undo:
        before = server.memory()
        with Neighbour(port, tcp=tcp) as neighbour:
            clients = []
            for octets in [*STREAMS.values()] * 5:
                client = undo.enter_context(socket.create_connection((LOOPBACK, port), timeout=PATIENCE))
                client.settimeout(0)
                try:
                    client.send(octets)
                except OSError:
                    continue  # closed at once: as good an answer as any
                clients.append(client)
            time.sleep(1)
        neighbour.check()
        assert server.memory() - before < 64 * MB
        assert len(clients) >= len(STREAMS) * 4
        check_unharmed(server, port)


def test_random_streams(tmp_path: Path) -> None:
    chosen = random.Random(5)
    with serving_sample(tmp_path) as (server, port):
        for _ in range(300):
            with socket.create_connection((LOOPBACK, port), timeout=PATIENCE) as client:
                octets = b"".join(framed(malformed(chosen)[:65535]) for _ in range(chosen.randint(1, 10)))
                client.sendall(octets[: chosen.randint(1, len(octets))])
                if chosen.random() < 0.3:  # gone without a word: RST instead of FIN
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        check_unharmed(server, port)


def test_ten_thousand_idle_connections(tmp_path: Path) -> None:
    """They are closed when they have been silent for three seconds; until then they cost memory alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(CONNECTIONS, hard - SPARE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, CONNECTIONS + SPARE)), hard))
    try:
        with serving_sample(tmp_path) as (server, port), ExitStack() as undo:
            before = server.memory()
            with Neighbour(port) as by_udp, Neighbour(port, tcp=True) as by_tcp:
                clients = [
                    undo.enter_context(socket.create_connection((LOOPBACK, port), timeout=PATIENCE))
                    for _ in range(count)
                ]
                last = time.monotonic()
                grown = server.memory() - before
                for client in clients:
                    client.settimeout(max(0.01, last + READ + PATIENCE - time.monotonic()))
                    assert client.recv(1) == b""
            by_udp.check()
            by_tcp.check()
            assert grown < 150 * MB
            check_unharmed(server, port)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def large_manifest(path: Path, octets: int) -> int:
    """Write a dump of that size, with all the bookkeeping that `kubectl get -o json` shows; return its Services."""
    notes = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"spec": {"ports": [{"port": 80}] * 30}})}
    count, written = 0, 0
    with path.open("w") as file:
        file.write('{"apiVersion": "v1", "kind": "List", "items": [\n')
        while written < octets:
            metadata = {"name": f"s{count}", "namespace": "large", "annotations": notes, "uid": f"{count:032x}"}
            spec = {
                "clusterIP": f"10.{count >> 16}.{count >> 8 & 255}.{count & 255}",
                "ports": [{"name": "http", "port": 80}],
            }
            item = json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}, indent=4)
            written += file.write(f"{',' if count else ''}{item}\n")
            count += 1
        file.write("]}\n")
    return count


def test_a_manifest_of_50_mb_comes_into_service_while_others_are_served(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for path in SAMPLE.glob("*.yaml"):
        (folder / path.name).write_bytes(path.read_bytes())
    with serving_sample(tmp_path, folder) as (server, port):
        before = server.memory()
        count = large_manifest(tmp_path / "large", LARGE)
        last = f"s{count - 1}.large.svc.cluster.local"
        with Neighbour(port) as neighbour:
            start = time.monotonic()
            (tmp_path / "large").rename(folder / "large.json")
            while not addresses(port, last):
                assert time.monotonic() - start < LARGE_SECONDS
                time.sleep(0.05)
        neighbour.check()
        assert server.memory() - before < 150 * MB
        assert "50 MB take about" in server.output.text
        check_unharmed(server, port)


def test_a_manifest_of_50_mb_that_is_none(tmp_path: Path) -> None:
    """One line of YAML without an end: refused with its place, and what was there stays."""
    folder = tmp_path / "in"
    folder.mkdir()
    for path in SAMPLE.glob("*.yaml"):
        (folder / path.name).write_bytes(path.read_bytes())
    with serving_sample(tmp_path, folder) as (server, port):
        before = server.memory()
        (tmp_path / "large").write_bytes(b"kind: Service\nmetadata: {name: [" + b"[" * LARGE)
        with Neighbour(port) as neighbour:
            (tmp_path / "large").rename(folder / "large.yaml")
            line = server.output.wait_for(r"large\.yaml:\d+:\d+: ", timeout=LARGE_SECONDS)
            assert "what was read before stays in service" in line
            while len(neighbour.seconds) <= ENOUGH and not neighbour.failed:  # it may be refused at once
                time.sleep(0.01)
        neighbour.check()
        assert server.memory() - before < 150 * MB
        check_unharmed(server, port)
