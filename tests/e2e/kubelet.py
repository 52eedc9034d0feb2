"""What kubelet does for one replica: mounts, start, readiness, and another start when it has died."""

from __future__ import annotations

import http.client
import sys
import threading
import time
from typing import TYPE_CHECKING

from tests.e2e.network import Pod
from tests.e2e.spaces import join_network
from tests.end_to_end.server import PATIENCE
from tests.fakes.apiserver.credentials import mount

if TYPE_CHECKING:
    from tests.e2e.cluster import Cluster
    from tests.e2e.network import Node
    from tests.e2e.spaces import Program

PROBE_EVERY = 0.5  # seconds; 10 where a manifest says nothing
PROBE_TIMEOUT = 1.0  # seconds, where a manifest says nothing
MOST_FAILURES = 3  # in a row, where a manifest says nothing, until a replica that runs is not ready
NOTICE = 0.5  # seconds until it is noticed that a container has died; kubelet looks every second
BACK_OFF = 1.0  # seconds until a container that has died is started again
GRACE = 2.0  # seconds until a node that is not heard of has no ready pods; 40 in a real cluster
READY_PORT = 8181
VOLUME = "/run/coredns"
SECRETS = "/run/secrets/kubernetes.io/serviceaccount"


class Replica:
    """A pod of the server. `ready` and `serving` are its endpoint's conditions, as the control plane has them."""

    def __init__(self, cluster: Cluster, node: Node, name: str) -> None:
        self.name = name
        self.ready = self.serving = self.terminating = False
        self.starts = 0
        self._cluster = cluster
        self._volume = cluster.folder / name / "config-volume"
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._heard = time.monotonic()
        self.mount(cluster.corefile)
        mounts = {VOLUME: self._volume, SECRETS: cluster.service_account}
        self.pod = Pod(cluster.network.world, node, cluster.folder / "node.resolv.conf", mounts=mounts)
        self.program = self._start()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def conditions(self) -> dict[str, bool]:
        return {"ready": self.ready, "serving": self.serving, "terminating": self.terminating}

    def begin(self) -> None:
        self._thread.start()

    def _start(self) -> Program:
        self.starts += 1
        variables = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
        command = (sys.executable, "-m", "kubedns", "-conf", f"{VOLUME}/Corefile")
        return self.pod.space.start(*command, variables=variables)

    def mount(self, corefile: str) -> None:
        mount(self._volume, {"Corefile": corefile})

    def _watch(self) -> None:
        """Probe until the pod is gone."""
        join_network(self.pod.node.space.pid)
        failures = 0
        while not self._stopped.wait(PROBE_EVERY):
            if self.program.status is not None and not self.terminating:
                if self._stopped.wait(NOTICE):
                    return
                self._tell(serving=False)
                if self._stopped.wait(BACK_OFF):
                    return
                self.program = self._start()
            failures = 0 if self._is_ready() else failures + 1
            serving = failures == 0 or (self.serving and failures < MOST_FAILURES)
            if not self.pod.node.cut:
                self._heard = time.monotonic()
                self._tell(serving=serving)
            elif time.monotonic() - self._heard > GRACE:
                self._tell(serving=False)

    def _tell(self, *, serving: bool) -> None:
        self._cluster.report(self, serving=serving)
        with self._changed:
            self._changed.notify_all()

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(self.pod.address, READY_PORT, timeout=PROBE_TIMEOUT)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def wait_until(self, *, serving: bool, timeout: float = PATIENCE) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self.serving == serving, timeout):
                raise AssertionError(f"{self.name} is not serving={serving}:\n{self.program.output.text}")

    def stop(self) -> None:
        """Probe no more, from the next time on."""
        self._stopped.set()

    def close(self) -> None:
        self.stop()
        if self._thread.ident is not None:
            self._thread.join(PATIENCE)
        self.pod.close()
