"""The HTTP listener that plugins share: by path, one request a connection, bounded."""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

import pytest

from kubedns import httpd
from kubedns.httpd import Endpoint, HttpError, HttpListener, Request, Response, parse_request, split_address
from tests.plugins.helpers import directive

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

Result = TypeVar("Result")
LOCAL = "127.0.0.1:0"
HOST = b"Host: x\r\n\r\n"


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run on a loop that is told of nothing that goes wrong."""
    told: list[dict[str, Any]] = []

    async def watched() -> Result:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        async with asyncio.timeout(20):
            return await work

    result = asyncio.run(watched())
    assert [context for context in told if "HTTP handler" not in context["message"]] == []
    return result


async def echo(request: Request) -> Response:
    return Response(f"{request.method} {request.path}".encode())


async def opened(handler: httpd.Handler = echo, path: str = "/echo") -> Endpoint:
    endpoint = Endpoint(HttpListener(LOCAL), path, handler)
    await endpoint.open()
    return endpoint


async def exchange(port: int, message: bytes, *, end: bool = False) -> bytes:
    """Send octets; return all that comes until the server says that there is no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(message)
    if end:
        writer.write_eof()
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    return received


ADDRESSES = [
    (":8080", ("", "8080")),
    ("localhost:8091", ("localhost", "8091")),
    ("[::1]:53", ("::1", "53")),
    ("bla:a", ("bla", "a")),
    (":", ("", "")),
]
NO_ADDRESSES = [
    ("bla", "address bla: missing port in address"),
    ("9153", "address 9153: missing port in address"),
    ("::1:8080", "address ::1:8080: too many colons in address"),
    ("[::1]", "address [::1]: missing port in address"),
    ("[::1:80", "address [::1:80: missing ']' in address"),
    ("[::1]1:80", "address [::1]1:80: missing port in address"),
    ("a]:80", "address a]:80: unexpected ']' in address"),
]


@pytest.mark.parametrize(("text", "parts"), ADDRESSES)
def test_addresses(text: str, parts: tuple[str, str]) -> None:
    assert split_address(text) == parts


@pytest.mark.parametrize(("text", "message"), NO_ADDRESSES)
def test_no_addresses(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="address") as raised:
        split_address(text)
    assert str(raised.value) == message


REQUESTS = [
    ("plain", b"GET /a HTTP/1.1\r\nHost: x", Request("GET", "/a", {"host": "x"})),
    ("query", b"GET /a?b=/c HTTP/1.0", Request("GET", "/a", {})),
    ("absolute", b"HEAD http://x/a?b HTTP/1.0", Request("HEAD", "/a", {})),
    ("blanks", b"GET / HTTP/1.0\r\nAccept-Encoding:\tgzip ", Request("GET", "/", {"accept-encoding": "gzip"})),
]


@pytest.mark.parametrize(("head", "request_"), [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS])
def test_request(head: bytes, request_: Request) -> None:
    assert parse_request(head) == request_


EXCHANGES = [
    ("get", b"GET /echo HTTP/1.1\r\n" + HOST, b"200 OK", b"GET /echo"),
    ("any method", b"POST /echo HTTP/1.1\r\nContent-Length: 2\r\n" + HOST + b"ab", b"200 OK", b"POST /echo"),
    ("head", b"HEAD /echo HTTP/1.1\r\n" + HOST, b"200 OK", b""),
    ("elsewhere", b"GET /echoes HTTP/1.1\r\n" + HOST, b"404 Not Found", b"404 page not found\n"),
    ("HTTP/1.0", b"GET /echo HTTP/1.0\r\n\r\n", b"200 OK", b"GET /echo"),
    ("two at once", b"GET /echo HTTP/1.0\r\n\r\nGET /echo HTTP/1.0\r\n\r\n", b"200 OK", b"GET /echo"),
    ("no host", b"GET /echo HTTP/1.1\r\n\r\n", b"400 Bad Request", b"400 Bad Request: missing required Host header"),
    ("TLS", b"\x16\x03\x01\x02\0\x01\r\n\r\n", b"400 Bad Request", b"400 Bad Request: malformed request"),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400 Bad Request", b"400 Bad Request: malformed request"),
    ("header", b"GET /echo HTTP/1.0\r\na b\r\n\r\n", b"400 Bad Request", b"400 Bad Request: malformed header"),
    (
        "too large",
        b"GET /echo HTTP/1.0\r\na: " + b"x" * 9000,
        b"431 Request Header Fields Too Large",
        b"431 Request Header Fields Too Large",
    ),
]  # fmt: skip


@pytest.mark.parametrize("end", [False, True], ids=["open", "half-closed"])
@pytest.mark.parametrize(
    ("message", "status", "body"), [row[1:] for row in EXCHANGES], ids=[row[0] for row in EXCHANGES]
)
def test_exchange(message: bytes, status: bytes, body: bytes, end: bool) -> None:
    async def work() -> bytes:
        endpoint = await opened()
        try:
            return await exchange(endpoint.listener.port, message, end=end)
        finally:
            endpoint.close()

    head, _, received = run(work()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert received == body
    length = len(b"GET /echo") + 1 if message.startswith(b"HEAD") else len(body)
    assert b"\r\nContent-Length: %d\r\n" % length in head
    assert b"\r\nConnection: close" in head


def test_octet_by_octet() -> None:
    async def work() -> bytes:
        endpoint = await opened()
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.listener.port)
        for octet in b"GET /echo HTTP/1.1\r\n" + HOST:
            writer.write(bytes([octet]))
            await writer.drain()
            await asyncio.sleep(0)
        received = await reader.read()
        writer.close()
        endpoint.close()
        return received

    assert run(work()).endswith(b"\r\n\r\nGET /echo")


def test_a_handler_that_fails() -> None:
    async def fail(_: Request) -> Response:
        raise KeyError("x")

    async def work() -> bytes:
        endpoint = await opened(fail)
        received = await exchange(endpoint.listener.port, b"GET /echo HTTP/1.0\r\n\r\n")
        endpoint.close()
        return received

    assert run(work()).startswith(b"HTTP/1.1 500 Internal Server Error\r\n")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:8080", ":8080"),
        ("[::]:8080", ":8080"),
        (":8080", ":8080"),
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("[::1]:8080", "[::1]:8080"),
    ],
)
def test_every_address_is_of_both_families_however_it_is_spelled(text: str, address: str) -> None:
    [word] = directive(f"health {text}").uses[0].arguments
    assert httpd.read_address(word) == address


def test_plugins_share_an_address_and_the_last_to_go_closes_it() -> None:
    async def other(_: Request) -> Response:
        return Response(b"other", HTTPStatus.SERVICE_UNAVAILABLE)

    async def work() -> list[bytes]:
        first = await opened()
        listener = first.listener
        second = Endpoint(listener, "/other", other)
        await second.open()
        port = listener.port
        messages = [b"GET /echo HTTP/1.0\r\n\r\n", b"GET /other HTTP/1.0\r\n\r\n"]
        both = [await exchange(port, message) for message in messages]
        first.close()
        first.close()
        one = [await exchange(port, message) for message in messages]
        second.close()
        with pytest.raises(ConnectionRefusedError):
            await exchange(port, messages[0])
        return both + one

    lines = [received.split(b"\r\n")[0] for received in run(work())]
    assert lines == [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 503 Service Unavailable",
        b"HTTP/1.1 404 Not Found",
        b"HTTP/1.1 503 Service Unavailable",
    ]


def test_the_next_configuration_answers_when_it_takes_over() -> None:
    async def new(_: Request) -> Response:
        return Response(b"new")

    async def work() -> list[bytes]:
        old = await opened()
        bodies = []

        async def body() -> None:
            bodies.append((await exchange(old.listener.port, b"GET /echo HTTP/1.0\r\n\r\n")).rpartition(b"\n")[2])

        next_one = Endpoint(old.listener, "/echo", new)
        await next_one.open()
        await body()
        next_one.take_over()
        old.close()
        await body()
        next_one.close()
        return bodies

    assert run(work()) == [b"GET /echo", b"new"]


def test_a_client_that_is_slow_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpd, "PATIENCE", 0.1)

    async def work() -> None:
        endpoint = await opened()
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.listener.port)
        writer.write(b"GET /echo HTTP/1.1\r\n")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        endpoint.close()

    run(work())


def test_who_asks_nothing_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpd, "MOST_CONNECTIONS", 3)

    async def work() -> tuple[bytes, int]:
        endpoint = await opened()
        port = endpoint.listener.port
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
        received = await exchange(port, b"GET /echo HTTP/1.0\r\n\r\n")
        await asyncio.sleep(0.05)
        gone = sum(reader.at_eof() or reader.exception() is not None for reader, _ in silent)
        for _, writer in silent:
            writer.close()
        endpoint.close()
        return received, gone

    received, gone = run(work())
    assert received.endswith(b"GET /echo")
    assert gone >= 7


def test_too_many_that_wait_for_a_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpd, "MOST_CONNECTIONS", 2)

    async def work() -> list[bytes]:
        go = asyncio.Event()

        async def wait(_: Request) -> Response:
            await go.wait()
            return Response(b"done")

        endpoint = await opened(wait)
        port = endpoint.listener.port
        busy = [asyncio.create_task(exchange(port, b"GET /echo HTTP/1.0\r\n\r\n")) for _ in range(2)]
        await asyncio.sleep(0.05)
        try:
            refused = await exchange(port, b"GET /echo HTTP/1.0\r\n\r\n")
        except ConnectionResetError:
            refused = b""
        go.set()
        received = await asyncio.gather(*busy)
        endpoint.close()
        return [refused, *received]

    assert [received.rpartition(b"\n")[2] for received in run(work())] == [b"", b"done", b"done"]


NOT_LISTENING = [
    ("name", "nowhere.invalid:80", "listen tcp: lookup nowhere.invalid: no such host"),
    ("port", "127.0.0.1:a", "listen tcp: lookup tcp/a: unknown port"),
    ("large port", "127.0.0.1:70000", "listen tcp: address 70000: invalid port"),
    ("not ours", "192.0.2.1:80", "listen tcp 192.0.2.1:80: bind: cannot assign requested address"),
]


@pytest.mark.parametrize(
    ("address", "message"), [row[1:] for row in NOT_LISTENING], ids=[row[0] for row in NOT_LISTENING]
)
def test_not_listening(address: str, message: str) -> None:
    with pytest.raises(HttpError) as raised:
        run(HttpListener(address).acquire())
    assert str(raised.value) == message


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(HttpError) as raised:
            run(HttpListener(address).acquire())
    assert str(raised.value) == f"listen tcp {address}: bind: address already in use"
