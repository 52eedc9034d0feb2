"""An operator edits the ConfigMap of a kubeadm cluster: the edit takes by itself, and no query is lost over it.

The server, Unbound as the nodes' own resolver, and the clients live in network namespaces of their own. The server has
a node's /etc/resolv.conf, as a pod with dnsPolicy Default; its clients have a pod's.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.load import Load, Question
from tests.end_to_end.server import PATIENCE, SAMPLE, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE = "10.96.0.10"
# kubeadm's, but for the interval: its own is 30 s, give or take 7.5.
COREFILE = """\
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    loop
    reload 2s 0s
    loadbalance
}
"""
INTERVAL = 2.0  # seconds
EXCEPT = "       except {}\n"
HOSTS = """\
    hosts {
       10.0.0.20 harbor.superopsmsb.com
       fallthrough
    }
"""
SEARCH = "default.svc.cluster.local svc.cluster.local cluster.local localhost"
POD = f"nameserver {SERVICE}\nsearch {SEARCH}\noptions ndots:5\n"
NODE = "nameserver 192.0.2.53\n"
UNBOUND = """\
server:
    interface: 192.0.2.53
    access-control: 0.0.0.0/0 allow
    do-daemonize: no
    use-syslog: no
    logfile: ""
    username: ""
    chroot: ""
    directory: "."
    pidfile: ""
    module-config: "iterator"
    local-zone: "." static
    local-zone: "localhost." static
    local-data: "www.baidu.com. 60 IN A 192.0.2.80"
    local-data: "www.example.com. 60 IN A 192.0.2.81"
remote-control:
    control-enable: no
"""
# Two namespaces and a link between them; the second one's owner waits for the link before it becomes Unbound.
SETUP = """
ip link set lo up
ip address add 10.96.0.10/32 dev lo
mkfifo linked
unshare --net sh -ec 'echo > unshared; read _ < linked; exec unbound -d -c unbound.conf' > unbound.log 2>&1 &
upstream=$!
echo $upstream > upstream.pid
while [ ! -s unshared ]; do sleep 0.01; done
ip link add near type veth peer name far netns $upstream
ip address add 192.0.2.1/24 dev near
ip link set near up
nsenter --target $upstream --net sh -ec 'ip address add 192.0.2.53/24 dev far; ip link set far up; ip link set lo up'
echo > linked
mount --bind node-resolv.conf /etc/resolv.conf
exec "$@"
"""
CLIENT = 'mount --bind "$0" /etc/resolv.conf; exec "$@"'
PROGRAMS = ("ip", "nsenter", "nslookup", "unbound", "unshare")
NXDOMAIN = 3
QUESTIONS = [
    Question("kubernetes.default.svc.cluster.local", "A", 0, 1),
    Question("superopsmsb-nginx-headless.default.svc.cluster.local", "A", 0, 3),
    Question("no-such.default.svc.cluster.local", "A", NXDOMAIN, 0),
    Question("10.0.96.10.in-addr.arpa", "PTR", 0, 1),
    Question("www.example.com", "A", 0, 1),
    Question("no-such.example.com", "A", NXDOMAIN, 0),
]
CLONE_NEWNET = 0x40000000


def environment() -> dict[str, str]:
    return {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}


class Cluster:
    """The server's pod, and what another pod sees of it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.resolv_conf = folder / "pod-resolv.conf"

    def edit(self, corefile: str) -> int:
        """Have the kubelet put another version of the ConfigMap in place; return how many lines there had been."""
        before = len(self.server.output.all)
        version = f"..{time.time_ns()}"
        mount(self.folder / "etc", corefile, version)
        return before

    def nslookup(self, name: str) -> str:
        """Return what nslookup prints in a pod, without the server's own address."""
        enter = ("nsenter", "--target", str(self.server.process.pid), "--mount", "--net", "unshare", "--mount")
        command = (*enter, "sh", "-ec", CLIENT, str(self.resolv_conf), "nslookup", name)
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment())
        head = f"Server:\t\t{SERVICE}\nAddress:\t{SERVICE}#53\n\n"
        # Replies of the cluster's own have no RA, as CoreDNS's: nslookup says so.
        said = re.sub(
            rf"(?m)^;; Got recursion not available from {re.escape(SERVICE)}\n", "", done.stdout + done.stderr
        )
        return said.removeprefix(head).replace("Non-authoritative answer:\n", "").strip()


def mount(folder: Path, corefile: str, version: str) -> None:
    (folder / version).mkdir(parents=True)
    (folder / version / "Corefile").write_text(corefile)
    (folder / "..data_tmp").symlink_to(version)
    (folder / "..data_tmp").replace(folder / "..data")


@contextmanager
def network_of(pid: int) -> Iterator[None]:
    """Have this thread, and the sockets that it makes, in a process's network namespace (setns(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as own, Path(f"/proc/{pid}/ns/net").open() as other:
        assert libc.setns(other.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(own.fileno(), CLONE_NEWNET) == 0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    path = environment()["PATH"]
    missing = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    assert not missing, f"this test needs {', '.join(missing)}: `make test` installs the packages"
    assert os.geteuid() == 0, "this test makes network and mount namespaces: run it as root"
    (tmp_path / "unbound.conf").write_text(UNBOUND)
    (tmp_path / "node-resolv.conf").write_text(NODE)
    (tmp_path / "pod-resolv.conf").write_text(POD)
    mount(tmp_path / "etc", COREFILE, "..1")
    (tmp_path / "etc" / "Corefile").symlink_to("..data/Corefile")
    inside = ("unshare", "--mount", "--net", "sh", "-ec", SETUP, "sh", sys.executable, "-m", "kubedns")
    arguments = ("-conf", "etc/Corefile", "--manifests", str(SAMPLE))
    with Server(arguments, tmp_path, {"PATH": path}, inside) as server:
        try:
            server.wait_until_started()
            yield Cluster(server, tmp_path)
        finally:
            pid = tmp_path / "upstream.pid"
            if pid.exists():
                os.kill(int(pid.read_text()), 9)


def answer(name: str, address: str) -> str:
    return f"Name:\t{name}\nAddress: {address}"


@pytest.mark.parametrize("excepted", ["www.baidu.com.", "www.baidu.com"])
def test_the_edit_takes_and_no_query_is_lost(excepted: str, cluster: Cluster) -> None:
    assert cluster.nslookup("www.baidu.com") == answer("www.baidu.com", "192.0.2.80")
    assert "server can't find harbor.superopsmsb.com: NXDOMAIN" in cluster.nslookup("harbor.superopsmsb.com")
    with network_of(cluster.server.process.pid):
        load = Load(53, QUESTIONS, host=SERVICE, rate=200)
    with load:
        load.wait_for(100)
        edited = COREFILE.replace("       max_concurrent", f"{EXCEPT.format(excepted)}       max_concurrent")
        before = cluster.edit(edited.replace("    loop\n", f"{HOSTS}    loop\n"))
        started = time.monotonic()
        cluster.server.output.wait_for(r"^\[INFO\] Reloading$", after=before)
        assert time.monotonic() - started < INTERVAL + 5  # and what a busy machine adds
        cluster.server.output.wait_for(r"^\[INFO\] Reloading complete$", after=before)
        said = cluster.nslookup("www.baidu.com")
        assert "server can't find www.baidu.com: SERVFAIL" in said
        assert "192.0.2.80" not in said
        assert cluster.nslookup("harbor.superopsmsb.com") == answer("harbor.superopsmsb.com", "10.0.0.20")
        load.wait_for(100)
    assert load.record.lost == []
    assert load.record.wrong == {}
    assert load.record.cut == load.record.refused == 0
    failures = {line for line in cluster.server.output.all if line.startswith("[ERROR]")}
    assert failures <= {f"[ERROR] plugin/errors: 2 www.baidu.com. {kind}: {WHY}" for kind in ("A", "AAAA")}
    assert failures


WHY = "plugin/forward: no next plugin found"
