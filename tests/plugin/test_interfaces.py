"""The kernel's own list of addresses, beside what ip(8) prints of it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess

import pytest

from kubedns.plugin.interfaces import InterfaceAddress, interface_addresses, local_addresses


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip(8) of iproute2")
def test_as_ip_tells_them() -> None:
    printed = json.loads(subprocess.run(["ip", "-j", "addr"], stdout=subprocess.PIPE, check=True).stdout)
    told = {
        (link["ifname"], address["local"])
        for link in printed
        for address in link.get("addr_info", ())
        if "local" in address
    }
    found = {(one.interface, one.text.partition("%")[0]) for one in interface_addresses()}
    assert found == told
    loopback = {
        address["local"]
        for link in printed
        for address in link.get("addr_info", ())
        if address.get("local", "").startswith("127.") or address.get("local") == "::1"
    }
    assert {one.text for one in interface_addresses() if one.loopback} == loopback
    assert len(local_addresses()) == len(interface_addresses()) - sum(one.loopback for one in interface_addresses())


def test_has_loopback() -> None:
    assert InterfaceAddress("lo", b"\x7f\0\0\1") in interface_addresses()
    assert b"\x7f\0\0\1" not in local_addresses()


def test_closes_its_socket() -> None:
    with socket.socket() as before:
        number = before.fileno()
    for _ in range(50):
        interface_addresses()
    with socket.socket() as after:
        assert after.fileno() == number


TEXTS = {
    "IPv4": (b"\xc0\0\2\1", "192.0.2.1", False),
    "IPv4 loopback": (b"\x7f\1\2\3", "127.1.2.3", True),
    "IPv4 that begins as fe80": (b"\xfe\x80\0\1", "254.128.0.1", False),
    "IPv6": (b"\x20\1\x0d\xb8" + bytes(11) + b"\1", "2001:db8::1", False),
    "IPv6 loopback": (bytes(15) + b"\1", "::1", True),
    "IPv6 link-local": (b"\xfe\x80" + bytes(13) + b"\1", "fe80::1%eth0", False),
}


@pytest.mark.parametrize(("packed", "text", "loopback"), TEXTS.values(), ids=TEXTS)
def test_text(packed: bytes, text: str, loopback: bool) -> None:
    address = InterfaceAddress("eth0", packed)
    assert (address.text, address.loopback) == (text, loopback)
