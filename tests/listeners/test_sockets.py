"""Sockets as they are opened, and the errors in CoreDNS's words."""

import contextlib
import errno
import gc
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from kubedns.listeners.sockets import ALL_IPV4, EVERYWHERE, ListenError, address_text, open_sockets, open_tcp, open_udp
from tests.end_to_end.server import Ports

Open = Callable[[str, int], tuple[socket.socket, ...]]


def open_only_tcp(host: str, port: int) -> tuple[socket.socket, ...]:
    return (open_tcp(host, port),)


BOTH = pytest.mark.parametrize(
    ("open_one", "kind", "failed"),
    [
        pytest.param(open_only_tcp, socket.SOCK_STREAM, "Listen: listen tcp", id="tcp"),
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
@pytest.mark.parametrize(
    ("host", "bound"),
    [
        ("", ["::", ALL_IPV4]),
        ("::", ["::", ALL_IPV4]),
        (ALL_IPV4, ["::", ALL_IPV4]),
        ("127.0.0.1", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("::ffff:127.0.0.1", ["127.0.0.1"]),
    ],
)
def test_sockets_can_be_shared_by_several_processes(
    open_one: Open, kind: socket.SocketKind, failed: str, host: str, bound: list[str]
) -> None:
    del failed
    expected = bound[:1] if kind == socket.SOCK_STREAM else bound
    with contextlib.ExitStack() as opened:
        first = [opened.enter_context(sock) for sock in open_one(host, 0)]
        port = first[0].getsockname()[1]
        second = [opened.enter_context(sock) for sock in open_one(host, port)]
        for socks in (first, second):
            assert [sock.getsockname()[:2] for sock in socks] == [(address, port) for address in expected]
            assert {(sock.type, sock.getblocking()) for sock in socks} == {(kind, False)}


@pytest.mark.parametrize("host", EVERYWHERE)
def test_all_addresses_are_one_socket_for_tcp_and_one_of_each_family_for_udp(host: str) -> None:
    with contextlib.ExitStack() as opened:
        tcp, *udp = (opened.enter_context(sock) for sock in open_sockets(host, 0))
        assert not tcp.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        assert [sock.family for sock in udp] == [socket.AF_INET6, socket.AF_INET]
        assert udp[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


@pytest.mark.parametrize("host", ["", "::"])
def test_all_addresses_of_one_family_leave_those_of_the_other_to_others(host: str) -> None:
    with Ports() as ports, contextlib.ExitStack() as opened:
        port = ports.take()  # one that a socket was given may be that of somebody's connection over IPv4
        first = [opened.enter_context(sock) for sock in open_sockets(host, port, one_family=True)]
        assert [sock.type for sock in first] == [socket.SOCK_STREAM, socket.SOCK_DGRAM]
        assert all(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) for sock in first)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as other:  # that shares with none that is open
                if kind == socket.SOCK_STREAM:  # connections of a server that had the port before may linger
                    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                other.bind((ALL_IPV4, port))
        second = [opened.enter_context(sock) for sock in open_sockets(ALL_IPV4, port, one_family=True)]
        assert [sock.getsockname() for sock in second] == [(ALL_IPV4, port)] * 2


@BOTH
@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_without_ipv6_all_addresses_are_those_of_ipv4(
    open_one: Open, kind: socket.SocketKind, failed: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithoutIpv6(socket.socket):
        def __init__(self, family: int, kind: int) -> None:
            if family == socket.AF_INET6:
                raise OSError(number, os.strerror(number))
            super().__init__(family, kind)

    monkeypatch.setattr(socket, "socket", WithoutIpv6)
    for host in ("", ALL_IPV4):
        [sock] = open_one(host, 0)
        with sock:
            assert (sock.family, sock.type, sock.getsockname()[0]) == (socket.AF_INET, kind, ALL_IPV4)
    with pytest.raises(ListenError, match=rf"^{failed} \[::\]:0: "):
        open_one("::", 0)


def test_one_socket_of_two_that_cannot_be_had_leaves_none_open() -> None:
    """Of all addresses that of IPv4 is taken: the other is closed again, as a collected socket would warn."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with pytest.raises(ListenError) as caught:
            open_udp("", port)
        gc.collect()
    assert str(caught.value) == f"ListenPacket: listen udp :{port}: bind: address already in use"


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
