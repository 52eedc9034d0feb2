"""Real name servers as processes on loopback ports of their own: NSD, and Unbound with TLS."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dnslib import DNSRecord

from tests.fakes.upstream import HOST, bound_pair

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ZONE = Path(__file__).parent.parent.parent / "golden" / "upstream" / "example.com.zone"
PATIENCE = 30.0  # seconds until a server answers


def free_port() -> int:
    """Return a port that nobody had a moment ago, for UDP and TCP."""
    tcp, udp = bound_pair()
    with tcp, udp:
        port: int = tcp.getsockname()[1]
        return port


def program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join((os.environ["PATH"], "/usr/sbin")))
    assert found is not None, f"{name} is not here: tools/debian-packages.sh installs it"
    return found


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], port: int, folder: Path, environment: dict[str, str] | None = None
) -> Iterator[None]:
    """Run a server in a process group of its own until the end; fail if it does not answer."""
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=folder, env=environment, start_new_session=True
        )
    try:
        await_answer(process, port, log)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def await_answer(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until the server answers over UDP and takes connections."""
    end = time.monotonic() + PATIENCE
    question = bytes(DNSRecord.question("example.com.", "SOA").pack())
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as udp:
            udp.settimeout(0.2)
            udp.connect((HOST, port))
            udp.send(question)
            udp.recv(4096)
            socket.create_connection((HOST, port), 1).close()
            return
        time.sleep(0.02)
    raise AssertionError(log.read_text())


@contextlib.contextmanager
def nsd(folder: Path) -> Iterator[str]:
    """Serve example.com, and yield the address."""
    port = free_port()
    settings = {
        "ip-address": f"{HOST}@{port}",
        "server-count": "1",
        "zonesdir": f'"{ZONE.parent}"',
        "database": '""',
        "username": '""',
        "pidfile": '""',
        "xfrdfile": f'"{folder}/xfrd.state"',
        "xfrdir": f'"{folder}"',
        "zonelistfile": f'"{folder}/zone.list"',
        "minimal-responses": "no",
        "rrl-ratelimit": "0",
    }
    lines = "".join(f"  {key}: {value}\n" for key, value in settings.items())
    zone = f"zone:\n  name: example.com\n  zonefile: {ZONE.name}\n"
    (folder / "nsd.conf").write_text(f"server:\n{lines}remote-control:\n  control-enable: no\n{zone}")
    with running([program("nsd"), "-d", "-c", folder / "nsd.conf"], port, folder):
        yield f"{HOST}:{port}"


@contextlib.contextmanager
def unbound(folder: Path, certificate: Path, key: Path) -> Iterator[tuple[str, str]]:
    """Serve two names and ask nobody else; yield the addresses for plain text and for TLS."""
    plain, secure = free_port(), free_port()
    (folder / "unbound.conf").write_text(
        f"""server:
  interface: {HOST}@{plain}
  interface: {HOST}@{secure}
  port: {plain}
  tls-port: {secure}
  tls-service-key: "{key}"
  tls-service-pem: "{certificate}"
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  logfile: ""
  use-syslog: no
  do-daemonize: no
  module-config: "iterator"
  local-zone: "." static
  local-data: "www.test. 300 IN A 192.0.2.80"
  local-data: "example.com. 300 IN SOA ns.example.com. admin.example.com. 1 3600 900 604800 60"
"""
    )
    with running([program("unbound"), "-d", "-c", folder / "unbound.conf"], plain, folder):
        yield f"{HOST}:{plain}", f"{HOST}:{secure}"
