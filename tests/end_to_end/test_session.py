"""What a pod's user sees: the real nslookup and dig, asking by the pod's resolv.conf through the kube-dns address.

The server and its clients live in a network namespace of their own, where 10.96.0.10 is an address of the server's,
and in a mount namespace, where /etc/resolv.conf is a pod's.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.server import PATIENCE, SAMPLE, Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A pod's, but for the last suffix, localhost: without an upstream nobody answers for it.
RESOLV_CONF = """\
nameserver 10.96.0.10
search default.svc.cluster.local svc.cluster.local cluster.local
options ndots:5
"""
COREFILE = """\
.:53 {
    errors
    log
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
}
"""
PROGRAMS = {
    "dig": "bind9-dnsutils",
    "nslookup": "bind9-dnsutils",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "ip": "iproute2",
}
# In the new namespaces: addresses, a pod's resolv.conf, then the server in the shell's place.
SETUP = """
ip link set lo up
ip address add 10.96.0.10/32 dev lo
mount --bind resolv.conf /etc/resolv.conf
exec "$@"
"""
NOT_RECURSIVE = r"(?m)^;; Got recursion not available from 10\.96\.0\.10\n"  # as CoreDNS: its own answers have no RA
SUFFIX = "svc.cluster.local"
SERVICE = f"superopsmsb-nginx-service.default.{SUFFIX}"
HEADLESS = f"superopsmsb-nginx-headless.default.{SUFFIX}"
HEADLESS_ADDRESSES = ["10.244.1.3", "10.244.2.4", "10.244.3.2"]


class Pod:
    """Runs programs where the server runs."""

    def __init__(self, server: Server) -> None:
        self._enter = ("nsenter", "--target", str(server.process.pid), "--mount", "--net")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._enter, *command], capture_output=True, text=True, timeout=PATIENCE, check=False, env=_environment()
        )

    def nslookup(self, name: str) -> str:
        """Return what nslookup prints, without the server's own address and the note that it does not recurse."""
        printed = self.run("nslookup", name).stdout
        head = "Server:\t\t10.96.0.10\nAddress:\t10.96.0.10#53\n\n"
        return re.sub(NOT_RECURSIVE, "", printed).removeprefix(head).rstrip("\n")

    def dig(self, *arguments: str) -> list[str]:
        """Return the lines that dig prints, sorted."""
        return sorted(self.run("dig", "+search", *arguments).stdout.split("\n")[:-1])


def _environment() -> dict[str, str]:
    return {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    path = _environment()["PATH"]
    missing = {package for program, package in PROGRAMS.items() if shutil.which(program, path=path) is None}
    assert not missing, (
        f"this test needs programs of the Debian packages {' '.join(sorted(missing))}: `make test` installs them"
    )
    assert os.geteuid() == 0, "this test makes network and mount namespaces: run it as root"
    folder = tmp_path_factory.mktemp("session")
    with _started(folder) as server:
        server.wait_until_started()
        yield Pod(server)


def _started(folder: Path) -> Server:
    (folder / "Corefile").write_text(COREFILE)
    (folder / "resolv.conf").write_text(RESOLV_CONF)
    inside = ("unshare", "--mount", "--net", "sh", "-ec", SETUP, "sh", sys.executable, "-m", "kubedns")
    return Server(("-conf", "Corefile", "--manifests", str(SAMPLE)), folder, {"PATH": _environment()["PATH"]}, inside)


def found(name: str, *addresses: str) -> str:
    return "\n".join(f"Name:\t{name}\nAddress: {address}" for address in addresses)


ANSWERS = {
    "superopsmsb-nginx-service": found(SERVICE, "10.97.135.126"),
    "superopsmsb-nginx-service.default": found(SERVICE, "10.97.135.126"),
    f"{SERVICE}": found(SERVICE, "10.97.135.126"),
    f"{SERVICE}.": found(SERVICE, "10.97.135.126"),
    "superopsmsb-nginx-nodeport": found(f"superopsmsb-nginx-nodeport.default.{SUFFIX}", "10.106.138.242"),
    "svc-loadblancer": found(f"svc-loadblancer.default.{SUFFIX}", "10.104.39.177"),
    "kubernetes": found(f"kubernetes.default.{SUFFIX}", "10.96.0.1"),
    f"kube-dns.kube-system.{SUFFIX}": found(f"kube-dns.kube-system.{SUFFIX}", "10.96.0.10"),
    "kube-dns.kube-system": found(f"kube-dns.kube-system.{SUFFIX}", "10.96.0.10"),
    f"10-244-3-64.{SERVICE}.": found(f"10-244-3-64.{SERVICE}", "10.244.3.64"),
    "10.97.135.126": f"126.135.97.10.in-addr.arpa\tname = {SERVICE}.",
    "10.96.0.10": f"10.0.96.10.in-addr.arpa\tname = kube-dns.kube-system.{SUFFIX}.",
    "10.244.2.4": f"4.2.244.10.in-addr.arpa\tname = 10-244-2-4.{HEADLESS}.",
    "10.244.3.2": f"2.3.244.10.in-addr.arpa\tname = 10-244-3-2.{HEADLESS}.",
    "10-244-3-64.default.pod": found("10-244-3-64.default.pod.cluster.local", "10.244.3.64"),
}


@pytest.mark.parametrize("asked", ANSWERS)
def test_nslookup(asked: str, pod: Pod) -> None:
    assert pod.nslookup(asked) == ANSWERS[asked]


def test_nslookup_of_a_headless_service(pod: Pod) -> None:
    lines = pod.nslookup("superopsmsb-nginx-headless").splitlines()
    assert lines[::2] == [f"Name:\t{HEADLESS}"] * 3
    assert sorted(line.removeprefix("Address: ") for line in lines[1::2]) == HEADLESS_ADDRESSES


def test_nslookup_of_a_pod_behind_several_services(pod: Pod) -> None:
    printed = pod.nslookup("10.244.3.64")
    names = re.findall(r"^64\.3\.244\.10\.in-addr\.arpa\tname = (\S+)$", printed, re.MULTILINE)
    services = ("superopsmsb-nginx-nodeport", "superopsmsb-nginx-service", "svc-loadblancer")
    assert sorted(names) == [f"10-244-3-64.{service}.default.{SUFFIX}." for service in services]


@pytest.mark.parametrize("name", ["kube-dns", "service-headless", "no-such-service"])
def test_a_name_that_no_suffix_makes_whole(name: str, pod: Pod) -> None:
    """Another namespace needs the qualified name; a headless Service that selects nothing has none at all."""
    printed = pod.run("nslookup", name)
    assert printed.returncode == 1
    assert f"server can't find {name}" in printed.stdout
    for suffix in (f"default.{SUFFIX}", SUFFIX, "cluster.local"):
        status = pod.run("dig", f"{name}.{suffix}.").stdout
        assert "status: NXDOMAIN" in status
        assert re.search(r"^cluster\.local\.\t+30\tIN\tSOA\tns\.dns\.cluster\.local\. ", status, re.MULTILINE)


@pytest.mark.parametrize("flag", ["+notcp", "+tcp", "+noedns", "+dnssec", "+nocookie", "+bufsize=512"])
@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (("superopsmsb-nginx-service",), ["10.97.135.126"]),
        (("superopsmsb-nginx-headless",), HEADLESS_ADDRESSES),
        (("-x", "10.96.0.1"), [f"kubernetes.default.{SUFFIX}."]),
        (("_dns-tcp._tcp.kube-dns.kube-system", "SRV"), [f"0 100 53 kube-dns.kube-system.{SUFFIX}."]),
        (("external", "CNAME"), ["example.com."]),
        (("alias",), ["10.97.135.126", f"{SERVICE}."]),
        (("superopsmsb-nginx-service", "AAAA"), []),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_dig(question: tuple[str, ...], expected: list[str], flag: str, pod: Pod) -> None:
    assert pod.dig("+short", flag, *question) == expected


def test_dig_finds_nothing_to_complain_of(pod: Pod) -> None:
    printed = pod.run("dig", f"{HEADLESS}.")
    assert "status: NOERROR" in printed.stdout
    assert ";; flags: qr aa rd; QUERY: 1, ANSWER: 3, AUTHORITY: 0, ADDITIONAL: 1" in printed.stdout
    assert ";; SERVER: 10.96.0.10#53(10.96.0.10) (UDP)" in printed.stdout
    known = {";; WARNING: .local is reserved for Multicast DNS", ";; WARNING: recursion requested but not available"}
    told = {line for line in printed.stdout.splitlines() if "WARNING" in line or "mismatch" in line}
    assert told - known == set()
