"""Up to 64 datagrams a system call, from a socket that is bound alone. Knows no DNS.

A *peer* is where a datagram came from and where it went to, as octets that the kernel wrote and takes back as they
are: the socket address, then one control message (ip(7) IP_PKTINFO, RFC 3542 §6.1 IPV6_PKTINFO), by which the reply
leaves from the address that was asked. Nothing is decoded, and no Python object is made, that a reply does not need.
"""

import contextlib
import ctypes
import errno
import socket
from array import array
from itertools import accumulate
from struct import Struct
from typing import Any

from kubedns import libc
from kubedns.libc import BATCH, DONTWAIT
from kubedns.listeners.counters import UdpCounters

SEND_BUFFER = BATCH * 4096  # octets that leave in one call: more than the largest datagram has
LARGEST_DATAGRAM = 65507  # what IPv4 can carry (RFC 768, RFC 791)
LINK_LOCAL = 0xFE, 0x80, 0xC0  # fe80::/10: its first octet, its second, and how much of that counts
IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)  # missing from Python's socket before 3.12
SOL_IP = 0


class Layout:
    """A peer's octets, by address family: sockaddr, cmsghdr and pktinfo, in the C compiler's own alignment.

    The last field is padding to the kernel, which neither writes nor reads it: the listener's port stands there.
    """

    def __init__(self, sockaddr: str, control: str, destination: str, option: tuple[int, int, int]) -> None:
        self.struct = Struct(f"@{sockaddr}{control}I")
        self.size = self.struct.size
        self.name_size = Struct(f"@{sockaddr}").size
        self.control_at = Struct(f"@{sockaddr}0L").size
        self.control_size = Struct(f"@{control}0L").size
        self.destination_at = Struct(f"@{sockaddr}{destination}").size
        self.interface_at = Struct(f"@{sockaddr}Lii0i").size if option[0] == SOL_IP else self.destination_at + 16
        self.option = option


# sin_family, sin_port, sin_addr; cmsg_len, level, type; ipi_ifindex, ipi_spec_dst, ipi_addr
IPV4 = Layout("H2s4s8x", "Liii4s4s", "Liii4s", (SOL_IP, IP_PKTINFO, 1))
# sin6_family, sin6_port, sin6_flowinfo, sin6_addr, sin6_scope_id; cmsg_len, level, type; ipi6_addr, ipi6_ifindex
IPV6 = Layout(
    "H2s4s16sI",
    "Lii16si",
    "Lii",
    (socket.IPPROTO_IPV6, getattr(socket, "IPV6_RECVPKTINFO", 49), 1),
)


def layout_of(sock: socket.socket) -> Layout:
    return IPV6 if sock.family == socket.AF_INET6 else IPV4


def is_link_local(address: bytes | memoryview) -> bool:
    """Whether an IPv6 address means nothing without its interface (RFC 4291 §2.5.6)."""
    return address[0] == LINK_LOCAL[0] and address[1] & LINK_LOCAL[2] == LINK_LOCAL[1]


class _Buffers:
    """What one direction of a socket needs: octets, peers, and headers that each point at their own."""

    def __init__(self, layout: Layout, octets: int, slot: int) -> None:
        self.octets = (ctypes.c_char * octets)()
        self.peers = (ctypes.c_char * (BATCH * layout.size))()
        self.start = ctypes.addressof(self.octets)
        self.headers = libc.Headers(self.start, slot)
        peer = ctypes.addressof(self.peers)
        for header in self.headers.headers:
            message = header.message
            message.name, message.name_size = peer, layout.name_size
            message.control, message.control_size = peer + layout.control_at, layout.control_size
            peer += layout.size


class Receiver:
    """Reads a socket's datagrams, at most `slot` octets of each: what is longer is cut."""

    def __init__(self, sock: socket.socket, slot: int, counters: UdpCounters) -> None:
        """Ask the kernel for each datagram's destination; OSError where it knows none."""
        layout = layout_of(sock)
        sock.setsockopt(*layout.option)
        self._counters = counters
        self._fd = sock.fileno()
        self._slot, self._peer_size = slot, layout.size
        self._starts = range(0, BATCH * slot, slot)
        self._each_peer = Struct(f"{layout.size}s").iter_unpack
        self._buffers = buffers = _Buffers(layout, BATCH * slot, slot)
        self._headers_at = ctypes.byref(buffers.headers.headers)
        self._octets = memoryview(buffers.octets).cast("B")
        self._headers = buffers.headers.octets
        self._fresh_headers = memoryview(bytes(self._headers))
        self._lengths = buffers.headers.received
        self._peers = memoryview(buffers.peers).cast("B")
        # Every 12th or 18th int of the peers is an interface.
        self._interfaces = self._peers.cast("i")[layout.interface_at // 4 :: layout.size // 4]
        self._any_interface = memoryview(bytes(4 * BATCH)).cast("i")
        self._destinations = self._peers[layout.destination_at :: layout.size] if layout is IPV6 else None
        port = array("I", [sock.getsockname()[1]] * BATCH)
        self._peers.cast("I")[layout.size // 4 - 1 :: layout.size // 4] = memoryview(port)
        self._first_header = (ctypes.c_char * libc.HEADER_SIZE).from_buffer(buffers.headers.headers)
        self._fresh_header = self._first_header.raw
        self._first_octets: Any = (ctypes.c_char * slot).from_buffer(buffers.octets)
        self._first_peer = (ctypes.c_char * layout.size).from_buffer(buffers.peers)

    def receive(self) -> tuple[list[bytes], list[bytes]]:
        """Return what has come, datagrams and their peers; fewer than BATCH when no more is there."""
        count = libc.recvmmsg(self._fd, self._headers_at, BATCH, DONTWAIT, None)
        if count <= 0:
            return [], []
        self._counters.received += count
        # A reply is routed as any packet is, unless its source means nothing beyond one link.
        if self._destinations is not None and LINK_LOCAL[0] in self._destinations[:count].tobytes():
            self._free_interfaces(count)
        elif count == 1:
            self._interfaces[0] = 0
        else:
            self._interfaces[:count] = self._any_interface[:count]
        # The kernel has written the sizes that it used over those that it may use.
        if count == 1:  # by far the most at low rates, where views of one element each are a third of the cost
            datagram = self._first_octets[: self._lengths[0]]
            self._first_header.raw = self._fresh_header
            return [datagram], [self._first_peer.raw]
        lengths = self._lengths[:count].tolist()
        octets = self._octets[: count * self._slot].tobytes()
        datagrams = [octets[start : start + length] for start, length in zip(self._starts, lengths, strict=False)]
        peers = [peer for (peer,) in self._each_peer(self._peers[: count * self._peer_size])]
        used = count * libc.HEADER_SIZE
        self._headers[:used] = self._fresh_headers[:used]
        return datagrams, peers

    def _free_interfaces(self, count: int) -> None:
        for i in range(count):
            at = i * self._peer_size + IPV6.destination_at
            if not is_link_local(self._peers[at : at + 2]):
                self._interfaces[i] = 0


class Sender:
    """Sends datagrams to peers. It never waits: what the kernel does not take is dropped and counted."""

    def __init__(self, sock: socket.socket, counters: UdpCounters) -> None:
        layout = layout_of(sock)
        self._counters = counters
        self._fd = sock.fileno()
        self._buffers = buffers = _Buffers(layout, SEND_BUFFER, 0)
        self._headers_at = ctypes.byref(buffers.headers.headers)
        self._octets, self._peers = buffers.octets, buffers.peers
        self._bases, self._lengths = buffers.headers.bases, buffers.headers.lengths

    def send(self, replies: list[bytes], peers: list[bytes]) -> None:
        """Send each reply to its peer, at most BATCH of them."""
        count = len(replies)
        if count == 1:
            self.send_one(replies[0], peers[0])
            return
        octets = b"".join(replies)
        if len(octets) > SEND_BUFFER:
            self.send(replies[: count // 2], peers[: count // 2])
            self.send(replies[count // 2 :], peers[count // 2 :])
            return
        self._octets.raw = octets
        self._peers.raw = b"".join(peers)
        lengths = array("L", map(len, replies))
        bases = array("L", accumulate(lengths, initial=self._buffers.start))
        self._bases[:count] = memoryview(bases)[:count]
        self._lengths[:count] = memoryview(lengths)
        sent = libc.sendmmsg(self._fd, self._headers_at, count, DONTWAIT)
        if sent == count:
            self._counters.sent += count
        else:
            self._send_rest(sent, count)

    def send_one(self, reply: bytes, peer: bytes) -> None:
        """Do as send(), without what is needed to send many."""
        if len(reply) > SEND_BUFFER:
            self._counters.too_large += 1
            return
        self._octets.raw = reply  # the first always begins where it is
        self._peers.raw = peer
        self._lengths[0] = len(reply)
        sent = libc.sendmmsg(self._fd, self._headers_at, 1, DONTWAIT)
        if sent == 1:
            self._counters.sent += 1
        else:
            self._send_rest(sent, 1)

    def _send_rest(self, sent: int, count: int) -> None:
        """Go on after a datagram that the kernel refused: an error is that one's alone, and told on the next call."""
        at = 0
        while True:
            if sent > 0:
                self._counters.sent += sent
                at += sent
            elif not self._skip(ctypes.get_errno()):
                self._counters.dropped += count - at
                return
            else:
                at += 1
            if at >= count:
                return
            rest = ctypes.byref(self._buffers.headers.headers, at * libc.HEADER_SIZE)
            sent = libc.sendmmsg(self._fd, rest, count - at, DONTWAIT)

    def _skip(self, error: int) -> bool:
        """Count a datagram that was not sent, unless no other would be either."""
        if error in (errno.EAGAIN, errno.ENOBUFS, errno.EBADF):
            return False
        if error == errno.EMSGSIZE:
            self._counters.too_large += 1
        else:
            self._counters.dropped += 1
        return True


def usable(sock: socket.socket) -> bool:
    """Whether this system has the calls, and tells this socket the destination of what it receives."""
    with contextlib.suppress(OSError):
        sock.setsockopt(*layout_of(sock).option)
        return libc.AVAILABLE
    return False
