"""Nodes on one wire and pods on their bridges, joined as flannel joins them: by VXLAN, or by routes (host-gw)."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

from tests.e2e.spaces import Space

if TYPE_CHECKING:
    from pathlib import Path

Kind = Literal["vxlan", "host-gw"]
OUTSIDE = "10.0.0.1"  # the name server that the nodes' resolv.conf names
POD_NETWORK = "10.244.0.0/16"
VXLAN_PORT = 8472  # flannel's
VXLAN_HEADERS = 50  # octets
MTU = 1500
FORWARDING = (
    "net.ipv4.ip_forward=1",
    "net.ipv4.conf.all.rp_filter=0",
    "net.netfilter.nf_conntrack_acct=1",  # to tell a flow that has been answered from one that has not
    "net.bridge.bridge-nf-call-iptables=1",  # without it a reply on the same bridge bypasses the translation back
)
# A pod's files: its resolv.conf, and what kubelet mounts, below a /run of its own.
POD_SETUP = """
mount -t tmpfs tmpfs /run
file=$(readlink -f /etc/resolv.conf)
mkdir -p "$(dirname "$file")"
[ -e "$file" ] || : >"$file"
mount --bind {resolv_conf} "$file"
"""
BIND = """
mkdir -p {target}
mount --bind {source} {target}
"""


class Node:
    """A machine: `number` is the last part of its address and, less 12, the third one of its pods'."""

    def __init__(self, world: Space, number: int) -> None:
        self.name = f"node-{number}"
        self.address = f"10.0.0.{number}"
        self.subnet = f"10.244.{number - 12}"
        # Of its VXLAN device, and with 01 at the end of its bridge: one of the bridge's own changes with its pods.
        self.hardware = f"02:42:0a:f4:{number - 12:02x}:00"
        self.space = Space(world)
        self.cut = False
        self._world = world
        self._pods = 1  # the bridge's own address
        plug(world, self.space, self.name, self.address)
        self.space.configure("sysctl", "-qw", *FORWARDING)
        self.space.ip(f"""\
link add cni0 address {self.hardware[:-2]}01 type bridge
addr add {self.subnet}.1/24 dev cni0
link set cni0 up
route add default via {OUTSIDE}
""")

    def join(self, others: list[Node], kind: Kind) -> None:
        """Reach the pods of other nodes."""
        if kind == "host-gw":
            self.space.ip("".join(f"route add {node.subnet}.0/24 via {node.address}\n" for node in others))
            return
        self.space.ip(f"""\
link add flannel.1 type vxlan id 1 dstport {VXLAN_PORT} local {self.address} dev eth0 nolearning
link set flannel.1 address {self.hardware} mtu {MTU - VXLAN_HEADERS} up
addr add {self.subnet}.0/32 dev flannel.1
""")
        for node in others:
            self.space.ip(f"""\
neigh add {node.subnet}.0 lladdr {node.hardware} dev flannel.1 nud permanent
route add {node.subnet}.0/24 via {node.subnet}.0 dev flannel.1 onlink
""")
            self.space.configure("bridge", "fdb", "append", node.hardware, "dev", "flannel.1", "dst", node.address)

    def next_pod(self) -> int:
        self._pods += 1
        return self._pods

    def unplug(self) -> None:
        """Cut the node off."""
        self._world.ip(f"link set {self.name} down\n")
        self.cut = True

    def plug_in(self, url: str) -> None:
        """Let the node back; it is heard of again once it gets an answer from there, as kubelet would."""
        self._world.ip(f"link set {self.name} up\n")
        self.space.configure("curl", "-sk", "--retry", "20", "--retry-all-errors", "--max-time", "1", url)
        self.cut = False


class Pod:
    """A pod's namespaces; `mounts` are folders by their places inside, below /run."""

    def __init__(
        self, world: Space, node: Node, resolv_conf: Path, *, number: int = 0, mounts: dict[str, Path] | None = None
    ) -> None:
        number = number or node.next_pod()
        self.node = node
        self.address = f"{node.subnet}.{number}"
        setup = POD_SETUP.format(resolv_conf=resolv_conf)
        for target, source in (mounts or {}).items():
            setup += BIND.format(target=target, source=source)
        self.space = Space(world, setup)
        mtu = MTU - VXLAN_HEADERS
        node.space.ip(f"""\
link add veth{number} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {self.space.pid}
link set veth{number} master cni0 up
link set veth{number} type bridge_slave hairpin on
""")
        self.space.ip(f"""\
link set lo up
addr add {self.address}/24 dev eth0
link set eth0 up
route add default via {node.subnet}.1
""")

    def close(self) -> None:
        self.space.close()


class Network:
    """Nodes 12 to 15 as in the session, and what is outside of the cluster."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        with ExitStack() as undo:
            self.world = Space()
            undo.callback(self.world.close)
            self.world.ip("link set lo up\nlink add wire type bridge\nlink set wire up\n")
            self.outside = Space(self.world)
            plug(self.world, self.outside, "outside", OUTSIDE)
            self.nodes = [Node(self.world, number) for number in range(12, 16)]
            for node in self.nodes:
                node.join([other for other in self.nodes if other is not node], kind)
            self._undo = undo.pop_all()

    def close(self) -> None:
        self._undo.close()


def plug(world: Space, space: Space, name: str, address: str) -> None:
    """Put a network on the wire."""
    world.ip(f"link add {name} type veth peer name eth0 netns {space.pid}\nlink set {name} master wire up\n")
    space.ip(f"link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\n")
