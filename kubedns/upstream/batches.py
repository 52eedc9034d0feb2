"""Many datagrams a system call over a connected socket: recvmmsg(2) and sendmmsg(2) by ctypes. Knows no DNS.

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

BATCH = 64  # datagrams a system call
SLOT = 65536  # octets for each datagram: more than IPv4 or IPv6 can carry, so that nothing is cut
STARTS = range(0, BATCH * SLOT, SLOT)
SEND_BUFFER = 1 << 17  # octets that leave in one call


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


class _Buffers:
    """Headers and vectors, each header pointing at its own; pages that nothing is written to cost no memory."""

    def __init__(self, octets: int, slot: int) -> None:
        self.map = mmap.mmap(-1, octets)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        self.octets = memoryview(self.map)
        self.vectors = (_Vector * BATCH)()
        self.headers = (_Header * BATCH)()
        vectors = ctypes.addressof(self.vectors)
        for i in range(BATCH):
            self.vectors[i] = _Vector(self.start + i * slot, slot)
            self.headers[i].message = _Message(None, 0, vectors + i * ctypes.sizeof(_Vector), 1, None, 0)
        self.headers_at = ctypes.addressof(self.headers)


class Batches:
    """Receives and sends by the batch."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """`library` is the C library, with use_errno."""
        self._recvmmsg, self._sendmmsg = library.recvmmsg, library.sendmmsg
        self._recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
        self._sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
        self._in = _Buffers(BATCH * SLOT, SLOT)
        self._out = _Buffers(SEND_BUFFER, 0)
        words = ctypes.sizeof(_Header) // 4
        self._received = memoryview(self._in.headers).cast("B").cast("I")[_Header.length.offset // 4 :: words]
        vectors = memoryview(self._out.vectors).cast("B").cast("L")
        self._bases, self._lengths = vectors[::2], vectors[1::2]

    def receive(self, sock: socket.socket) -> list[bytes]:
        """Return what has come; fewer than BATCH where no more is there. Raises OSError, such as an ICMP error."""
        count = self._recvmmsg(sock.fileno(), self._in.headers_at, BATCH, socket.MSG_DONTWAIT, None)
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
            sock.send(messages[0], socket.MSG_DONTWAIT)
            return 1
        messages = messages[:BATCH]
        octets = b"".join(messages)
        if len(octets) > SEND_BUFFER:
            sock.send(messages[0], socket.MSG_DONTWAIT)
            return 1
        count = len(messages)
        lengths = array("L", map(len, messages))
        bases = array("L", accumulate(lengths, initial=self._out.start))
        self._out.octets[: len(octets)] = octets
        self._bases[:count] = memoryview(bases)[:count]
        self._lengths[:count] = memoryview(lengths)
        sent: int = self._sendmmsg(sock.fileno(), self._out.headers_at, count, socket.MSG_DONTWAIT)
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
                found.append(sock.recv(SLOT, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return found
        except OSError:
            if not found:
                raise
        return found

    def send(self, sock: socket.socket, messages: list[bytes]) -> int:
        sock.send(messages[0], socket.MSG_DONTWAIT)
        return 1


@cache
def batches() -> Batches | OneByOne:
    """Return the process's own."""
    library = ctypes.CDLL(None, use_errno=True)
    return Batches(library) if hasattr(library, "recvmmsg") and hasattr(library, "sendmmsg") else OneByOne()
