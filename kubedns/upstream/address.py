"""Where a name server is."""

from __future__ import annotations

import errno
import os
import socket
from typing import NamedTuple

TRANSPORTS = {"dns": 53, "tls": 853, "https": 443}


class Address(NamedTuple):
    """A name server: `host` is an IP address in its shortest text, `scope` an IPv6 zone's interface or empty.

    `transport` is dns, tls or https; `server_name` is what its certificate must be for, empty: the address itself.
    """

    host: str
    port: int
    transport: str = "dns"
    server_name: str = ""
    scope: str = ""

    @property
    def text(self) -> str:
        """As metrics and errors name it: `10.0.0.1:53`, `[2001:db8::1]:53`."""
        return join(self.host, self.port)

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @property
    def host_and_scope(self) -> str:
        """As the socket calls take it."""
        return f"{self.host}%{self.scope}" if self.scope else self.host


def join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def connected(address: Address, source: str = "") -> socket.socket:
    """Return a UDP socket that takes datagrams from that address alone; raises OSError.

    The kernel draws the port: at random (RFC 5452 §9.2), as udp_lib_get_port of Linux does.
    """
    sock = socket.socket(address.family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if source:
            sock.bind((source, 0))
        sock.connect((address.host_and_scope, address.port))
    except BaseException:
        sock.close()
        raise
    return sock


def reason(error: OSError) -> str:
    """Return why a call failed as Go says it."""
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return "too many open files"
    return (os.strerror(error.errno) if error.errno else str(error)).lower()
