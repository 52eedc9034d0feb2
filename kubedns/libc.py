"""recvmmsg(2) and sendmmsg(2) by ctypes: many datagrams a system call. Knows no DNS.

Neither waits here (MSG_DONTWAIT), so the interpreter's lock is kept meanwhile (PyDLL). They have no argtypes, which
would take 0.1 us for each argument to be converted: an int goes as C's int, so that pointers have to be byref()'s.
"""

import ctypes
import socket
from typing import Final

BATCH: Final = 64  # datagrams a system call
DONTWAIT: Final = int(getattr(socket, "MSG_DONTWAIT", 0))  # not an enumeration's member, which is slow to convert


class Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Message(ctypes.Structure):
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


class Header(ctypes.Structure):
    """struct mmsghdr: `length` is the octets that were received or sent."""

    _fields_ = (("message", Message), ("length", ctypes.c_uint))


HEADER_SIZE: Final = ctypes.sizeof(Header)


class Headers:
    """BATCH headers, each with one vector: `slot` octets of what begins at `start`, an address.

    `received` are the lengths that the kernel writes; `bases` (addresses) and `lengths` are the vectors'.
    """

    def __init__(self, start: int, slot: int) -> None:
        self.vectors = (Vector * BATCH)()
        self.headers = (Header * BATCH)()
        vectors = ctypes.addressof(self.vectors)
        for i in range(BATCH):
            self.vectors[i] = Vector(start + i * slot, slot)
            self.headers[i].message = Message(None, 0, vectors + i * ctypes.sizeof(Vector), 1, None, 0)
        self.octets = memoryview(self.headers).cast("B")
        self.received = self.octets.cast("I")[Header.length.offset // 4 :: HEADER_SIZE // 4]
        words = memoryview(self.vectors).cast("B").cast("L")
        self.bases, self.lengths = words[::2], words[1::2]


_libc = ctypes.PyDLL(None, use_errno=True)
AVAILABLE: Final = hasattr(_libc, "recvmmsg") and hasattr(_libc, "sendmmsg")
if AVAILABLE:
    recvmmsg = _libc.recvmmsg  # (fd, headers, count, flags, None)
    sendmmsg = _libc.sendmmsg  # (fd, headers, count, flags)
