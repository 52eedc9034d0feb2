"""bind: addresses and interfaces to where a block listens."""

from __future__ import annotations

import socket

import pytest

from kubedns.corefile.errors import CorefileError
from kubedns.plugin.contract import ServerBlock
from kubedns.plugin.interfaces import InterfaceAddress
from plugins import bind
from tests.plugins.helpers import directive, placed

BLOCK = ServerBlock((".",))
ADDRESSES = [
    ("lo", "127.0.0.1"),
    ("lo", "::1"),
    ("eth0", "192.0.2.53"),
    ("eth0", "2001:db8::53"),
    ("eth0", "fe80::1"),
]
NAMES = ["lo", "eth0", "dummy0"]


def packed(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine: loopback, eth0 with both families and a link-local address, and dummy0 without any."""
    monkeypatch.setattr(bind, "interface_addresses", lambda: [InterfaceAddress(n, packed(a)) for n, a in ADDRESSES])
    monkeypatch.setattr(socket, "if_nameindex", lambda: list(enumerate(NAMES, 1)))


READ = [
    ("address", "bind 127.0.0.1", ["127.0.0.1"]),
    ("ipv6", "bind 2001:DB8:0::53", ["2001:db8::53"]),
    ("interface", "bind lo", ["127.0.0.1", "::1"]),
    ("link-local", "bind eth0", ["192.0.2.53", "2001:db8::53", "fe80::1%eth0"]),
    ("both", "bind 10.9.8.7 lo", ["10.9.8.7", "127.0.0.1", "::1"]),
    ("uses-add-up", "bind 127.0.0.1\nbind ::1", ["127.0.0.1", "::1"]),
    ("each-once", "bind 127.0.0.1 lo", ["127.0.0.1", "::1"]),
    ("except", "bind eth0 {\nexcept fe80::1%eth0 192.0.2.53\n}", ["2001:db8::53"]),
    ("except-interface", "bind lo eth0 {\nexcept lo\n}", ["192.0.2.53", "2001:db8::53", "fe80::1%eth0"]),
    ("except-lines", "bind lo eth0 {\nexcept lo\nexcept fe80::1%eth0\n}", ["192.0.2.53", "2001:db8::53"]),
    ("except-of-its-own-use", "bind 127.0.0.1\nbind lo {\nexcept 127.0.0.1\n}", ["127.0.0.1", "::1"]),
    ("nothing-left", "bind lo {\nexcept lo\n}", []),
    ("no-addresses", "bind dummy0", []),
]


@pytest.mark.parametrize(("text", "addresses"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_addresses(text: str, addresses: list[str]) -> None:
    assert bind.setup(directive(text), BLOCK).addresses == tuple(addresses)


REFUSED = [
    ("neither", "bind foo0", 'not a valid IP address or interface name: "foo0"', "2:6", "interfaces of this machine: "),
    (
        "misspelt",
        "bind 127.0.0.1 eth",
        'not a valid IP address or interface name: "eth"',
        "2:16",
        "did you mean 'eth0'?",
    ),
    ("prefix", "bind 10.0.0.0/8", 'not a valid IP address or interface name: "10.0.0.0/8"', "2:6", "interfaces of"),
    (
        "except",
        "bind lo {\nexcept eth1\n}",
        'not a valid IP address or interface name: "eth1"',
        "3:8",
        "did you mean 'eth0'?",
    ),
    ("none", "bind", "at least one address or interface name is expected", "2:1", "write: bind 127.0.0.1"),
    (
        "except-none",
        "bind lo {\nexcept\n}",
        "at least one address or interface must be given to except subdirective",
        "3:1",
        "name one",
    ),
    ("option", "bind lo {\nexept lo\n}", 'invalid option "exept"', "3:1", "bind has one option: except"),
]


@pytest.mark.parametrize(
    ("text", "message", "place", "cure"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_refused(text: str, message: str, place: str, cure: str) -> None:
    with pytest.raises(CorefileError) as raised:
        bind.setup(directive(text), BLOCK)
    assert str(raised.value) == message
    assert placed(raised.value) == place
    assert cure in raised.value.cure


def test_the_machine_we_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert "127.0.0.1" in (bind.setup(directive("bind lo"), BLOCK).addresses or ())
