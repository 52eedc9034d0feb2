"""Bound sockets for the listeners, and errors in the words that operators know from CoreDNS."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator

ALL_IPV4, ALL_IPV6 = "0.0.0.0", "::"  # noqa: S104 - what a server block without `bind` asks for
EVERYWHERE = ("", ALL_IPV4, ALL_IPV6)
MAPPED = "::ffff:"  # before an IPv4 address: the same for a socket of IPv6 (RFC 4291 §2.5.5.2)
BUFFER_SIZE = 4 << 20  # octets asked for; the kernel gives at most net.core.rmem_max and wmem_max
BACKLOG = 4096  # connections that wait to be accepted; the kernel gives at most net.core.somaxconn

_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)
_REASONS = {
    errno.EADDRNOTAVAIL: "cannot assign requested address",
    errno.EADDRINUSE: "address already in use",
    errno.EACCES: "permission denied",
}
_LOWEST_FREE_PORT = 1024  # below, Linux asks for a capability (capabilities(7)), unless a sysctl says otherwise


class ListenError(OSError):
    """A socket that cannot be had. Its text names the address and the reason; `cure` is None or what to do."""

    def __init__(self, text: str, number: int | None, cure: str | None = None) -> None:
        super().__init__(number, text)
        self.text = text
        self.cure = cure

    def __str__(self) -> str:
        return self.text


def address_text(host: str, port: int) -> str:
    """Return host and port as in a log line: ":53" for all addresses, "[::1]:53" for IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def open_tcp(host: str, port: int, *, one_family: bool = False) -> socket.socket:
    """Return a listening socket; ListenError where there is none to be had.

    `host` is IPv4, or IPv6 with or without %scope. All addresses of both families are meant by each of EVERYWHERE, as
    Go has it: they are one socket. With `one_family` 0.0.0.0 means those of IPv4 alone, and the others those of IPv6.
    """
    with _worded(socket.SOCK_STREAM, host, port):
        if not _is_everywhere(host, one_family=one_family):
            return _bind(socket.SOCK_STREAM, host, port)
        try:
            return _bind(socket.SOCK_STREAM, ALL_IPV6, port, both=not one_family)
        except OSError as error:
            if host == ALL_IPV6 or error.errno not in _NO_SUCH_FAMILY:
                raise
            return _bind(socket.SOCK_STREAM, ALL_IPV4, port)


def open_udp(host: str, port: int, *, one_family: bool = False) -> tuple[socket.socket, ...]:
    """Return a bound socket with large buffers, one of each family for all addresses; as open_tcp otherwise."""
    with _worded(socket.SOCK_DGRAM, host, port), contextlib.ExitStack() as undo:
        if not _is_everywhere(host, one_family=one_family):
            return (_bind(socket.SOCK_DGRAM, host, port),)
        found: list[socket.socket] = []
        for address in (ALL_IPV6, ALL_IPV4):
            try:
                sock = undo.enter_context(_bind(socket.SOCK_DGRAM, address, port))
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY or host == ALL_IPV6 or address == ALL_IPV4:
                    raise
            else:
                found.append(sock)
                port = sock.getsockname()[1]
                if one_family:
                    break
        undo.pop_all()
        return tuple(found)


def open_sockets(host: str, port: int, *, one_family: bool = False) -> tuple[socket.socket, ...]:
    """Return the sockets for TCP and UDP, opened in this order, as CoreDNS does, so that errors come in its order."""
    tcp = open_tcp(host, port, one_family=one_family)
    try:
        return tcp, *open_udp(host, port, one_family=one_family)
    except OSError:
        tcp.close()
        raise


def _is_everywhere(host: str, *, one_family: bool) -> bool:
    """Whether all addresses of IPv6 are meant, too."""
    return host in EVERYWHERE and not (one_family and host == ALL_IPV4)


def _bind(kind: socket.SocketKind, host: str, port: int, *, both: bool = False) -> socket.socket:
    """Return a bound socket; with `both` one of IPv6 that takes IPv4 as well."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)[0]
    text = str(address[0])
    if text.startswith(MAPPED) and "." in text:
        return _bind(kind, text.removeprefix(MAPPED), port)
    with contextlib.ExitStack() as undo:
        sock = undo.enter_context(socket.socket(family, kind))
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                with contextlib.suppress(OSError):  # some systems refuse what Linux would only cut
                    sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_SIZE)
        if hasattr(socket, "SO_REUSEPORT"):  # as CoreDNS: several sockets share the port and its load
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
        sock.settimeout(0)
        undo.pop_all()
        return sock


@contextlib.contextmanager
def _worded(kind: socket.SocketKind, host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _listen_error(kind, host, port, error) from error


def _listen_error(kind: socket.SocketKind, host: str, port: int, error: OSError) -> ListenError:
    """Word it as Go does: its bind fails in "bind", its socket(2) in "socket", both inside "listen"."""
    verb, network = ("Listen", "tcp") if kind == socket.SOCK_STREAM else ("ListenPacket", "udp")
    if isinstance(error, socket.gaierror):
        return ListenError(f"{verb}: listen {network}: lookup {host}: no such host", None)
    number = error.errno or 0
    reason = _REASONS.get(number) or os.strerror(number).lower()
    cure = None
    if number == errno.EACCES and port < _LOWEST_FREE_PORT:
        cure = "give the process the capability CAP_NET_BIND_SERVICE, or choose a higher port by -dns.port"
    call = "socket" if number == errno.EAFNOSUPPORT else "bind"
    return ListenError(f"{verb}: listen {network} {address_text(host, port)}: {call}: {reason}", number, cure)
