"""A cluster without a kubelet: API server, upstream, nodes, the kube-dns Service and the Deployment behind it.

What the control plane does is done here, and quickly: a replica's readiness is asked for every half second, and what
changes of it is in every node's rules a moment later.
"""

from __future__ import annotations

import copy
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import yaml

from tests.e2e.asker import OUTSIDE
from tests.e2e.kubelet import Replica
from tests.e2e.kubeproxy import KubeProxy, service_ports
from tests.e2e.network import OUTSIDE as UPSTREAM
from tests.e2e.network import Network, Node, Pod
from tests.end_to_end.server import PATIENCE, SAMPLE
from tests.fakes.apiserver import APIServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.e2e.kubeproxy import Forgotten
    from tests.e2e.network import Kind
    from tests.e2e.spaces import Program

DNS = "10.96.0.10"
API_PORT = 6443
PROPAGATION = 0.5  # seconds from a pod's deletion to the rules without it; its SIGTERM comes sooner
LAMEDUCK = 5.0  # seconds, in the Corefile below
UNREADY = 0.5  # seconds more until the pod's failing /ready tells that it serves no more
ENDING = 30.0  # seconds that a pod has to end: terminationGracePeriodSeconds
RESOLV_CONF = f"""\
nameserver {DNS}
search default.svc.cluster.local svc.cluster.local cluster.local localhost
options ndots:5
"""
# kubeadm's, but for the seconds of `reload`.
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
EDITED = COREFILE.replace(
    "max_concurrent 1000\n",
    "max_concurrent 1000\n       except www.baidu.com.\n",
).replace(
    "    cache 30\n",
    "    hosts {\n       10.0.0.20 harbor.superopsmsb.com\n       fallthrough\n    }\n    cache 30\n",
)
# An upstream that says NXDOMAIN to what it does not know: what nslookup prints last depends on it.
UNBOUND = f"""\
server:
    interface: {UPSTREAM}
    access-control: 0.0.0.0/0 allow
    do-daemonize: no
    use-syslog: no
    username: ""
    chroot: ""
    directory: "{{folder}}"
    pidfile: ""
    num-threads: 1
    module-config: "iterator"
    local-zone: "localhost." nodefault
    local-zone: "." static
    local-data: ". 3600 IN SOA ns. hostmaster. 1 3600 600 86400 30"
    local-data: "{OUTSIDE[0]} 60 IN A {OUTSIDE[1]}"
    local-data: "www.baidu.com. 60 IN A 192.0.2.66"
remote-control:
    control-enable: no
"""
HTTP_SERVER = """\
import http.server, socket
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"nginx-6944855df5-8zjdn\\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("", 80), Handler)
print("serving", flush=True)
server.serve_forever()
"""


class Cluster:
    """Runs within its block; `pods` are the clients' by their nodes."""

    def __init__(self, folder: Path, kind: Kind, corefile: str = COREFILE) -> None:
        self.folder = folder
        self.corefile = corefile
        self.replicas: list[Replica] = []
        self.programs: dict[str, Program] = {}
        self.switched: list[float] = []  # when the rules of all nodes were other ones, by the monotonic clock
        self.events: list[str] = []
        self.forgotten: list[Forgotten] = []
        # From the end of a server's lameduck time to the rules without it, where the machine was that slow.
        self.overdue: list[tuple[float, float]] = []
        self.troubles: list[BaseException] = []  # of threads
        self._kind = kind
        self._undo = ExitStack()
        self._lock = threading.RLock()
        self._names = iter(range(1, 10_000))
        self._ending: list[threading.Thread] = []

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._undo = undo
            self._build(undo)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            error.add_note(self.told())
        self._undo.close()

    def _build(self, undo: ExitStack) -> None:
        self.network = Network(self._kind)
        undo.callback(self._join)
        undo.callback(self.network.close)
        undo.callback(self._stop)
        self.nodes = {node.name: node for node in self.network.nodes}
        self._write("pod.resolv.conf", RESOLV_CONF)
        self._write("node.resolv.conf", f"nameserver {UPSTREAM}\n")
        self._start_upstream()
        control = self.nodes["node-12"]
        self.api = undo.enter_context(
            APIServer(self.folder / "api", elsewhere=(control.address, API_PORT, control.space.enter_network))
        )
        self._objects = list(sample_objects())
        self.api.put(*self._objects)
        self.service_account = self.api.service_account(self.folder / "serviceaccount")
        self._proxies = {name: KubeProxy(node.space) for name, node in self.nodes.items()}
        self.sync()
        self.pods = {name: self.add_pod(node) for name, node in self.nodes.items()}
        web = self.add_pod(self.nodes["node-15"], number=64)
        self.programs["nginx"] = web.space.start("python3", "-c", HTTP_SERVER)
        self.programs["nginx"].output.wait_for("serving")
        for name in ("node-13", "node-14"):
            self.start_replica(self.nodes[name])
        self.wait_until_ready()

    def _start_upstream(self) -> None:
        folder = self.folder / "unbound"
        folder.mkdir()
        path = self._write("unbound/unbound.conf", UNBOUND.format(folder=folder))
        self.programs["unbound"] = self.network.outside.start("unbound", "-d", "-c", str(path))
        self.programs["unbound"].output.wait_for("start of service")

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def add_pod(self, node: Node, number: int = 0) -> Pod:
        return Pod(self.network.world, node, self.folder / "pod.resolv.conf", number=number)

    # The Deployment

    def note(self, text: str) -> None:
        """Remember what happens now, to be told if a test fails."""
        self.events.append(f"{time.monotonic():.3f} {text}")

    def start_replica(self, node: Node) -> Replica:
        """Start one more pod of the server; it is asked once it is ready."""
        name = f"kubedns-{next(self._names)}"
        replica = Replica(self, node, name)
        self.note(f"{name} at {replica.pod.address} starts")
        with self._lock:
            self.replicas.append(replica)
        replica.begin()
        return replica

    def terminate(self, replica: Replica) -> None:
        """Delete a pod: it is told to end at once, and a little later is an endpoint no more."""
        replica.terminating = True
        replica.program.send(signal.SIGTERM)
        self.note(f"{replica.name} is told to end")
        thread = threading.Thread(target=self._guarded, args=(self._end, replica))
        self._ending.append(thread)
        thread.start()

    def _end(self, replica: Replica) -> None:
        begin = time.monotonic()
        time.sleep(PROPAGATION)
        replica.ready = False
        self.sync()
        time.sleep(UNREADY)
        replica.serving = False
        self.sync()
        self.overdue.append((begin + LAMEDUCK, time.monotonic()))
        status = replica.program.wait(ENDING)
        self.note(f"{replica.name} has ended")
        with self._lock:
            self.replicas.remove(replica)
        replica.close()
        if status:
            raise AssertionError(f"{replica.name} ended with {status}:\n{replica.program.output.text}")

    def roll(self) -> None:
        """Replace every replica as a Deployment with maxUnavailable 1 does: one ends while the next one starts."""
        for old in [replica for replica in self.replicas if not replica.terminating]:
            new = self.start_replica(old.pod.node)
            self.terminate(old)
            new.wait_until(serving=True)

    def settle(self) -> None:
        """Wait until all that is to end has ended; raise what went wrong in a thread."""
        for thread in self._ending:
            thread.join(ENDING + PATIENCE)
        self._ending.clear()
        if self.troubles:
            raise self.troubles[0]

    def wait_until_ready(self) -> None:
        for replica in self.replicas:
            replica.wait_until(serving=True)

    def edit(self, corefile: str, says: str = "Reloading complete") -> None:
        """Change the ConfigMap: each pod's mounted files are renewed; wait until each server has said so."""
        if corefile == self.corefile:
            return
        self.corefile = corefile
        with self._lock:
            replicas = [replica for replica in self.replicas if not replica.terminating]
        said = [len(replica.program.output.all) for replica in replicas]
        for replica in replicas:
            replica.mount(corefile)
        for replica, lines in zip(replicas, said, strict=True):
            replica.program.output.wait_for(says, after=lines)

    def put_service(self, name: str, address: str) -> None:
        """Create a Service; DNS alone has to know it."""
        ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
        spec = {"clusterIP": address, "clusterIPs": [address], "type": "ClusterIP", "ports": ports}
        self.api.put({"kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec})

    # Endpoints and rules

    def report(self, replica: Replica, *, serving: bool) -> None:
        """Take a kubelet's word for a replica."""
        if replica.serving != serving and not replica.terminating:
            replica.serving = replica.ready = serving
            self.sync()

    def sync(self) -> None:
        """Write the Service's EndpointSlice, and the rules of all nodes that hear of it."""
        with self._lock:
            endpoints = [
                {"addresses": [replica.pod.address], "conditions": replica.conditions()} for replica in self.replicas
            ]
            each = next(each for each in self._objects if _is(each, "EndpointSlice", "kube-dns"))
            each["endpoints"] = endpoints
            self.api.put(copy.deepcopy(each))
            ports = tuple(service_ports(self._objects))
            serving = [replica.pod.address for replica in self.replicas if replica.serving]
            hear = [proxy for name, proxy in self._proxies.items() if not self.nodes[name].cut]
            with ThreadPoolExecutor(len(hear)) as at_once:
                for forgotten in at_once.map(lambda proxy: proxy.sync(ports, serving), hear):
                    self.forgotten += forgotten
            self.switched.append(time.monotonic())
            ready = " ".join(replica.name for replica in self.replicas if replica.ready)
            self.note(f"rules of all nodes: {ready}")

    def wait_until_switched(self, since: float) -> float:
        """Return when all nodes have had other rules than before."""
        self.wait_until(lambda: self.switched[-1] > since)
        return next(when for when in self.switched if when > since)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > end:
                raise AssertionError(f"not within {PATIENCE} s\n{self.told()}")
            time.sleep(0.05)

    def _guarded(self, call: Any, *arguments: Any) -> None:
        try:
            call(*arguments)
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.troubles.append(error)

    def _stop(self) -> None:
        for replica in self.replicas:
            replica.stop()

    def _join(self) -> None:
        """Wait for the threads; what they miss of the network that is gone already is no trouble."""
        for replica in list(self.replicas):
            replica.close()
        for thread in self._ending:
            thread.join(PATIENCE)

    def told(self) -> str:
        """Return what all programs have said."""
        told = {"events": "\n".join(self.events)}
        told |= {name: program.output.text for name, program in self.programs.items()}
        told |= {f"{each.name} on {each.pod.node.name}": each.program.output.text for each in self.replicas}
        return "\n".join(f"--- {name}\n{text}" for name, text in told.items())


def sample_objects() -> Iterator[dict[str, Any]]:
    """Yield the session's objects, but for the pods of another server."""
    for path in sorted(SAMPLE.glob("*.yaml")):
        for each in yaml.safe_load_all(path.read_text()):
            if not (each["kind"] == "Pod" and each["metadata"]["labels"].get("k8s-app") == "kube-dns"):
                yield each


def _is(each: dict[str, Any], kind: str, service: str) -> bool:
    labels = each["metadata"].get("labels", {})
    return bool(each["kind"] == kind and labels.get("kubernetes.io/service-name") == service)
