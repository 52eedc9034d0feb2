"""Many datagrams a system call over a connected socket. Knows no DNS.

Buffers are shared by all sockets of the process: nothing in them outlives a call.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
from array import array
from functools import cache
from itertools import accumulate

from kubedns import libc
from kubedns.libc import BATCH, DONTWAIT

SLOT = 65536  # octets for each datagram: more than IPv4 or IPv6 can carry, so that nothing is cut
STARTS = range(0, BATCH * SLOT, SLOT)
SEND_BUFFER = 1 << 17  # octets that leave in one call


class _Buffers:
    """Octets and headers; pages that nothing is written to cost no memory."""

    def __init__(self, octets: int, slot: int) -> None:
        self.map = mmap.mmap(-1, octets)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        self.octets = memoryview(self.map)
        self.headers = libc.Headers(self.start, slot)
        self.headers_at = ctypes.byref(self.headers.headers)


class Batches:
    """Receives and sends by the batch."""

    def __init__(self) -> None:
        self._in = _Buffers(BATCH * SLOT, SLOT)
        self._out = _Buffers(SEND_BUFFER, 0)
        self._received = self._in.headers.received
        self._bases, self._lengths = self._out.headers.bases, self._out.headers.lengths

    def receive(self, sock: socket.socket) -> list[bytes]:
        """Return what has come; fewer than BATCH where no more is there. Raises OSError, such as an ICMP error."""
        count = libc.recvmmsg(sock.fileno(), self._in.headers_at, BATCH, DONTWAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            if number in {errno.EAGAIN, errno.EINTR}:
                return []
            raise OSError(number, os.strerror(number))
        octets, lengths = self._in.map, self._received[:count].tolist()
        return [octets[at : at + length] for at, length in zip(STARTS, lengths, strict=False)]

    def send(self, sock: socket.socket, messages: list[bytes]) -> int:
        """Send at most BATCH messages; return how many the kernel took. Raises OSError where it took none."""
        if len(messages) == 1:
            sock.send(messages[0], DONTWAIT)
            return 1
        messages = messages[:BATCH]
        octets = b"".join(messages)
        if len(octets) > SEND_BUFFER:
            sock.send(messages[0], DONTWAIT)
            return 1
        count = len(messages)
        lengths = array("L", map(len, messages))
        bases = array("L", accumulate(lengths, initial=self._out.start))
        self._out.octets[: len(octets)] = octets
        self._bases[:count] = memoryview(bases)[:count]
        self._lengths[:count] = memoryview(lengths)
        sent: int = libc.sendmmsg(sock.fileno(), self._out.headers_at, count, DONTWAIT)
        if sent < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return sent


class OneByOne:
    """The same where the system has no such calls."""

    def receive(self, sock: socket.socket) -> list[bytes]:
        found: list[bytes] = []
        try:
            while len(found) < BATCH:
                found.append(sock.recv(SLOT, DONTWAIT))
        except BlockingIOError:
            return found
        except OSError:
            if not found:
                raise
        return found

    def send(self, sock: socket.socket, messages: list[bytes]) -> int:
        sock.send(messages[0], DONTWAIT)
        return 1


@cache
def batches() -> Batches | OneByOne:
    """Return the process's own."""
    return Batches() if libc.AVAILABLE else OneByOne()
