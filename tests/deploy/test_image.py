"""The image's files under the constraints of deploy/kubedns.yaml, answering on port 53 in a network of their own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.deploy.running import Container, built, instruction, running
from tests.e2e.spaces import Space, in_network
from tests.end_to_end.client import ask, ask_tcp, compose, parse
from tests.end_to_end.server import PATIENCE, ROOT, SAMPLE
from tests.fakes.apiserver import APIServer
from tests.fakes.apiserver.credentials import mount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAMS = {"runc": "runc", "setcap": "libcap2-bin", "unshare": "util-linux", "openssl": "openssl", "curl": "curl"}
API = ("127.0.0.1", 6443)
NAME = "superopsmsb-nginx-service.default.svc.cluster.local"
NEEDLESS = re.compile(r"^(sh|bash|dash|busybox|cc|gcc|g\+\+|c\+\+|clang|as|ld|ld\.bfd|make|pip\d?.*|apt.*|dpkg.*)$")
pytestmark = pytest.mark.xdist_group("image")  # built once


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = {package for program, package in PROGRAMS.items() if shutil.which(program, path=path) is None}
    assert not missing, (
        f"this test needs programs of the Debian packages {' '.join(sorted(missing))}: `make test` installs them"
    )
    assert os.geteuid() == 0, "this test makes a container: run it as root"
    with built() as rootfs:
        yield rootfs


@dataclass
class Started:
    """A container, the network that it runs in, and the seconds until it answered and until it was ready."""

    container: Container
    space: Space
    answering: float
    ready: float

    def inside(self, call: Callable[[], bytes | None]) -> bytes | None:
        return in_network(self.space.pid, call)


@pytest.fixture(scope="module")
def started(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    folder = tmp_path_factory.mktemp("container")
    documents = list(yaml.safe_load_all((ROOT / "deploy" / "kubedns.yaml").read_text()))
    (corefile,) = [document["data"]["Corefile"] for document in documents if document["kind"] == "ConfigMap"]
    resolv_conf = folder / "resolv.conf"
    resolv_conf.write_text("nameserver 192.0.2.1\n")  # leads nowhere from there
    with ExitStack() as undo:
        space = Space()
        undo.callback(space.close)
        space.ip("link set lo up\n")
        api = undo.enter_context(APIServer(folder / "api", elsewhere=(*API, space.enter_network)))
        api.put(*(each for path in sorted(SAMPLE.glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())))
        binds = {
            "/etc/coredns": mount(folder / "config-volume", {"Corefile": corefile}),
            "/var/run/secrets/kubernetes.io/serviceaccount": api.service_account(folder / "serviceaccount"),
            "/etc/resolv.conf": resolv_conf,
        }
        container = undo.enter_context(running(image, f"/proc/{space.pid}/ns/net", binds, api.environment()))
        answering = in_network(space.pid, lambda: _until_answered(container))
        while space.run("curl", "-sf", "http://127.0.0.1:8181/ready").stdout != "OK":
            assert time.monotonic() < container.started + PATIENCE
        yield Started(container, space, answering, time.monotonic() - container.started)


def _until_answered(container: Container) -> float:
    while ask(53, compose(f"{NAME}."), timeout=0.05) is None:
        assert container.process.poll() is None
        assert time.monotonic() < container.started + PATIENCE
        time.sleep(0.005)
    return time.monotonic() - container.started


def test_the_image_holds_no_shell_no_compiler_and_no_installer(image: Path) -> None:
    programs = {path.name for path in image.rglob("*") if path.is_file() and os.access(path, os.X_OK)}
    assert "python" in programs
    assert {name for name in programs if NEEDLESS.match(name)} == set()
    assert {path.name for path in (image / "opt/kubedns/bin").iterdir()} == {"python"}


def test_everything_is_compiled_ahead_and_never_compared(image: Path) -> None:
    tag = sys.implementation.cache_tag
    sources = list((image / "opt/kubedns").rglob("*.py"))
    compiled = [path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc" for path in sources]
    assert len(sources) > 1000
    assert [path for path in compiled if not path.exists()] == []
    assert {path.read_bytes()[4:8] for path in compiled} == {b"\1\0\0\0"}  # PEP 552: by hash, unchecked


def test_the_dockerfile_starts_the_capable_interpreter_itself(image: Path) -> None:
    entry = instruction("ENTRYPOINT")
    assert entry == '["/opt/kubedns/bin/python", "-m", "kubedns"]'
    shown = subprocess.run(["/sbin/getcap", str(image / "opt/kubedns/bin/python")], capture_output=True, check=True)
    assert shown.stdout.split()[-1] == b"cap_net_bind_service=ep"
    assert instruction("USER") == "65532:65532"
    assert instruction("FROM") == "scratch"


def test_it_answers_on_port_53(started: Started) -> None:
    question = compose(f"{NAME}.")
    for octets in (started.inside(lambda: ask(53, question)), started.inside(lambda: ask_tcp(53, question))):
        assert octets is not None
        assert [rdata.to_text() for rrset in parse(octets).answer for rdata in rrset] == ["10.97.135.126"]


def test_it_is_anybody_with_one_capability(started: Started) -> None:
    container = started.container
    assert set(container.status("Uid").split()) == {"65532"}
    assert set(container.status("Gid").split()) == {"65532"}
    assert container.status("NoNewPrivs") == "1"
    for kept in ("CapPrm", "CapEff", "CapBnd"):
        assert int(container.status(kept), 16) == 1 << 10  # CAP_NET_BIND_SERVICE (linux/capability.h)
    assert int(container.status("CapAmb"), 16) == int(container.status("CapInh"), 16) == 0


def test_nothing_can_be_written(started: Started) -> None:
    tried = started.container.python("open('/opt/kubedns/x', 'w')")
    assert "Read-only file system" in tried.stdout + tried.stderr
    tried = started.container.python("import tempfile; tempfile.TemporaryFile()")
    assert "No usable temporary directory found" in tried.stdout + tried.stderr


def test_metrics_health_and_readiness_are_served(started: Started) -> None:
    served = {8080: "OK", 8181: "OK"}
    paths = {8080: "health", 8181: "ready"}
    for port, text in served.items():
        assert started.space.run("curl", "-sf", f"http://127.0.0.1:{port}/{paths[port]}").stdout == text
    assert "coredns_build_info" in started.space.run("curl", "-sf", "http://127.0.0.1:9153/metrics").stdout


def test_it_stays_below_its_limit_of_memory(started: Started) -> None:
    limit = started.container.memory("memory.limit_in_bytes", "memory.max")
    assert limit == 170 << 20
    assert started.container.memory("memory.max_usage_in_bytes", "memory.peak") < limit


def test_figures(started: Started, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = sum(path.stat().st_size for path in image.rglob("*") if path.is_file() and not path.is_symlink())
    resident = started.container.status("VmRSS")
    with capsys.disabled():
        print(  # noqa: T201 - figures
            f"\n    image {size / 1e6:.0f} MB, answers after {started.answering:.2f} s, "
            f"ready after {started.ready:.2f} s, resident {resident}"
        )
    assert started.answering < PATIENCE


def test_zz_it_ends_when_told(started: Started) -> None:
    """Runs last: the container is gone after it."""
    os.kill(started.container.pid, signal.SIGTERM)
    assert started.container.process.wait(PATIENCE) == 0
