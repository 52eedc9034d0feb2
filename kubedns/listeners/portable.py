"""What mmsg.py does, by the socket module alone: a datagram a call, for systems without recvmmsg and sendmmsg.

Where even IP_PKTINFO is missing, the reply's source is what the system chooses.
"""

import contextlib
import errno
import socket
import sys
from struct import Struct

from kubedns.libc import BATCH
from kubedns.listeners.counters import UdpCounters
from kubedns.listeners.mmsg import IPV4, IPV6, is_link_local

# The option that asks for a datagram's destination (level, option), and the type of the control message that tells it.
IPV4_PKTINFO: int = {"linux": 8, "darwin": 26}.get(sys.platform, getattr(socket, "IP_PKTINFO", 0))  # 0: none
IPV6_RECVPKTINFO: int = getattr(socket, "IPV6_RECVPKTINFO", 0)
IPV6_PKTINFO: int = getattr(socket, "IPV6_PKTINFO", 0)
PKTINFO4 = Struct("@i4s4s")  # ipi_ifindex, ipi_spec_dst, ipi_addr
PKTINFO6 = Struct("@16si")  # ipi6_addr, ipi6_ifindex


class PortableReceiver:
    """Reads a socket's datagrams, at most `slot` octets of each: what is longer is cut."""

    def __init__(self, sock: socket.socket, slot: int, counters: UdpCounters) -> None:
        self._sock, self._slot, self._counters = sock, slot, counters
        self._port = sock.getsockname()[1]
        self._six = sock.family == socket.AF_INET6
        self._room = 0
        option = IPV6_RECVPKTINFO if self._six else IPV4_PKTINFO
        if option and hasattr(sock, "recvmsg"):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_IPV6 if self._six else socket.IPPROTO_IP, option, 1)
                self._room = socket.CMSG_SPACE(PKTINFO6.size)

    def receive(self) -> tuple[list[bytes], list[bytes]]:
        """Return what has come, datagrams and their peers; fewer than BATCH when no more is there."""
        datagrams: list[bytes] = []
        peers: list[bytes] = []
        with contextlib.suppress(OSError):  # no more, or an error that an earlier reply met: both end the batch
            while len(datagrams) < BATCH:
                if self._room:
                    datagram, ancillary, _, address = self._sock.recvmsg(self._slot, self._room)
                else:
                    datagram, address = self._sock.recvfrom(self._slot)
                    ancillary = []
                peers.append(self._peer(address, ancillary))
                datagrams.append(datagram)
        self._counters.received += len(datagrams)
        return datagrams, peers

    def _peer(self, address: tuple[str, int, int, int], ancillary: list[tuple[int, int, bytes]]) -> bytes:
        """Pack what the socket module has unpacked; a zero destination where the system tells none."""
        pktinfo = next((data for level, _, data in ancillary if level in (socket.IPPROTO_IP, socket.IPPROTO_IPV6)), b"")
        port = address[1].to_bytes(2, "big")
        if not self._six:
            host = socket.inet_pton(socket.AF_INET, address[0])
            _, source, destination = PKTINFO4.unpack(pktinfo) if pktinfo else (0, bytes(4), bytes(4))
            return IPV4.struct.pack(socket.AF_INET, port, host, 0, 0, 0, 0, source, destination, self._port)
        host = socket.inet_pton(socket.AF_INET6, address[0].partition("%")[0])
        destination, interface = PKTINFO6.unpack(pktinfo) if pktinfo else (bytes(16), 0)
        interface = interface if is_link_local(destination) else 0
        family, scope = socket.AF_INET6, address[3]
        return IPV6.struct.pack(family, port, bytes(4), host, scope, 0, 0, 0, destination, interface, self._port)


class PortableSender:
    """Sends datagrams to peers. It never waits: what the kernel does not take is dropped and counted."""

    def __init__(self, sock: socket.socket, counters: UdpCounters) -> None:
        self._sock, self._counters = sock, counters
        self._six = sock.family == socket.AF_INET6

    def send(self, replies: list[bytes], peers: list[bytes]) -> None:
        for reply, peer in zip(replies, peers, strict=True):
            self.send_one(reply, peer)

    def send_one(self, reply: bytes, peer: bytes) -> None:
        try:
            self._send(reply, peer)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                self._counters.too_large += 1
            else:
                self._counters.dropped += 1
        else:
            self._counters.sent += 1

    def _send(self, reply: bytes, peer: bytes) -> None:
        address: tuple[str, int] | tuple[str, int, int, int]
        if self._six:
            _, port, _, host, scope, *_, destination, interface, _ = IPV6.struct.unpack(peer)
            address = (socket.inet_ntop(socket.AF_INET6, host), int.from_bytes(port, "big"), 0, scope)
            control = (socket.IPPROTO_IPV6, IPV6_PKTINFO, PKTINFO6.pack(destination, interface))
        else:
            _, port, host, *_, interface, source, destination, _ = IPV4.struct.unpack(peer)
            address = (socket.inet_ntop(socket.AF_INET, host), int.from_bytes(port, "big"))
            control = (socket.IPPROTO_IP, IPV4_PKTINFO, PKTINFO4.pack(interface, source, destination))
        if any(destination):
            self._sock.sendmsg([reply], [control], 0, address)
        else:
            self._sock.sendto(reply, address)
