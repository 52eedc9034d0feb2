"""Reloads while clients ask: nothing is lost, nobody is told of a failure, and what is there stays.

KUBEDNS_RELOADS says how many (10); `make soak` has 100.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Self

import pytest
import yaml

from tests.end_to_end.client import LOOPBACK, addresses
from tests.end_to_end.http import OK, get, wait_for
from tests.end_to_end.load import Load, Question
from tests.end_to_end.server import PATIENCE, SAMPLE, Ports, serving
from tests.end_to_end.workers import children
from tests.fakes.apiserver import APIServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RELOADS = int(os.environ.get("KUBEDNS_RELOADS", "10"))
SLOWEST = 1.0  # seconds; 0.05 where nothing else runs
COREFILE = """\
.:{port} {{
    errors
    health {host}:{health} {{
        lameduck 5s
    }}
    ready {host}:{ready}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    hosts {{
        10.0.0.20 harbor.superopsmsb.com
        fallthrough
    }}
    prometheus {host}:{metrics}
    forward . {host}:{upstream} {{
        max_concurrent 1000
    }}
    cache 3600
    loop
    reload 2s 0s
    loadbalance
    multisocket {workers}
}}
"""
MORE = "more.test:{port} {{\n    whoami\n}}\n"
NXDOMAIN = 3


@pytest.fixture
def ports() -> Iterator[Ports]:
    with Ports() as held:
        yield held


class Polled:
    """Asks for a path over and over; `answers` counts what came."""

    def __init__(self, port: int, path: str) -> None:
        self.answers: Counter[tuple[int, str]] = Counter()
        self._port, self._path = port, path
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(0.01):
            self.answers[get(self._port, self._path)] += 1


OTHERS = 5  # names that an upstream knows
SERVICES = (
    "kubernetes.default",
    "kube-dns.kube-system",
    "superopsmsb-nginx-service.default",
    "svc-loadblancer.default",
)
QUESTIONS = [
    *(Question(f"{name}.svc.cluster.local", "A", 0, 1) for name in SERVICES),
    *(Question(f"{name}.svc.cluster.local", "AAAA", 0, 0) for name in SERVICES),
    Question("superopsmsb-nginx-headless.default.svc.cluster.local", "A", 0, 3),
    Question("_dns._udp.kube-dns.kube-system.svc.cluster.local", "SRV", 0, 1),
    Question("1.0.96.10.in-addr.arpa", "PTR", 0, 1),
    Question("no-such-service.default.svc.cluster.local", "A", NXDOMAIN, 0),
    Question("harbor.superopsmsb.com", "A", 0, 1),
    *(Question(f"host{number}.example.com", "A", 0, 1) for number in range(1, OTHERS + 1)),
]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[APIServer]:
    with APIServer(tmp_path / "api") as server:
        for file in sorted(SAMPLE.glob("*.yaml")):
            server.put(*yaml.safe_load_all(file.read_text()))
        yield server


@dataclass(frozen=True, slots=True)
class Setting:
    """What a test's Corefile is made of."""

    port: int
    health: int
    ready: int
    metrics: int
    other: int
    upstream: int
    kubeconfig: Path
    workers: int = 1

    def corefile(self, number: int = 0) -> str:
        """Return one of four: as it is, and with a block, a listener or a line more."""
        text = COREFILE.format(host=LOOPBACK, **asdict(self))
        more = ("", MORE.format(port=self.port), MORE.format(port=self.other), "")[number % 4]
        return f"{text}{more}# {number}\n" if number % 4 < 3 else f"# {number}\n{text}"


@pytest.fixture
def setting(api: APIServer, upstream: int, ports: Ports, tmp_path: Path) -> Setting:
    port, health, ready, metrics, other = (ports.take() for _ in range(5))
    kubeconfig = api.kubeconfig(tmp_path / "kubeconfig")
    return Setting(port, health, ready, metrics, other, upstream, kubeconfig)


@pytest.fixture
def upstream(ports: Ports, tmp_path: Path) -> Iterator[int]:
    """Start the name server that is asked about all that is not the cluster's, and return its port."""
    (tmp_path / "upstream").mkdir()
    port = ports.take()
    hosts = "".join(f"        192.0.2.{number} host{number}.example.com\n" for number in range(1, OTHERS + 1))
    with serving(tmp_path / "upstream", f".:{port} {{\n    hosts /dev/null {{\n{hosts}    }}\n}}\n"):
        yield port


def samples(setting: Setting, name: str) -> float:
    """Return the sum of a metric's samples."""
    lines = [line for line in get(setting.metrics, "/metrics").body.splitlines() if line.startswith(name)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


@pytest.mark.parametrize("workers", [1, 2])
def test_reloads_under_load(api: APIServer, setting: Setting, workers: int, tmp_path: Path) -> None:
    setting = replace(setting, workers=workers)
    with serving(tmp_path, setting.corefile()) as server:
        wait_for(setting.ready, "/ready", OK)
        lists, processes = api.count("list"), children(server.process.pid)
        with (
            Polled(setting.ready, "/ready") as ready,
            Polled(setting.health, "/health") as health,
            Load(setting.port, QUESTIONS) as load,
        ):
            load.wait_for(10 * workers**2 * len(QUESTIONS))  # until each worker has been asked each
            forwarded = samples(setting, "coredns_forward_requests_total")
            for number in range(1, RELOADS + 1):
                (tmp_path / "Corefile").write_text(setting.corefile(number))
                load.wait_for(20)
                assert server.reload() == "[INFO] Reloading complete"
            load.wait_for(10 * len(QUESTIONS))
        assert api.count("list") == lists
        assert children(server.process.pid) == processes
        assert load.record.lost == []
        assert load.record.wrong == {}
        assert load.record.cut == load.record.refused == 0
        assert load.record.slowest < SLOWEST
        assert set(ready.answers) == set(health.answers) == {OK}
        probes = RELOADS * workers  # of loop, one for each configuration
        assert samples(setting, "coredns_forward_requests_total") <= forwarded + probes  # the cache has the rest
        assert "[ERROR]" not in server.output.text
        assert "[WARNING]" not in server.output.text
        assert server.end() == 0
    assert server.errors.text == ""


@pytest.mark.parametrize("workers", [1, 2])
def test_changes_of_the_file_under_load(api: APIServer, setting: Setting, workers: int, tmp_path: Path) -> None:
    """As above, by the plugin's own watch; a wrong file in between changes nothing."""
    setting = replace(setting, workers=workers)
    with serving(tmp_path, setting.corefile()) as server:
        wait_for(setting.ready, "/ready", OK)
        lists = api.count("list")
        with Polled(setting.ready, "/ready") as ready, Load(setting.port, QUESTIONS) as load:
            for number, expected in ((1, "Reloading complete"), (2, "reload failed"), (3, "Reloading complete")):
                before = len(server.output.all)
                text = setting.corefile(number)
                text = text.replace("loadbalance", "loadbalanze") if number == 2 else text
                (tmp_path / "Corefile").write_text(text)
                server.output.wait_for(expected, after=before)
                load.wait_for(50)
        assert api.count("list") == lists
        assert load.record.lost == []
        assert load.record.wrong == {}
        assert load.record.cut == load.record.refused == 0
        assert set(ready.answers) == {OK}
        assert "coredns_reload_failed_total 1\n" in get(setting.metrics, "/metrics").body
        assert server.end() == 0


def test_a_cluster_read_anew_is_switched_to_when_it_is_there(api: APIServer, setting: Setting, tmp_path: Path) -> None:
    """Other options make another index: the old one answers until the API server has told all of the new one."""
    with serving(tmp_path, setting.corefile()) as server:
        wait_for(setting.ready, "/ready", OK)
        lists = api.count("list") + api.count("watch")
        with Polled(setting.ready, "/ready") as ready, Load(setting.port, QUESTIONS) as load:
            load.wait_for(50)
            verified = (
                "pods verified\n        startup_timeout 500ms"  # there is nobody to wait for now: it may take longer
            )
            (tmp_path / "Corefile").write_text(setting.corefile().replace("pods insecure", verified))
            api.pause()
            reloading = threading.Thread(target=server.reload)
            reloading.start()
            server.output.wait_for("waiting for Kubernetes API before starting server")
            time.sleep(1)
            load.wait_for(50)
            api.resume()
            reloading.join()
            assert server.output.wait_for("Reloading complete")
            load.wait_for(50)
        assert api.count("list") + api.count("watch") > lists
        assert load.record.lost == []
        assert load.record.wrong == {}
        assert set(ready.answers) == {OK}
        assert "unsynced" not in server.output.text
        assert server.end() == 0


def test_sigterm_under_load_loses_nothing(setting: Setting, tmp_path: Path) -> None:
    """What comes before the socket is closed is answered, and who comes later is told so by the kernel."""
    text = setting.corefile().replace("lameduck 5s", "lameduck 1s")
    with serving(tmp_path, text) as server:
        wait_for(setting.ready, "/ready", OK)
        with Load(setting.port, QUESTIONS) as load:
            load.wait_for(100)
            server.send(signal.SIGTERM)
            server.output.wait_for("Going into lameduck mode for 1s")
            load.wait_for(100)
            assert server.process.wait(20) == 0
            load.wait_until_told()
        assert load.record.lost == []
        assert load.record.wrong == {}
        assert (load.record.refused, load.record.cut) == (16, 4)


LINES = 100_000


def test_a_hosts_file_of_a_hundred_thousand_lines_is_read_again_under_load(ports: Ports, tmp_path: Path) -> None:
    port = ports.take()
    file = tmp_path / "hosts"
    file.write_text("10.0.0.1 first.test\n")
    corefile = f".:{port} {{\n    hosts hosts {{\n        reload 1s\n    }}\n}}\n"
    last = f"host{LINES - 1}.test"
    with serving(tmp_path, corefile) as server:
        with Load(port, [Question("first.test", "A", 0, 1), Question("first.test", "AAAA", 0, 0)]) as load:
            load.wait_for(200)
            for offset in (0, 1):  # the second time there are as many lines in memory already
                lines = (f"10.{n >> 16}.{n >> 8 & 255}.{n & 255} host{n}.test\n" for n in range(offset, LINES))
                (tmp_path / "new").write_text("".join(["10.0.0.1 first.test\n", *lines]))
                (tmp_path / "new").replace(file)
                expected = ([], ["10.0.0.0"])[offset == 0]
                end = time.monotonic() + PATIENCE
                while addresses(port, "host0.test") != expected or addresses(port, last) != ["10.1.134.159"]:
                    assert time.monotonic() < end
                    time.sleep(0.05)
            load.wait_for(200)
        assert load.record.lost == []
        assert load.record.wrong == {}
        assert load.record.slowest < SLOWEST  # 0.05 where nothing else runs
        assert server.end() == 0
