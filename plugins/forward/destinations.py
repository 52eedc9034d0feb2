"""What TO names: addresses, resolv.conf files, host names; and the name servers that come of it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kubedns.corefile.errors import Kind
from kubedns.corefile.files import read_regular
from kubedns.corefile.numbers import quote
from kubedns.log import plugin_log
from kubedns.upstream.address import TRANSPORTS, Address, join
from kubedns.watch import FileWatch, Following

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kubedns.corefile.values import Word
    from kubedns.upstream.nameserver import NameServer

    Make = Callable[[Address], NameServer]

REFUSED = {"grpc": 443, "quic": 853, "https3": 443, "unix": 0}  # CoreDNS knows them, but not as a TO
NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
LONGEST_NAME = 253
PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
INTERVAL = 2.0  # seconds between two looks at a resolv.conf
LINGER = 10.0  # seconds that a name server has for what it was asked before the file left it out

log = plugin_log("forward")


@dataclass(frozen=True, slots=True)
class HostName:
    """A TO to be resolved when the server starts."""

    name: str
    port: int
    transport: str
    server_name: str
    word: Word = field(compare=False)


@dataclass(frozen=True, slots=True)
class File:
    """A TO that is a resolv.conf file."""

    path: Path


def read_destination(word: Word) -> Address | HostName | File:
    """Return what a TO names; raises CorefileError."""
    scheme, mark, rest = word.text.partition("://")
    if not mark or scheme not in {*TRANSPORTS, *REFUSED}:
        scheme, rest = "dns", word.text
    found = _split(rest, {**TRANSPORTS, **REFUSED}[scheme])
    host, port, server_name = found or (rest, 0, "")
    address = _ip(host)
    if scheme in REFUSED:
        shown = f"{scheme}://{join(address, port) if address else rest}"
        text = f"'{scheme}' is not supported as a destination protocol in forward: {shown}"
        raise word.error(text, "write an address, with tls:// before it if it takes TLS", Kind.BARE)
    if address is not None and found is not None:
        scope = server_name if scheme == "dns" and ":" in address else ""
        return Address(address, port, scheme, server_name if scheme != "dns" else "", scope)
    path = Path(word.text)
    with contextlib.suppress(OSError, ValueError):
        if path.is_file():
            read_regular(str(path))
            return File(path)
        if path.samefile(os.devnull):  # what reading it ends at once; other devices may never end
            return File(path)
    if found is None or not NAME.fullmatch(host) or len(host) > LONGEST_NAME or host.rstrip(".").isdigit():
        text = f"not an IP address, file, or valid domain: {quote(word.text)}"
        raise word.error(text, "write an address, as in 10.0.0.1 or [2001:db8::1]:53, or a file's path", Kind.BARE)
    return HostName(host.rstrip("."), port, scheme, server_name if scheme != "dns" else "", word)


Destination = Address | HostName | File


def _split(text: str, default: int) -> tuple[str, int, str] | None:
    """Return host, port, and what stands behind the host's `%`; None for a port that is none, or an open bracket."""
    if text.startswith("["):
        inside, bracket, behind = text[1:].partition("]")
        if not bracket:
            return None
        host, _, zone = inside.partition("%")
    elif _ip(text.partition("%")[0]) and ":" in text.partition("%")[0]:
        return text.partition("%")[0], default, text.partition("%")[2]
    else:
        whole, colon, port = text.rpartition(":")
        whole, behind = (whole, f":{port}") if colon else (text, "")
        host, _, zone = whole.partition("%")
    if not behind:
        return host, default, zone
    if behind[0] != ":" or not PORT.fullmatch(behind[1:]) or not 0 < int(behind[1:]) < 1 << 16:
        return None
    return host, int(behind[1:]), zone


def _ip(text: str) -> str | None:
    """Return an IP address in its shortest form, None for what is none."""
    try:
        return str(ipaddress.ip_address(text)) if "%" not in text else None
    except ValueError:
        return None


def name_servers(octets: bytes) -> list[Address]:
    """Return the addresses on the `nameserver` lines of a resolv.conf (resolv.conf(5))."""
    found = []
    for line in octets.decode("utf-8", "replace").splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            host, _, scope = words[1].partition("%")
            address = _ip(host)
            if address is not None:
                found.append(Address(address, TRANSPORTS["dns"], scope=scope if ":" in address else ""))
    return found


class ResolvConf:
    """A resolv.conf file's name servers, followed when the file changes. `version` grows with each change."""

    def __init__(self, path: Path, make: Make) -> None:
        """Read the file once; it may be without name servers, or be gone by now."""
        self.path = path
        self.version = 0
        self._make = make
        self._watch = FileWatch(path)
        self._known: dict[Address, NameServer] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._following = Following(INTERVAL)
        self.servers: tuple[NameServer, ...] = ()
        with contextlib.suppress(OSError, ValueError):
            self._take()

    async def start(self) -> None:
        self._following.start(self._look)

    async def stop(self) -> None:
        """Follow the file no longer, and close what there is."""
        await self._following.stop()
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await _stop_all(self._known.values())

    async def _look(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            if await self._watch.settled_change():
                self._take()

    def _take(self) -> None:
        """Switch to what the file says now; one that names nobody changes nothing."""
        file, _ = self._watch.open()
        with file:
            addresses = dict.fromkeys(name_servers(file.read(1 << 20)))
        if not addresses:
            if self.servers:
                log.warning(f"{self.path} has no name servers any more: those that it had are asked as before")
            return
        gone = [server for address, server in self._known.items() if address not in addresses]
        self._known = {address: self._known.get(address) or self._make(address) for address in addresses}
        servers = tuple(self._known.values())
        if servers != self.servers:
            if self.servers:
                log.info(f"{self.path} has changed: upstreams are {', '.join(each.text for each in addresses)}")
            self.servers = servers
            self.version += 1
        for server in gone:
            task = asyncio.get_running_loop().create_task(_stop_later(server))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)


async def _stop_later(server: NameServer) -> None:
    try:
        await asyncio.sleep(LINGER)
    finally:
        await server.stop()


async def _stop_all(servers: Iterable[NameServer]) -> None:
    for server in servers:
        await server.stop()
