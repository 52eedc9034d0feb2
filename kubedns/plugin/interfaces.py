"""The machine's own addresses and interfaces, as the kernel tells them (rtnetlink(7))."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

RTM_GETADDR, RTM_NEWADDR = 22, 20
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
IFA_ADDRESS, IFA_LOCAL = 1, 2
NETLINK_ROUTE = 0
MESSAGE = struct.Struct("=IHHII")  # length, type, flags, sequence, port
ADDRESS = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, interface index
ATTRIBUTE = struct.Struct("=HH")  # length, type
LINK_LOCAL = b"\xfe\x80"
LOOPBACK_IPV6 = socket.inet_pton(socket.AF_INET6, "::1")
IPV4_SIZE = 4  # octets of an address
LARGEST = 1 << 16


class InterfaceAddress(NamedTuple):
    """An address of an interface; `packed` has 4 or 16 octets."""

    interface: str
    packed: bytes

    @property
    def text(self) -> str:
        """As `bind` takes it: an IPv6 link-local address with its interface."""
        family = socket.AF_INET if len(self.packed) == IPV4_SIZE else socket.AF_INET6
        shown = socket.inet_ntop(family, self.packed)
        return f"{shown}%{self.interface}" if self.packed[:2] == LINK_LOCAL and family == socket.AF_INET6 else shown

    @property
    def loopback(self) -> bool:
        """127.0.0.0/8 or ::1."""
        return self.packed[:1] == b"\x7f" if len(self.packed) == IPV4_SIZE else self.packed == LOOPBACK_IPV6


def local_addresses() -> list[bytes]:
    """Return all addresses of this machine but loopback ones, packed. The one function that tells them."""
    return [one.packed for one in interface_addresses() if not one.loopback]


def interface_addresses() -> list[InterfaceAddress]:
    """Return every address of every interface; nothing on a system without rtnetlink."""
    if not hasattr(socket, "AF_NETLINK"):
        return []
    names = dict(socket.if_nameindex())
    return [InterfaceAddress(names[index], packed) for index, packed in _dump() if index in names]


def _dump() -> Iterator[tuple[int, bytes]]:
    """Ask the kernel for its addresses; yield (interface index, packed address)."""
    request = ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    header = MESSAGE.pack(MESSAGE.size + len(request), RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as kernel:
        kernel.sendto(header + request, (0, 0))
        while True:
            answer = kernel.recv(LARGEST)
            at = 0
            while at + MESSAGE.size <= len(answer):
                size, kind, *_ = MESSAGE.unpack_from(answer, at)
                if kind in {NLMSG_DONE, NLMSG_ERROR} or size < MESSAGE.size:
                    return
                if kind == RTM_NEWADDR:
                    yield from _address(answer[at + MESSAGE.size : at + size])
                at += -(-size // 4) * 4  # messages start at multiples of four octets


def _address(message: bytes) -> Iterator[tuple[int, bytes]]:
    """An interface's own address is IFA_LOCAL where there is one (point to point), else IFA_ADDRESS."""
    *_, index = ADDRESS.unpack_from(message)
    found: dict[int, bytes] = {}
    at = ADDRESS.size
    while at + ATTRIBUTE.size <= len(message):
        size, kind = ATTRIBUTE.unpack_from(message, at)
        if size < ATTRIBUTE.size:
            break
        found[kind] = message[at + ATTRIBUTE.size : at + size]
        at += -(-size // 4) * 4
    packed = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS)
    if packed:
        yield index, packed
