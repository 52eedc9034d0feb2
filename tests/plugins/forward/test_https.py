"""DNS over HTTPS: what is asked, and every form in which a response may come."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from typing import TYPE_CHECKING, NamedTuple

import pytest

from kubedns.upstream.statistics import statistics_of
from tests.fakes.apiserver.certificates import make_certificates
from tests.fakes.upstream import HOST, Asked, bound_pair, reply
from tests.plugins.forward.forwarding import addresses, asked, forwarding, gather, refused, run
from tests.plugins.helpers import query
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    Respond = Callable[[bytes], list[bytes]]  # the body's message to what is written, piece by piece; b"": close

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/dns-message\r\n"


class Request(NamedTuple):
    line: str
    fields: dict[str, str]
    message: bytes


class Server:
    def __init__(self, folder: Path, respond: Respond) -> None:
        make_certificates(folder)
        self.authority = folder / "ca.crt"
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(folder / "apiserver.crt", folder / "apiserver.key")
        self._context.set_alpn_protocols(["http/1.1"])
        self.respond = respond
        self.requests: list[Request] = []
        self.connections = 0
        self.port = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Server]:
        tcp, udp = bound_pair()
        udp.close()
        self.port = tcp.getsockname()[1]
        server = await asyncio.start_server(self._connected, sock=tcp, ssl=self._context)
        try:
            yield self
        finally:
            server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError, EOFError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
                message = await reader.readexactly(int(fields.get("content-length", "0")))
                if head[0].startswith("GET "):
                    encoded = head[0].split()[1].partition("?dns=")[2]
                    message = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
                self.requests.append(Request(head[0], fields, message))
                for piece in self.respond(reply(Asked(message, "tcp", (HOST, 0)), "192.0.2.1")):
                    if not piece:
                        writer.close()
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.01)
        writer.transport.abort()


def whole(body: bytes) -> list[bytes]:
    return [OK + b"Content-Length: %d\r\n\r\n" % len(body) + body]


def octet_by_octet(body: bytes) -> list[bytes]:
    [octets] = whole(body)
    return [octets[at : at + 7] for at in range(0, len(octets), 7)]


def in_chunks(body: bytes) -> list[bytes]:
    return [
        OK + b"Transfer-Encoding: chunked\r\n\r\n5;name=value\r\n" + body[:5],
        b"\r\n%X\r\n" % len(body[5:]) + body[5:] + b"\r\n0\r",
        b"\nTrailer: x\r\n\r\n",
    ]


FORMS: dict[str, Respond] = {
    "whole": whole,
    "in pieces": octet_by_octet,
    "in chunks": in_chunks,
    "behind an interim response": lambda body: [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", *whole(body)],
    "with a status that is no success": lambda body: [whole(body)[0].replace(b"200 OK", b"500 No", 1)],
}


async def ask_three(server: Server, lines: str = "expire 10s") -> None:
    text = f"forward . https://{HOST}:{server.port} {{\ntls {server.authority}\n{lines}\n}}"
    async with forwarding(text) as plugin:
        for number in range(3):
            record = await asked(plugin, query("WwW.example.org.", ident=4711 + number))
            assert (record.header.id, addresses(record)) == (4711 + number, ["192.0.2.1"])


@pytest.mark.parametrize("respond", FORMS.values(), ids=FORMS)
def test_a_response(respond: Respond, tmp_path: Path) -> None:
    async def work() -> None:
        async with Server(tmp_path, respond).serving() as server:
            await ask_three(server)
            assert server.connections == 1
            for one in server.requests:
                assert one.line == "POST /dns-query HTTP/1.1"
                assert one.fields["host"] == f"{HOST}:{server.port}"
                assert one.fields["content-type"] == one.fields["accept"] == "application/dns-message"
                assert one.message.startswith(b"\0\0\1\0\0\1\0\0\0\0\0\0\3WwW")

    run(work())


def test_get(tmp_path: Path) -> None:
    async def work() -> None:
        async with Server(tmp_path, whole).serving() as server:
            await ask_three(server, "doh_method GET")
            assert all(one.line.startswith("GET /dns-query?dns=AAAB") for one in server.requests)
            assert not any("=" in one.line.partition("dns=")[2] for one in server.requests)

    run(work())


@pytest.mark.parametrize(
    "respond",
    [
        lambda body: [whole(body)[0].replace(b"\r\n", b"\r\nConnection: close\r\n", 1), b""],
        lambda body: [whole(body)[0].replace(b"HTTP/1.1", b"HTTP/1.0", 1), b""],
    ],
    ids=["close", "HTTP/1.0"],
)
def test_a_connection_for_one_response(respond: Respond, tmp_path: Path) -> None:
    async def work() -> None:
        async with Server(tmp_path, respond).serving() as server:
            await ask_three(server)
            assert server.connections == 3

    run(work())


BROKEN: dict[str, Respond] = {
    "no HTTP": lambda body: [body],
    "closed": lambda _: [b""],
    "cut": lambda body: [whole(body)[0][:-3], b""],
    "no length": lambda body: [OK + b"\r\n" + body],
    "a length in letters": lambda body: [OK + b"Content-Length: all\r\n\r\n" + body],
    "no message": lambda _: [OK + b"Content-Length: 9\r\n\r\n<h1>403</"],
    "another question": lambda body: whole(body.lower().replace(b"example", b"examples"[:7]).replace(b"www", b"xxx")),
    "bad chunks": lambda body: [OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + body],
    "a head without end": lambda _: [OK + b"X: " + b"x" * (1 << 18)],
}


@pytest.mark.parametrize("respond", BROKEN.values(), ids=BROKEN)
def test_what_is_no_response_is_a_failure(respond: Respond, tmp_path: Path) -> None:
    async def work() -> None:
        async with Server(tmp_path, respond).serving() as server:
            lines = f"tls {server.authority}\nmax_fails 0\nread_timeout 400ms"
            async with forwarding(f"forward . https://{HOST}:{server.port} {{\n{lines}\n}}") as plugin:
                await refused(plugin, query("www.example.org."))
                assert server.connections == 2

    run(work())


def test_many_at_a_time_and_the_check(tmp_path: Path) -> None:
    async def work() -> None:
        async with Server(tmp_path, whole).serving() as server:
            text = f"forward . https://{HOST}%localhost:{server.port} {{\ntls {server.authority}\n}}"
            async with forwarding(text) as plugin:
                records = await gather(*(asked(plugin, query(f"n{number}.test.")) for number in range(20)))
                assert [addresses(record) for record in records] == [["192.0.2.1"]] * 20
                assert server.requests[0].fields["host"] == f"localhost:{server.port}"
                health = plugin.rules[0].servers[0].health
                health.failures = 3
                health.suspect()
                await until(lambda: not health.failures)
                assert server.requests[-1].message[12:] == b"\0\0\2\0\1"
            statistics = statistics_of(f"{HOST}:{server.port}")
            assert not statistics.misses["tcp"] + statistics.misses["tcp-tls"] + statistics.hits["tcp-tls"]

    run(work())


def test_a_bad_certificate(tmp_path: Path) -> None:
    async def work() -> None:
        async with Server(tmp_path, whole).serving() as server:
            async with forwarding(f"forward . https://{HOST}:{server.port} {{\nmax_fails 0\n}}") as plugin:
                assert "failed to verify certificate" in str(await refused(plugin))
            assert server.requests == []

    run(work())
