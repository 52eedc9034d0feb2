"""UDP: datagrams in batches, each reply from the address that was asked.

All addresses of a port are two sockets, one of each family: by one for both, a query over IPv4 takes the kernel longer,
and has to be told from others here.
"""

import asyncio
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Protocol

from kubedns.libc import BATCH
from kubedns.listeners import Answer, Later, ReadyReplies
from kubedns.listeners.counters import UdpCounters
from kubedns.listeners.mmsg import IPV4, IPV6, Receiver, Sender, usable
from kubedns.listeners.portable import PortableReceiver, PortableSender
from kubedns.log import server_log

RECEIVE_SIZE = 512  # octets read of a datagram, as CoreDNS: the rest is cut and the query then malformed
BATCHES_A_WAKE_UP = 4  # then TCP and timers have their turn
MOST_LAST = 64  # such wake-ups until a socket that is drained is closed
MOST_PENDING = 4_000  # queries that wait for a reply: some 25 KiB each, with all that a long chain keeps meanwhile


class _Receives(Protocol):
    def receive(self) -> tuple[list[bytes], list[bytes]]: ...


class _Sends(Protocol):
    def send(self, replies: list[bytes], peers: list[bytes]) -> None: ...

    def send_one(self, reply: bytes, peer: bytes) -> None: ...


class UdpClient:
    """The sender of a datagram: the peer as mmsg.py has it, decoded only when asked."""

    __slots__ = ("peer",)
    transport = "udp"

    def __init__(self, peer: bytes) -> None:
        self.peer = peer

    @property
    def ipv6(self) -> bool:
        return len(self.peer) == IPV6.size

    def remote(self) -> tuple[str, int]:
        if len(self.peer) == IPV4.size:
            _, port, host, *_ = IPV4.struct.unpack(self.peer)
        else:
            _, port, _, host, *_ = IPV6.struct.unpack(self.peer)
        return _text(host), int.from_bytes(port, "big")

    def local(self) -> tuple[str, int]:
        if len(self.peer) == IPV4.size:
            *_, host, port = IPV4.struct.unpack(self.peer)
        else:
            *_, host, _, port = IPV6.struct.unpack(self.peer)
        return _text(host), port


def _text(host: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(host) == 4 else socket.AF_INET6, host)  # noqa: PLR2004 - octets


class _Socket:
    """One of a listener's sockets, and the replies that leave it at the end of this turn of the loop."""

    __slots__ = ("_late_peers", "_late_replies", "ipv6", "receive", "send", "send_one", "sock")

    def __init__(self, sock: socket.socket, counters: UdpCounters, *, portable: bool) -> None:
        sock.settimeout(0)
        self.sock = sock
        self.ipv6 = sock.family == socket.AF_INET6
        receiver: _Receives
        sender: _Sends
        if portable or not usable(sock):
            receiver, sender = PortableReceiver(sock, RECEIVE_SIZE, counters), PortableSender(sock, counters)
        else:
            receiver, sender = Receiver(sock, RECEIVE_SIZE, counters), Sender(sock, counters)
        self.receive, self.send, self.send_one = receiver.receive, sender.send, sender.send_one
        self._late_replies: list[bytes] = []
        self._late_peers: list[bytes] = []

    def send_late(self, reply: bytes, peer: bytes) -> None:
        """Keep a reply for the end of this turn of the loop: what becomes ready together leaves together."""
        if not self._late_replies:
            asyncio.get_running_loop().call_soon(self.flush)
        self._late_replies.append(reply)
        self._late_peers.append(peer)

    def flush(self) -> None:
        """Send the late replies; where the socket is closed, drop them."""
        replies, self._late_replies = self._late_replies, []
        peers, self._late_peers = self._late_peers, []
        if self.sock.fileno() < 0:
            return
        for i in range(0, len(replies), BATCH):
            self.send(replies[i : i + BATCH], peers[i : i + BATCH])


class UdpListener:
    """Hands the datagrams of an address's sockets to `ready`, then to `answer`, and sends what they return.

    Both may be set to others at any time; the queries that wait for the old one's replies still get them.
    """

    def __init__(
        self,
        socks: Sequence[socket.socket],
        answer: Answer,
        *,
        most_pending: int = MOST_PENDING,
        portable: bool = False,
    ) -> None:
        """Take the sockets, at most one of each family, which stay open until close().

        `portable`: do without recvmmsg even where it is.
        """
        self.socks = socks
        self.answer = answer
        self.ready = ReadyReplies()
        self.counters = UdpCounters()
        self.most_pending = most_pending
        self._sockets = [_Socket(sock, self.counters, portable=portable) for sock in socks]
        self._by_peer = {(IPV6 if one.ipv6 else IPV4).size: one for one in self._sockets}  # by the octets of a peer
        self._peers: dict[Later, bytes] = {}  # whose replies are waited for
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle: Callable[[], None] | None = None  # called when the last reply that was waited for is there

    @property
    def pending(self) -> int:
        """How many replies are waited for."""
        return len(self._peers)

    def start(self) -> None:
        """Begin to read, in the running loop."""
        self._loop = asyncio.get_running_loop()
        for one in self._sockets:
            self._loop.add_reader(one.sock.fileno(), self._readable, one)

    def stop(self) -> None:
        """Answer what the kernel already holds, then read no more. The sockets stay open, and start() goes on."""
        if self._loop is not None:
            self._read_rest()
            for one in self._sockets:
                self._loop.remove_reader(one.sock.fileno())
            self._loop = None

    async def drain(self, seconds: float) -> bool:
        """Answer all that comes until nothing waits for a reply, then close; say whether it came to that.

        What comes behind that is refused by the kernel, where it would be lost if it came and nobody read it.
        """
        loop = asyncio.get_running_loop()
        drained = asyncio.Event()

        def close_if_idle() -> None:
            self._read_rest()
            if self.pending:
                return
            self.close()
            drained.set()

        def look_again() -> None:
            # Not from inside a task: what is read last is answered as everything else is, by a callback.
            loop.call_soon(close_if_idle)

        self._idle = look_again
        look_again()
        try:
            async with asyncio.timeout(seconds):
                await drained.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Close the sockets. Replies that come later are dropped."""
        self.stop()
        for one in self._sockets:
            one.flush()
            one.sock.close()

    def _read_rest(self) -> None:
        """Read until the kernel holds nothing more, or as much as fills any buffer."""
        for _ in range(MOST_LAST):
            before = self.counters.received
            for one in self._sockets:
                self._readable(one)
            if self.counters.received == before:
                return

    def _readable(self, one: _Socket) -> None:
        ready, ask, now = self.ready[one.ipv6], self._ask, time.monotonic()
        for _ in range(BATCHES_A_WAKE_UP):
            datagrams, peers = one.receive()
            if len(datagrams) == 1:  # by far the most at low rates, where all that is for many costs as much again
                self._answer_one(one, datagrams[0], peers[0], now)
                return
            replies: list[bytes] = []
            answered: list[bytes] = []
            for datagram, peer in zip(datagrams, peers, strict=True):
                try:
                    reply = ready(datagram, now) or ask(datagram, peer, now)
                except Exception:  # noqa: BLE001 - the other datagrams are to have their replies
                    self._failed()
                    continue
                if reply is not None:
                    replies.append(reply)
                    answered.append(peer)
            if replies:
                one.send(replies, answered)
            if len(datagrams) < BATCH:
                return

    def _answer_one(self, one: _Socket, datagram: bytes, peer: bytes, now: float) -> None:
        try:
            reply = self.ready[one.ipv6](datagram, now) or self._ask(datagram, peer, now)
        except Exception:  # noqa: BLE001 - whatever it is, it is counted and logged as for many
            self._failed()
        else:
            if reply is not None:
                one.send_one(reply, peer)

    def _ask(self, datagram: bytes, peer: bytes, now: float) -> bytes | None:
        """Return a reply that comes at once; one that has to be waited for leaves later."""
        reply = self.answer(datagram, UdpClient(peer), now)
        if reply is None or isinstance(reply, bytes):
            return reply
        self._wait_for(reply, peer)
        return None

    def _failed(self) -> None:
        self.counters.failed += 1
        server_log.error(f"{self.answer!r} failed on a datagram\n{traceback.format_exc().rstrip()}")

    def _wait_for(self, reply: Later, peer: bytes) -> None:
        if len(self._peers) >= self.most_pending:
            self.counters.rejected += 1
            reply.cancel()
            return
        self._peers[reply] = peer
        reply.add_done_callback(self._late)

    def _late(self, later: Later) -> None:
        peer = self._peers.pop(later)
        try:
            reply = later.result()
        except asyncio.CancelledError:
            reply = None
        if reply is not None:
            self._by_peer[len(peer)].send_late(reply, peer)
        if self._idle is not None and not self._peers:
            self._idle()  # after the flush
