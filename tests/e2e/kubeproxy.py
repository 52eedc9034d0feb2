"""kube-proxy in its iptables mode: what a node does with a Service's address (its pkg/proxy/iptables)."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.e2e.network import POD_NETWORK
from tests.e2e.spaces import SpaceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.e2e.spaces import Space

MOST_TRIES = 50
IN_FLIGHT = 0.2  # seconds that a reply may take on a busy machine
MASQUERADE = "0x4000"  # the mark of packets whose reply has to come back by this node
FLOW = re.compile(r"src=(\S+) dst=\S+ sport=(\d+) dport=\d+ packets=(\d+) .*? packets=(\d+) ")
ONCE = f"""\
*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A POSTROUTING -s {POD_NETWORK} ! -d {POD_NETWORK} -j MASQUERADE
-A KUBE-MARK-MASQ -j MARK --or-mark {MASQUERADE}
-A KUBE-POSTROUTING -m mark ! --mark {MASQUERADE}/{MASQUERADE} -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark {MASQUERADE}
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
COMMIT
*filter
:KUBE-SERVICES - [0:0]
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES
COMMIT
"""


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A Service's port and where it leads: `endpoints` are ADDRESS:PORT."""

    name: str  # NAMESPACE/NAME:PORT, as kube-proxy's comments have it
    address: str
    protocol: str
    port: int
    endpoints: tuple[str, ...]

    @property
    def match(self) -> str:
        return f"-d {self.address}/32 -p {self.protocol} --dport {self.port}"

    @property
    def chain(self) -> str:
        return _chain("SVC", self.name + self.protocol)

    def endpoint_chain(self, endpoint: str) -> str:
        return _chain("SEP", self.name + self.protocol + endpoint)


def service_ports(objects: Iterable[dict[str, Any]]) -> Iterator[ServicePort]:
    """Yield the ports of Services with a cluster IP; of their EndpointSlices only what is ready counts."""
    objects = list(objects)
    slices = [each for each in objects if each["kind"] == "EndpointSlice"]
    for service in objects:
        address = service.get("spec", {}).get("clusterIP", "None") if service["kind"] == "Service" else "None"
        if address == "None":
            continue
        meta = service["metadata"]
        own = [each for each in slices if _service_of(each) == (meta["namespace"], meta["name"])]
        for port in service["spec"].get("ports", ()):
            endpoints = sorted(
                f"{address}:{target['port']}"
                for each in own
                for target in each["ports"]
                if target["name"] == port["name"]
                for endpoint in each["endpoints"]
                if endpoint.get("conditions", {}).get("ready", True)
                for address in endpoint["addresses"]
            )
            name = f"{meta['namespace']}/{meta['name']}:{port['name']}"
            yield ServicePort(name, address, port["protocol"].lower(), port["port"], tuple(endpoints))


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A flow that was forgotten between two times: the reply to a query that was on its way in it can't come back.

    `unanswered`: there was such a query when the flow was looked at, before it was deleted.
    """

    begin: float  # by the monotonic clock
    end: float
    client: str
    port: int
    unanswered: bool

    def lost(self, sent: float, client: str, port: int) -> bool:
        """Tell whether a query without a reply that was sent then is explained by it."""
        begin = self.begin - IN_FLIGHT if self.unanswered else self.begin
        return (client, port) == (self.client, self.port) and begin <= sent <= self.end


class KubeProxy:
    """One node's rules, written anew as a whole, in one transaction."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._flows: set[tuple[str, str]] = set()  # a Service's address, an endpoint's
        self._chains: set[str] = set()
        space.configure("iptables-restore", "--noflush", text=ONCE)

    def sync(self, ports: Sequence[ServicePort], serving: Iterable[str] = ()) -> list[Forgotten]:
        """Lead to these endpoints from now on; UDP flows to others are forgotten, but not to those that serve yet.

        So does kube-proxy from Kubernetes 1.32 on (pkg/proxy/conntrack/cleanup.go); before, it forgot flows to an
        endpoint that ends at once.
        """
        chains, text = rules(ports, self._chains)
        self._space.configure("iptables-restore", "--noflush", text=text)
        self._chains = chains
        udp = [port for port in ports if port.protocol == "udp"]
        flows = {(port.address, endpoint.partition(":")[0]) for port in udp for endpoint in port.endpoints}
        flows |= self._flows & {(port.address, endpoint) for port in udp for endpoint in serving}
        gone, self._flows = self._flows - flows, flows
        return [lost for address, endpoint in sorted(gone) for lost in self._forget(address, endpoint)]

    def _forget(self, address: str, endpoint: str) -> Iterator[Forgotten]:
        """Delete conntrack's entries, which conntrack(8) prints.

        One that has run out since it was listed makes it give up with the rest undone, and the exit status that it has
        for there being none: what it says last tells.
        """
        command = ("conntrack", "-D", "-p", "udp", "--orig-dst", address, "--dst-nat", endpoint)
        said = ""
        for _ in range(MOST_TRIES):
            begin = time.monotonic()
            done = self._space.run_outside(*command)
            end = time.monotonic()
            for client, port, asked, replied in FLOW.findall(done.stdout):
                yield Forgotten(begin, end, client, int(port), unanswered=int(asked) > int(replied))
            said = done.stderr
            if "flow entries have been deleted" in said:
                return
        raise SpaceError(f"{' '.join(command)}: {said}")


def rules(ports: Sequence[ServicePort], before: set[str]) -> tuple[set[str], str]:
    """Return the chains of Services, and what iptables-restore reads to have these and no others."""
    nat: list[str] = []
    reject: list[str] = []
    chains: set[str] = set()
    for port in ports:
        if not port.endpoints:
            reject.append(f"-A KUBE-SERVICES {port.match} -j REJECT")
            continue
        chains.add(port.chain)
        nat.append(f'-A KUBE-SERVICES {port.match} -m comment --comment "{port.name}" -j {port.chain}')
        nat.append(f"-A {port.chain} ! -s {POD_NETWORK} {port.match} -j KUBE-MARK-MASQ")
        for place, endpoint in enumerate(port.endpoints):
            chain = port.endpoint_chain(endpoint)
            chains.add(chain)
            left = len(port.endpoints) - place
            chance = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
            nat.append(f"-A {port.chain} {chance}-j {chain}")
            nat.append(f"-A {chain} -s {endpoint.partition(':')[0]}/32 -j KUBE-MARK-MASQ")
            nat.append(f"-A {chain} -p {port.protocol} -j DNAT --to-destination {endpoint}")
    declared = [f":{chain} - [0:0]" for chain in ("KUBE-SERVICES", *sorted(chains | before))]
    gone = [f"-X {chain}" for chain in sorted(before - chains)]
    lines = ["*nat", *declared, *nat, *gone, "COMMIT", "*filter", ":KUBE-SERVICES - [0:0]", *reject, "COMMIT", ""]
    return chains, "\n".join(lines)


def _chain(kind: str, name: str) -> str:
    """Return a chain's name as kube-proxy makes it: the hash keeps it below 29 octets, the most that iptables takes."""
    digest = base64.b32encode(hashlib.sha256(name.encode()).digest()).decode()
    return f"KUBE-{kind}-{digest[:16]}"


def _service_of(each: dict[str, Any]) -> tuple[str, str]:
    return each["metadata"]["namespace"], each["metadata"]["labels"]["kubernetes.io/service-name"]
