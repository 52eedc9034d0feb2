"""The sample cluster behind Corefile.example, asked by nslookup and dig as a pod asks."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STARTING = 20  # seconds
SVC = "default.svc.cluster.local"

pytestmark = pytest.mark.xdist_group("sample")  # one server for the whole file


def free_port() -> int:
    """Return a port that neither UDP nor TCP has in use on 127.0.0.1."""
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        port: int = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        return port


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Start the server as `make run` does, on a port of its own."""
    chosen = free_port()
    arguments = ["-conf", "Corefile.example", "-dns.port", str(chosen), "--manifests", "kubedns/sample"]
    command = [sys.executable, "-m", "kubedns", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == f".:{chosen} on 127.0.0.1\n"
        yield chosen
        server.send_signal(signal.SIGTERM)
        server.stdout.read()
        assert server.wait(STARTING) == 0


def run(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=STARTING, check=False).stdout


NSLOOKUP = [
    ("superopsmsb-nginx-service", {f"superopsmsb-nginx-service.{SVC} 10.97.135.126"}),
    (f"superopsmsb-nginx-service.{SVC}.", {f"superopsmsb-nginx-service.{SVC} 10.97.135.126"}),
    ("superopsmsb-nginx-nodeport", {f"superopsmsb-nginx-nodeport.{SVC} 10.106.138.242"}),
    ("svc-loadblancer", {f"svc-loadblancer.{SVC} 10.104.39.177"}),
    ("kubernetes", {f"kubernetes.{SVC} 10.96.0.1"}),
    ("kube-dns.kube-system.svc.cluster.local.", {"kube-dns.kube-system.svc.cluster.local 10.96.0.10"}),
    (
        f"10-244-3-64.superopsmsb-nginx-service.{SVC}.",
        {f"10-244-3-64.superopsmsb-nginx-service.{SVC} 10.244.3.64"},
    ),
    (
        "superopsmsb-nginx-headless",
        {f"superopsmsb-nginx-headless.{SVC} {address}" for address in ("10.244.2.4", "10.244.1.3", "10.244.3.2")},
    ),
]


@pytest.mark.parametrize(("name", "expected"), NSLOOKUP, ids=[name for name, _ in NSLOOKUP])
def test_nslookup_finds_addresses(port: int, name: str, expected: set[str]) -> None:
    printed = run("nslookup", f"-port={port}", f"-domain={SVC}", name, "127.0.0.1")
    assert {" ".join(found) for found in re.findall(r"Name:\s+(\S+)\nAddress: (\S+)", printed)} == expected


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.97.135.126", f"superopsmsb-nginx-service.{SVC}."),
        ("10.96.0.10", "kube-dns.kube-system.svc.cluster.local."),
        ("10.244.2.4", f"10-244-2-4.superopsmsb-nginx-headless.{SVC}."),
    ],
)
def test_nslookup_finds_names(port: int, address: str, name: str) -> None:
    reverse = ".".join(reversed(address.split(".")))
    printed = run("nslookup", f"-port={port}", address, "127.0.0.1")
    assert f"{reverse}.in-addr.arpa\tname = {name}\n" in printed


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("kube-dns", id="another namespace needs the qualified name"),
        pytest.param("service-headless", id="headless with nothing selected has no name"),
    ],
)
def test_nslookup_is_told_that_there_is_no_such_name(port: int, name: str) -> None:
    printed = run("nslookup", f"-port={port}", f"-domain={SVC}", name, "127.0.0.1")
    assert f"** server can't find {name}" in printed
    assert "status: NXDOMAIN" in run("dig", "@127.0.0.1", "-p", str(port), f"{name}.{SVC}")


DIG = [
    ("external", "CNAME", {"example.com."}),
    ("external", "A", {"example.com."}),
    ("alias", "A", {f"superopsmsb-nginx-service.{SVC}.", "10.97.135.126"}),
    ("_http._tcp.superopsmsb-nginx-service", "SRV", {f"0 100 80 superopsmsb-nginx-service.{SVC}."}),
]


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
@pytest.mark.parametrize(("name", "rrtype", "expected"), DIG, ids=[f"{name} {rrtype}" for name, rrtype, _ in DIG])
def test_dig_finds(port: int, name: str, rrtype: str, expected: set[str], transport: str) -> None:
    printed = run("dig", "@127.0.0.1", "-p", str(port), "+short", transport, f"{name}.{SVC}", rrtype)
    assert set(printed.splitlines()) == expected
