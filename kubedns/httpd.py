"""HTTP/1.1 for plugins (RFC 9112): one request a connection, answered by path, bounded in every way.

Several plugins may share an address, and a listener outlives the configurations that use it: keep one by
`ServerBlock.shared` under its address.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from kubedns.corefile.errors import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ssl import SSLContext

    from kubedns.corefile.values import Word

PLAIN = "text/plain; charset=utf-8"
MOST_CONNECTIONS = 100  # open at once on one listener; then those that ask nothing make room
MOST_OCTETS = 8192  # of a request's line and header
PATIENCE = 5.0  # seconds for a request to come, and again for its response to be read
BACKLOG = 128
HIGHEST_PORT = 65535
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - to Go's net.Listen every address of both families, as no host is
REASONS = {
    errno.EADDRNOTAVAIL: "cannot assign requested address",
    errno.EADDRINUSE: "address already in use",
    errno.EACCES: "permission denied",
}


class HttpError(OSError):
    """An address that can't be listened on; the text names it and the reason, as Go's does."""


@dataclass(frozen=True, slots=True)
class Request:
    """`path` has no query behind it; names in `headers` are lower-case."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """`headers` come in addition to those that every response has."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = PLAIN
    headers: tuple[tuple[str, str], ...] = ()

    def octets(self, *, body: bool = True) -> bytes:
        """Return the whole message; without its body for HEAD (RFC 9110 §9.3.2)."""
        lines = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            f"Date: {formatdate(usegmt=True)}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        return head + self.body if body else head


Handler = Callable[[Request], Awaitable[Response]]

NOT_FOUND = Response(b"404 page not found\n", HTTPStatus.NOT_FOUND, headers=(("X-Content-Type-Options", "nosniff"),))
TOO_LARGE = Response(b"431 Request Header Fields Too Large", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
FAILED = Response(b"500 Internal Server Error", HTTPStatus.INTERNAL_SERVER_ERROR)


def bad_request(reason: str) -> Response:
    return Response(f"400 Bad Request: {reason}".encode(), HTTPStatus.BAD_REQUEST)


def parse_request(head: bytes) -> Request:
    """Return the request of the octets before the empty line; ValueError where they are none of HTTP/1."""
    line, *fields = head.decode("latin-1").split("\r\n")
    method, _, rest = line.partition(" ")
    target, _, version = rest.partition(" ")
    if version not in {"HTTP/1.0", "HTTP/1.1"} or not method.isalpha() or not target:
        raise ValueError("malformed request")
    headers = {}
    for each in fields:
        name, colon, value = each.partition(":")
        if not colon or not name or name != name.strip():
            raise ValueError("malformed header")
        headers[name.lower()] = value.strip()
    if version == "HTTP/1.1" and "host" not in headers:  # RFC 9112 §3.2
        raise ValueError("missing required Host header")
    return Request(method, urlsplit(target).path if "://" in target else target.partition("?")[0], headers)


def split_address(text: str) -> tuple[str, str]:
    """Return an address's host, brackets taken off, and its port; ValueError in the words of Go's net package."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        raise ValueError(f"address {text}: missing port in address")
    if host.startswith("["):
        inner, bracket, rest = host[1:].partition("]")
        if not bracket:
            raise ValueError(f"address {text}: missing ']' in address")
        if rest:
            raise ValueError(f"address {text}: {'too many colons' if ':' in rest else 'missing port'} in address")
        host = inner
    elif ":" in host:
        raise ValueError(f"address {text}: too many colons in address")
    if "[" in host or "]" in host:
        raise ValueError(f"address {text}: unexpected '{'[' if '[' in host else ']'}' in address")
    return host, port


def read_address(word: Word) -> str:
    """Return an ADDRESS argument of the Corefile, host:port; CorefileError where it is not of that form.

    All who mean every address of a port mean one listener, so that has no host in any spelling.
    """
    try:
        host, port = split_address(word.text)
    except ValueError as error:
        raise word.error(str(error), "write HOST:PORT, or :PORT for every address", Kind.BARE) from None
    return f":{port}" if host in EVERYWHERE else word.text


class HttpListener:
    """Listens on one address for as long as anyone uses it; `endpoints` are by path."""

    def __init__(self, address: str, secured: Callable[[], SSLContext] | None = None) -> None:
        """`address` is host:port; without a host it is every address of both families. `secured`: speak TLS by it."""
        self.address = address
        self._secured = secured
        self.endpoints: dict[str, Endpoint] = {}
        self._users = 0
        self._server: asyncio.Server | None = None
        self._connections: dict[_Connection, None] = {}  # the oldest first

    @property
    def port(self) -> int:
        """The port as it was given, or by the system for port 0."""
        assert self._server is not None  # noqa: S101 - it is open
        return cast("int", self._server.sockets[0].getsockname()[1])

    async def acquire(self) -> None:
        """Be used once more; HttpError if the address can't be had, and what `secured` raises."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            context = self._secured() if self._secured is not None else None
            self._server = await loop.create_server(
                lambda: _Connection(self),
                sock=_listen(self.address),
                backlog=BACKLOG,
                ssl=context,
                ssl_handshake_timeout=PATIENCE if context is not None else None,
            )
        self._users += 1

    def release(self) -> None:
        """Be used once less; nobody left means that the address is free, and requests in flight are given up."""
        self._users -= 1
        if self._users or self._server is None:
            return
        self._server.close()
        self._server = None
        for connection in list(self._connections):
            connection.close()

    def admit(self, connection: _Connection) -> bool:
        """Count a connection in; a full listener lets go of the oldest one that no response is being made for."""
        if len(self._connections) >= MOST_CONNECTIONS:
            idle = next((one for one in self._connections if not one.busy), None)
            if idle is None:
                return False
            idle.abort()
        self._connections[connection] = None
        return True

    def forget(self, connection: _Connection) -> None:
        self._connections.pop(connection, None)


class Endpoint:
    """One plugin's path on a listener: there from `open` to `close`, this plugin's own from `take_over`."""

    def __init__(self, listener: HttpListener, path: str, handler: Handler) -> None:
        self.listener = listener
        self._path = path
        self.handler = handler
        self._open = False

    async def open(self) -> None:
        """Listen, and answer where nobody else does yet; HttpError if the address can't be had."""
        await self.listener.acquire()
        self._open = True
        self.listener.endpoints.setdefault(self._path, self)

    def take_over(self) -> None:
        """Answer in place of the configuration before this one."""
        if self._open:
            self.listener.endpoints[self._path] = self

    def close(self) -> None:
        """Answer no more; does nothing where it is closed already."""
        if not self._open:
            return
        self._open = False
        if self.listener.endpoints.get(self._path) is self:
            del self.listener.endpoints[self._path]
        self.listener.release()


class _Connection(asyncio.Protocol):
    """Reads one request, sends one response, and waits until the client has read it."""

    def __init__(self, listener: HttpListener) -> None:
        self._listener = listener
        self._received = bytearray()
        self._answered = False
        self._ended = False  # the client sends no more
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    @property
    def busy(self) -> bool:
        """Whether a handler is at work on its response."""
        return self._task is not None and not self._task.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._listener.admit(self):
            self._answered = True
            self._transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(PATIENCE, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's own
        self._stop_timer()
        self._listener.forget(self)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._answered or self._task is not None:
            return  # a body, or another request: neither is read
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end > MOST_OCTETS or (end < 0 and len(self._received) > MOST_OCTETS):
            self._send(TOO_LARGE)
        elif end >= 0:
            self._answer(bytes(self._received[:end]))

    def eof_received(self) -> bool:
        """Keep the other direction open while there is a response to come."""
        self._ended = True
        return self.busy

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._transport.close()

    def abort(self) -> None:
        self._listener.forget(self)
        self._transport.abort()

    def _answer(self, head: bytes) -> None:
        try:
            request = parse_request(head)
        except ValueError as error:
            self._send(bad_request(str(error)))
            return
        endpoint = self._listener.endpoints.get(request.path)
        if endpoint is None:
            self._send(NOT_FOUND, request.method)
            return
        self._stop_timer()
        self._task = asyncio.get_running_loop().create_task(self._handle(endpoint.handler, request))

    async def _handle(self, handler: Handler, request: Request) -> None:
        try:
            response = await handler(request)
        except Exception as error:  # noqa: BLE001 - told to the loop, which logs it; the client has a right to know
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"HTTP handler of {request.path} failed", "exception": error}
            )
            response = FAILED
        self._send(response, request.method)

    def _send(self, response: Response, method: str = "GET") -> None:
        self._answered = True
        self._stop_timer()
        if self._transport.is_closing():
            return
        self._transport.write(response.octets(body=method != "HEAD"))
        if self._ended or not self._transport.can_write_eof():  # over TLS to close is to say so
            self._transport.close()
            return
        # To close while the client still sends would reset the connection, and take the response away (RFC 9112 §9.6).
        self._transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(PATIENCE, self.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _listen(address: str) -> socket.socket:
    """Return a listening socket; a host name is its first IPv4 address, else its first of IPv6."""
    host, port_text = split_address(address)
    port = _port(port_text)
    try:
        if not host:
            with contextlib.suppress(OSError):
                return _bind(socket.AF_INET6, ("::", port))
            return _bind(socket.AF_INET, ("0.0.0.0", port))  # noqa: S104 - every address is what was asked for
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, *_, bound = min(found, key=lambda one: one[0] != socket.AF_INET)
        address = f"[{bound[0]}]:{port}" if family == socket.AF_INET6 else f"{bound[0]}:{port}"
        return _bind(family, cast("tuple[str, int]", bound))
    except socket.gaierror:
        raise HttpError(f"listen tcp: lookup {host}: no such host") from None
    except OSError as error:
        reason = REASONS.get(error.errno or 0) or os.strerror(error.errno or 0).lower()
        raise HttpError(f"listen tcp {address}: bind: {reason}") from error


def _port(text: str) -> int:
    try:
        port = (
            int(text or "0") if text.isascii() and (text.isdigit() or not text) else socket.getservbyname(text, "tcp")
        )
    except OSError:
        raise HttpError(f"listen tcp: lookup tcp/{text}: unknown port") from None
    if port > HIGHEST_PORT:
        raise HttpError(f"listen tcp: address {text}: invalid port")
    return port


def _bind(family: int, address: tuple[str, int]) -> socket.socket:
    with contextlib.ExitStack() as undo:
        sock = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
        if hasattr(socket, "SO_REUSEPORT"):  # as CoreDNS: a new process may start while the old one still answers
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.settimeout(0)
        undo.pop_all()
        return sock
