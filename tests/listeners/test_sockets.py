"""Sockets as they are opened, and the errors in CoreDNS's words."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from kubedns.listeners.sockets import ListenError, address_text, open_tcp, open_udp

Open = Callable[[str, int], socket.socket]

BOTH = pytest.mark.parametrize(
    ("open_one", "kind", "failed"),
    [
        pytest.param(open_tcp, socket.SOCK_STREAM, "Listen: listen tcp", id="tcp"),
        pytest.param(open_udp, socket.SOCK_DGRAM, "ListenPacket: listen udp", id="udp"),
    ],
)


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("", 53, ":53"),
        ("10.9.8.7", 53, "10.9.8.7:53"),
        ("::1", 1053, "[::1]:1053"),
        ("fe80::1%eth0", 53, "[fe80::1%eth0]:53"),
    ],
)
def test_addresses_as_text(host: str, port: int, text: str) -> None:
    assert address_text(host, port) == text


@BOTH
@pytest.mark.parametrize(("host", "bound"), [("", "::"), ("::", "::"), ("127.0.0.1", "127.0.0.1"), ("::1", "::1")])
def test_a_socket_can_be_shared_by_several_processes(
    open_one: Open, kind: socket.SocketKind, failed: str, host: str, bound: str
) -> None:
    del failed
    with open_one(host, 0) as first:
        address = first.getsockname()
        with open_one(host, address[1]) as second:
            assert second.getsockname() == address
            assert (address[0], second.type, second.getblocking()) == (bound, kind, False)


@BOTH
def test_an_address_in_use(open_one: Open, kind: socket.SocketKind, failed: str) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ListenError) as caught:
            open_one("127.0.0.1", port)
    assert str(caught.value) == f"{failed} 127.0.0.1:{port}: bind: address already in use"
    assert caught.value.cure is None


@BOTH
@pytest.mark.parametrize(("host", "text"), [("192.0.2.99", "192.0.2.99:53"), ("2001:db8::99", "[2001:db8::99]:53")])
def test_an_address_of_another_machine(
    open_one: Open, kind: socket.SocketKind, failed: str, host: str, text: str
) -> None:
    del kind
    with pytest.raises(ListenError) as caught:
        open_one(host, 53)
    assert str(caught.value) == f"{failed} {text}: bind: cannot assign requested address"


@BOTH
def test_a_name_is_no_address(open_one: Open, kind: socket.SocketKind, failed: str) -> None:
    del kind
    with pytest.raises(ListenError) as caught:
        open_one("host.invalid", 53)
    assert str(caught.value) == f"{failed}: lookup host.invalid: no such host"


@BOTH
def test_a_port_for_which_a_capability_is_missing(open_one: Open, kind: socket.SocketKind, failed: str) -> None:
    del kind
    first = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if not first.exists() or int(first.read_text()) <= 53:
        pytest.skip("every user may have port 53 here")
    user = os.geteuid()
    os.seteuid(65534)
    try:
        with pytest.raises(ListenError) as caught:
            open_one("", 53)
    finally:
        os.seteuid(user)
    assert str(caught.value) == f"{failed} :53: bind: permission denied"
    assert caught.value.cure is not None
    assert "CAP_NET_BIND_SERVICE" in caught.value.cure
    assert "-dns.port" in caught.value.cure
