"""Questions as octets, and the sockets that send them."""

from __future__ import annotations

import selectors
import socket
import struct
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple, Self

import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOPBACK = "127.0.0.1"
HEADER = struct.Struct("!6H")  # ID, flags, and the counts of the four sections (RFC 1035 §4.1.1)
OPT = 41
DO = 0x8000
RD = 0x0100
CD = 0x0010
AD = 0x0020
PATIENCE = 5.0  # seconds for one reply
WINDOW = 32  # questions in flight of one batch
TRIES = 4  # of a datagram: with an overflowing socket buffer UDP may lose one


def wire_name(text: str) -> bytes:
    return dns.name.from_text(text).to_wire() or b""


def compose_opt(
    size: int = 1232, *, flags: int = 0, version: int = 0, extended: int = 0, options: bytes = b""
) -> bytes:
    """Return an OPT record (RFC 6891 §6.1.2)."""
    return struct.pack("!BHHBBHH", 0, OPT, size, extended, version, flags, len(options)) + options


def compose_question(name: str, rrtype: str = "A", rrclass: str = "IN") -> bytes:
    kind = dns.rdatatype.from_text(rrtype)
    return wire_name(name) + struct.pack("!HH", kind, dns.rdataclass.from_text(rrclass))


def compose(
    name: str, rrtype: str = "A", rrclass: str = "IN", *, ident: int = 4711, flags: int = RD, opt: bytes = b""
) -> bytes:
    header = HEADER.pack(ident, flags, 1, 0, 0, 1 if opt else 0)
    return header + compose_question(name, rrtype, rrclass) + opt


def parse(octets: bytes) -> dns.message.Message:
    """Return a reply with one RRset for each record, so that doubled ones show; raise where it is malformed."""
    return dns.message.from_wire(octets, one_rr_per_rrset=True)


def ask(port: int, message: bytes, *, host: str = LOOPBACK, timeout: float = PATIENCE) -> bytes | None:
    """Send one datagram and return the reply, None if there is none in time."""
    with _datagrams(host) as client:
        client.settimeout(timeout)
        client.connect((host, port))
        try:
            client.send(message)
            return client.recv(65535)
        except (TimeoutError, ConnectionRefusedError):
            return None


def _datagrams(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)


def addresses(port: int, name: str, rrtype: str = "A", *, host: str = LOOPBACK) -> list[str]:
    """Return the rdata of an answer, sorted; fail without a reply."""
    octets = ask(port, compose(name, rrtype), host=host)
    assert octets is not None, f"no reply to {name} {rrtype}"
    return sorted(rdata.to_text() for rrset in parse(octets).answer for rdata in rrset)


class Stream:
    """A TCP connection that speaks in messages (RFC 1035 §4.2.2)."""

    def __init__(self, port: int, *, host: str = LOOPBACK, timeout: float = PATIENCE) -> None:
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self._kept = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *messages: bytes) -> None:
        """Send messages in one segment, if they fit."""
        self.socket.sendall(b"".join(framed(message) for message in messages))

    def receive(self) -> bytes | None:
        """Return the next message; None once the server has closed."""
        head = self._take(2)
        if head is None:
            return None
        return self._take(int.from_bytes(head, "big"))

    def _take(self, size: int) -> bytes | None:
        while len(self._kept) < size:
            try:
                octets = self.socket.recv(65536)
            except ConnectionResetError:
                octets = b""
            if not octets:
                return None
            self._kept += octets
        taken, self._kept = self._kept[:size], self._kept[size:]
        return taken


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def ask_tcp(port: int, message: bytes, *, host: str = LOOPBACK, timeout: float = PATIENCE) -> bytes | None:
    with Stream(port, host=host, timeout=timeout) as stream:
        stream.send(message)
        return stream.receive()


class Asked(NamedTuple):
    """One of a batch; the ID of `message` is the batch's to choose."""

    message: bytes
    tcp: bool = False


def ask_all(port: int, batch: Sequence[Asked], *, host: str = LOOPBACK) -> list[bytes | None]:
    """Return the replies to a batch, in its order, asked many at a time over one UDP socket and one TCP connection.

    IDs are the places in the batch, so it has at most 65,536. What has no reply after some tries stays None.
    """
    replies: list[bytes | None] = [None] * len(batch)
    numbered = [place.to_bytes(2, "big") + one.message[2:] for place, one in enumerate(batch)]
    datagrams = [place for place, one in enumerate(batch) if not one.tcp]
    with ExitStack() as undo:
        client = undo.enter_context(_datagrams(host))
        client.connect((host, port))
        client.settimeout(0)
        for _ in range(TRIES):
            datagrams = [place for place in datagrams if replies[place] is None]
            _exchange(client, datagrams, numbered, replies)
    streamed = [place for place, one in enumerate(batch) if one.tcp]
    if streamed:
        with Stream(port, host=host) as stream:
            for start in range(0, len(streamed), WINDOW):
                window = streamed[start : start + WINDOW]
                stream.send(*(numbered[place] for place in window))
                for _ in window:
                    octets = stream.receive()
                    if octets is None:
                        return replies
                    replies[int.from_bytes(octets[:2], "big")] = octets
    return replies


def _exchange(
    client: socket.socket, places: Sequence[int], numbered: Sequence[bytes], replies: list[bytes | None]
) -> None:
    """Ask what stands at these places once; give up when nothing has come for a second."""
    waiting = list(reversed(places))
    in_flight: set[int] = set()
    last = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_READ)
        while waiting or in_flight:
            while waiting and len(in_flight) < WINDOW:
                place = waiting.pop()
                client.send(numbered[place])
                in_flight.add(place)
            if selector.select(0.2):
                try:
                    while True:
                        octets = client.recv(65535)
                        place = int.from_bytes(octets[:2], "big")
                        replies[place] = octets
                        in_flight.discard(place)
                        last = time.monotonic()
                except BlockingIOError:
                    continue
            elif time.monotonic() - last > 1:
                in_flight.clear()
                last = time.monotonic()
