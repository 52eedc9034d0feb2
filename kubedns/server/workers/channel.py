"""Messages over a Unix socket (unix(7)), open descriptors beside them: in a loop, or waiting where there is none."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from array import array
from collections import deque
from typing import TYPE_CHECKING

from kubedns.server.workers.messages import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kubedns.server.workers.messages import Message, Told

HEADER = struct.Struct("!IB")  # octets of a message, descriptors beside it
READ = 1 << 16  # octets at a time
MOST_DESCRIPTORS = 8  # beside one message: the kernel gives those of no other with them


class Framer:
    """Octets and descriptors in, messages out."""

    def __init__(self) -> None:
        self._octets = b""
        self._descriptors: list[int] = []

    def feed(self, octets: bytes, descriptors: Sequence[int]) -> Iterator[tuple[Told, list[int]]]:
        """Yield the messages that are whole now, each with its descriptors."""
        octets = self._octets + octets
        self._descriptors += descriptors
        at = 0
        while len(octets) - at >= HEADER.size:
            size, beside = HEADER.unpack_from(octets, at)
            start = at + HEADER.size
            if len(octets) - start < size:
                break
            at = start + size
            taken, self._descriptors = self._descriptors[:beside], self._descriptors[beside:]
            self._octets = octets[at:]
            yield decode(octets[start:at]), taken
        self._octets = octets[at:]


class Channel:
    """One end of a connection, in the running loop. What can't be sent yet waits, and `waiting` counts its octets."""

    def __init__(self, sock: socket.socket, take: Callable[[Told, list[int]], None], lost: Callable[[], None]) -> None:
        """`take` is given each message with its descriptors; `lost` is called once, when nobody is at the other end."""
        sock.setblocking(False)
        self.waiting = 0
        self._sock = sock
        self._take = take
        self._lost = lost
        self._framer = Framer()
        self._unsent: deque[tuple[memoryview, tuple[socket.socket, ...]]] = deque()
        self._writing = self._closed = False
        self._emptied: asyncio.Event | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._read)

    def send(self, message: Message, *beside: socket.socket) -> None:
        """Send a message; the sockets beside it are closed here once they are on their way."""
        self.post(encode(message), *beside)

    def post(self, octets: bytes, *beside: socket.socket) -> None:
        """As send(), of a message that is encoded already."""
        if self._closed:
            _close(beside)
            return
        whole = HEADER.pack(len(octets), len(beside)) + octets
        self._unsent.append((memoryview(whole), beside))
        self.waiting += len(whole)
        if not self._writing:
            self._write()

    async def flush(self) -> None:
        """Wait until all has been sent, or can't be."""
        if self._unsent and not self._closed:
            self._emptied = asyncio.Event()
            await self._emptied.wait()

    def close(self) -> None:
        """Send and take nothing more; `lost` is not called."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock.fileno())
        if self._writing:
            self._loop.remove_writer(self._sock.fileno())
        for _, beside in self._unsent:
            _close(beside)
        self._unsent.clear()
        self._sock.close()
        if self._emptied is not None:
            self._emptied.set()

    def drain(self) -> None:
        """Take what has been sent already, however much: the other end has ended."""
        while not self._closed and self._read():
            pass

    def _read(self) -> bool:
        """Take some of what has come; tell whether there was any."""
        try:
            octets, descriptors = _receive(self._sock)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            octets, descriptors = b"", []
        if not octets:
            self._fail()
            return False
        for message, beside in self._framer.feed(octets, descriptors):
            self._take(message, beside)
            if self._closed:
                break
        return True

    def _write(self) -> None:
        while self._unsent:
            octets, beside = self._unsent[0]
            try:
                if beside:
                    sent = socket.send_fds(self._sock, [octets], [one.fileno() for one in beside])
                else:
                    sent = self._sock.send(octets)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                self._loop.call_soon(self._fail)
                return
            _close(beside)
            self.waiting -= sent
            if sent < len(octets):
                self._unsent[0] = (octets[sent:], ())
            else:
                self._unsent.popleft()
        self._wait_or_not()

    def _wait_or_not(self) -> None:
        waits = bool(self._unsent)
        if waits and not self._writing:
            self._loop.add_writer(self._sock.fileno(), self._write)
        elif self._writing and not waits:
            self._loop.remove_writer(self._sock.fileno())
        self._writing = waits
        if not waits and self._emptied is not None:
            self._emptied.set()

    def _fail(self) -> None:
        if not self._closed:
            self.close()
            self._lost()


class WaitingChannel:
    """The same for a process without a loop."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._framer = Framer()
        self._taken: deque[tuple[Told, list[int]]] = deque()

    def send(self, message: Message) -> None:
        """Send a message; nothing where nobody is at the other end."""
        octets = encode(message)
        with contextlib.suppress(OSError):
            self._sock.sendall(HEADER.pack(len(octets), 0) + octets)

    def receive(self) -> tuple[Told, list[int]] | None:
        """Wait for a message; None: there will be none."""
        while not self._taken:
            try:
                octets, descriptors = _receive(self._sock)
            except OSError:
                return None
            if not octets:
                return None
            self._taken.extend(self._framer.feed(octets, descriptors))
        return self._taken.popleft()

    def close(self) -> None:
        self._sock.close()


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Return what socket.recv_fds does, but with descriptors that other programs do not inherit: it drops its flags."""
    descriptors = array("i")
    space = socket.CMSG_LEN(MOST_DESCRIPTORS * descriptors.itemsize)
    octets, beside, _, _ = sock.recvmsg(READ, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, packed in beside:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(packed[: len(packed) - len(packed) % descriptors.itemsize])
    return octets, list(descriptors)


def _close(sockets: Sequence[socket.socket]) -> None:
    for one in sockets:
        one.close()
