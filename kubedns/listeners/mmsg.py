"""Up to 64 datagrams a system call: recvmmsg(2) and sendmmsg(2) by ctypes. Knows no DNS.

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

from kubedns.listeners.counters import UdpCounters

BATCH = 64  # datagrams a system call
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


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Header(ctypes.Structure):
    """struct mmsghdr: `length` is the octets that were received or sent."""

    _fields_ = (("message", _Message), ("length", ctypes.c_uint))


_libc = ctypes.CDLL(None, use_errno=True)
AVAILABLE = hasattr(_libc, "recvmmsg") and hasattr(_libc, "sendmmsg")
if AVAILABLE:
    _recvmmsg = _libc.recvmmsg
    _recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
    _sendmmsg = _libc.sendmmsg
    _sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


class _Buffers:
    """What one direction of a socket needs: headers, vectors and peers, each header pointing at its own."""

    def __init__(self, layout: Layout, octets: int, slot: int) -> None:
        self.octets = (ctypes.c_char * octets)()
        self.peers = (ctypes.c_char * (BATCH * layout.size))()
        self.vectors = (_Vector * BATCH)()
        self.headers = (_Header * BATCH)()
        self.start = ctypes.addressof(self.octets)
        peers, vectors = ctypes.addressof(self.peers), ctypes.addressof(self.vectors)
        for i in range(BATCH):
            self.vectors[i] = _Vector(self.start + i * slot, slot)
            peer, vector = peers + i * layout.size, vectors + i * ctypes.sizeof(_Vector)
            control = peer + layout.control_at
            self.headers[i].message = _Message(peer, layout.name_size, vector, 1, control, layout.control_size)


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
        self._headers_at = ctypes.addressof(buffers.headers)
        self._octets = memoryview(buffers.octets).cast("B")
        self._headers = memoryview(buffers.headers).cast("B")
        self._fresh_headers = bytes(self._headers)
        self._header_size = ctypes.sizeof(_Header)
        # Every 16th or so unsigned int of the headers is a length, every 12th or 18th int of the peers an interface.
        self._lengths = self._headers.cast("I")[_Header.length.offset // 4 :: self._header_size // 4]
        self._peers = memoryview(buffers.peers).cast("B")
        self._interfaces = self._peers.cast("i")[layout.interface_at // 4 :: layout.size // 4]
        self._any_interface = memoryview(bytes(4 * BATCH)).cast("i")
        self._destinations = self._peers[layout.destination_at :: layout.size] if layout is IPV6 else None
        port = array("I", [sock.getsockname()[1]] * BATCH)
        self._peers.cast("I")[layout.size // 4 - 1 :: layout.size // 4] = memoryview(port)

    def receive(self) -> tuple[list[bytes], list[bytes]]:
        """Return what has come, datagrams and their peers; fewer than BATCH when no more is there."""
        count = _recvmmsg(self._fd, self._headers_at, BATCH, socket.MSG_DONTWAIT, None)
        if count <= 0:
            return [], []
        self._counters.received += count
        lengths = self._lengths[:count].tolist()
        octets = self._octets[: count * self._slot].tobytes()
        datagrams = [octets[start : start + length] for start, length in zip(self._starts, lengths, strict=False)]
        # A reply is routed as any packet is, unless its source means nothing beyond one link.
        if self._destinations is None or LINK_LOCAL[0] not in self._destinations[:count].tobytes():
            self._interfaces[:count] = self._any_interface[:count]
        else:
            self._free_interfaces(count)
        peers = [peer for (peer,) in self._each_peer(self._peers[: count * self._peer_size])]
        # The kernel has written the sizes that it used over those that it may use.
        used = count * self._header_size
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
        self._peer_size = layout.size
        self._buffers = buffers = _Buffers(layout, SEND_BUFFER, 0)
        self._headers_at = ctypes.addressof(buffers.headers)
        self._header_size = ctypes.sizeof(_Header)
        self._octets = memoryview(buffers.octets).cast("B")
        self._peers = memoryview(buffers.peers).cast("B")
        vectors = memoryview(buffers.vectors).cast("B").cast("L")
        self._bases, self._lengths = vectors[::2], vectors[1::2]

    def send(self, replies: list[bytes], peers: list[bytes]) -> None:
        """Send each reply to its peer, at most BATCH of them."""
        octets = b"".join(replies)
        count, size = len(replies), len(octets)
        if size > SEND_BUFFER:
            self._send_halves(replies, peers)
            return
        lengths = array("L", map(len, replies))
        bases = array("L", accumulate(lengths, initial=self._buffers.start))
        self._octets[:size] = octets
        self._peers[: count * self._peer_size] = b"".join(peers)
        self._bases[:count] = memoryview(bases)[:count]
        self._lengths[:count] = memoryview(lengths)
        sent = _sendmmsg(self._fd, self._headers_at, count, socket.MSG_DONTWAIT)
        if sent == count:
            self._counters.sent += count
        else:
            self._send_rest(sent, count)

    def _send_halves(self, replies: list[bytes], peers: list[bytes]) -> None:
        if len(replies) == 1:
            self._counters.too_large += 1
            return
        half = len(replies) // 2
        self.send(replies[:half], peers[:half])
        self.send(replies[half:], peers[half:])

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
            sent = _sendmmsg(self._fd, self._headers_at + at * self._header_size, count - at, socket.MSG_DONTWAIT)

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
        return AVAILABLE
    return False
