"""bind ADDRESS|INTERFACE... { except ... }: where a server block listens (docs/plugins/bind.md)."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from kubedns.corefile.errors import Kind
from kubedns.corefile.numbers import quote
from kubedns.corefile.suggest import nearest
from kubedns.plugin.contract import Settings
from kubedns.plugin.interfaces import interface_addresses

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kubedns.corefile.values import Directive, Use, Word
    from kubedns.plugin.contract import ServerBlock

Interfaces = dict[str, list[str]]


def setup(directive: Directive, _: ServerBlock) -> Settings:
    """Return the addresses of all uses, each once; none left means that the block has no listener."""
    interfaces = _interfaces()
    addresses = [address for use in directive.uses for address in _read_use(use, interfaces)]
    return Settings(addresses=tuple(dict.fromkeys(addresses)))


def _interfaces() -> Interfaces:
    """Return each interface's addresses, and an empty list for one that has none."""
    found: Interfaces = {name: [] for _, name in socket.if_nameindex()}
    for one in interface_addresses():
        found.setdefault(one.interface, []).append(one.text)
    return found


def _read_use(use: Use, interfaces: Interfaces) -> list[str]:
    if not use.arguments:
        text = "at least one address or interface name is expected"
        raise use.name.error(text, "write: bind 127.0.0.1, or bind lo", Kind.BARE)
    wanted = list(_addresses(use.arguments, interfaces))
    excepted: set[str] = set()
    for line in use.properties:
        if line.name.text != "except":
            raise line.name.error(f"invalid option {quote(line.name.text)}", "bind has one option: except", Kind.BARE)
        if not line.arguments:
            text = "at least one address or interface must be given to except subdirective"
            raise line.name.error(text, "name one, or leave this line out", Kind.BARE)
        excepted.update(_addresses(line.arguments, interfaces))
    return [address for address in wanted if address not in excepted]


def _addresses(words: Iterable[Word], interfaces: Mapping[str, list[str]]) -> Iterator[str]:
    for word in words:
        if word.text in interfaces:
            yield from interfaces[word.text]
            continue
        try:
            yield str(ipaddress.ip_address(word.text))
        except ValueError:
            text = f"not a valid IP address or interface name: {quote(word.text)}"
            cure = nearest(word.text, interfaces) or f"interfaces of this machine: {', '.join(sorted(interfaces))}"
            raise word.error(text, cure, Kind.BARE) from None
