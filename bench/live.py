"""The large cluster behind an API server: what is read from it, what changes in it, what happens to it."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from bench import cluster
from bench.processes import HOST, BenchError, Server, encode_query, on_core
from tests.end_to_end.server import Ports
from tests.fakes.apiserver import APIServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# kubeadm's, but that all is kept for 30 seconds, which makes it hard to be fresh; no question comes to forward.
COREFILE = """\
.:{port} {{
    errors
    health 127.0.0.1:{health} {{
        lameduck 0s
    }}
    ready 127.0.0.1:{ready}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    prometheus 127.0.0.1:{metrics}
    cache 30
    reload
    loadbalance
}}
"""
NAMESPACE = "zz"  # of all that is made here: lists come in order, so its objects are the last
PATIENCE = 60.0  # seconds
WAITED = 2.0  # seconds for a reply
ROUNDS = 3  # of everything: what comes again is kept, in more than one place
SEED = 3  # every run asks the same
NOERROR, NXDOMAIN = 0, 3


class Lived(NamedTuple):
    """An API server that holds the cluster, and a server that follows it."""

    api: APIServer
    server: Server


@contextmanager
def api_server(folder: Path, core: int, *, streaming: bool = True) -> Iterator[APIServer]:
    """Run an API server with the whole cluster; with bookmarks and compression as a real one's."""
    manifests = folder / "cluster.json"
    cluster.write_manifests(manifests)
    with on_core(core), APIServer(folder / "api", streaming_lists=streaming) as api:
        api.load(manifests)
        api.put({"kind": "Namespace", "metadata": {"name": NAMESPACE}})
        yield api


@contextmanager
def following(api: APIServer, folder: Path, core: int) -> Iterator[Server]:
    """Run a server that follows an API server, on one core."""
    path = folder / "scale.Corefile"
    with Ports() as ports:
        numbers = {name: ports.take() for name in ("port", "health", "ready", "metrics")}
        text = COREFILE.format(kubeconfig=api.kubeconfig(folder / "kubeconfig"), **numbers)
        path.write_text(text, encoding="ascii")
        command = [sys.executable, "-m", "kubedns", "-conf", str(path)]
        with Server("kubedns", numbers["port"], core, command, folder / "scale.log") as server:
            yield server


def service(name: str, address: str) -> dict[str, Any]:
    """Return a ClusterIP Service as the API gives it; `None` makes it headless."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ports": [{"name": "http", "port": cluster.PORT, "protocol": "TCP"}],
        },
    }


def endpoint_slice(name: str, *addresses: str) -> dict[str, Any]:
    """Return the one EndpointSlice of a Service."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-x",
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": cluster.ENDPOINT_PORT, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
    }


def domain_name(name: str) -> str:
    return f"{name}.{NAMESPACE}.svc.{cluster.ZONE}"


class Client:
    """Asks one question after another, each over the same socket."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(WAITED)
        self._socket.connect((HOST, port))
        self._ident = 0

    def ask(self, name: str, rrtype: int = 1) -> bytes:
        """Return the reply, empty where none comes."""
        self._ident = (self._ident + 1) & 0xFFFF
        ident = self._ident.to_bytes(2, "big")
        self._socket.send(ident + encode_query(name, rrtype)[2:])
        while True:
            try:
                octets = self._socket.recv(4096)
            except OSError:
                return b""
            if octets[:2] == ident:
                return octets

    def until(self, name: str, rcode: int, holding: bytes = b"", every: float = 0.0) -> float:
        """Ask until the reply has the RCODE and these octets; return when it came, in monotonic seconds.

        `every` in seconds is how long to wait before asking again.
        """
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            octets = self.ask(name)
            if octets and octets[3] & 15 == rcode and holding in octets:
                return time.monotonic()
            time.sleep(every)
        raise BenchError(f"{name}: not answered with RCODE {rcode} and {holding.hex() or 'anything'} in time")


def questions() -> Iterator[str]:
    """Yield `NAME TYPE` of everything there is, and of names that are not there: what fills whatever is kept."""
    chance = random.Random(SEED)
    for number in range(cluster.SERVICES):
        name, address = cluster.domain_name(number), chance.choice(cluster.endpoints(number))
        yield from (f"{name} A", f"{name} AAAA", f"_http._tcp.{name} SRV")
        yield from (f"{one.reverse_pointer} PTR" for one in cluster.endpoints(number))
        search = f"{cluster.namespace(number)}.svc.{cluster.ZONE}"
        yield from (f"api{number}.example.com.{search} A", f"{str(address).replace('.', '-')}.pod.{search} A")


def load(server: Server, core: int, path: Path) -> None:
    """Ask everything there is, ROUNDS times, as fast as it is answered; `path` is where the questions may be put."""
    if shutil.which("dnsperf") is None:
        raise BenchError("The scale run asks with dnsperf, which is not here (Debian: apt-get install dnsperf).")
    path.write_text("".join(f"{line}\n" for line in questions()), encoding="ascii")
    words = ["-s", HOST, "-p", str(server.port), "-d", str(path), "-n", str(ROUNDS), "-c", "20", "-q", "200", "-e"]
    with on_core(core):
        done = subprocess.run(["dnsperf", *words], capture_output=True, text=True, check=False)
    if done.returncode or "Queries completed" not in done.stdout:
        raise BenchError(f"dnsperf got no answers:\n{done.stdout[-500:]}{done.stderr[-500:]}{server.log()}")


class Relisted(NamedTuple):
    """Seconds from the API server's return to whole lists, and the server's CPU meanwhile."""

    seconds: float
    cpu: float


def relist(lived: Lived, number: int, down: float) -> Relisted:
    """Restart the API server without its past, away for `down` seconds, and wait for the whole new lists.

    What comes last in a list of Services and in one of EndpointSlices came while nobody could be told.
    """
    address = socket.inet_aton(f"10.111.0.{number}")
    lived.api.refuse()
    lived.api.put(service("last", "None"), endpoint_slice("last", socket.inet_ntoa(address)))
    lived.api.put(service(f"zz-{number}", socket.inet_ntoa(address)))
    lived.api.compact()
    time.sleep(down)
    lived.api.listen()
    begin, used = time.monotonic(), lived.server.cpu()
    client = Client(lived.server.port)
    for name in ("last", f"zz-{number}"):
        client.until(domain_name(name), NOERROR, address, every=0.01)
    return Relisted(time.monotonic() - begin, lived.server.cpu() - used)
