"""HTTP/1.1 (RFC 9112) as Go's server speaks it, and the ways in which a reply can come to grief."""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.fakes.apiserver.request import Request
    from tests.fakes.apiserver.rules import Rule

LARGEST_HEAD = 1 << 20  # octets; also how much of a body is read at a time
WHOLE_BODY = 2048  # octets up to which Go's server knows a body's length before it sends the head
COMPRESSED_BODY = 128 << 10  # octets from which the API server compresses a list
PIECE = 256 << 10  # octets written at once
JSON = "application/json"
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends RST (socket(7))


class Hangup(Exception):  # noqa: N818 - the way a reply ends, not what went wrong with the server
    """The connection is done with."""


@dataclass(slots=True)
class Message:
    """A request; header names are in lower case, of a query's repeated names the last counts."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""


async def read_message(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Message | None:
    """Return the next request of a connection, None where there is none, or none that can be read."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request_line, *lines = head.split("\r\n")[:-2]
        method, target, _version = request_line.split(" ")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, OSError):
        return None
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    url = urlsplit(target)
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    message = Message(method, unquote(url.path), query, headers)
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        message.body = await _read_body(reader, headers)
    except (asyncio.IncompleteReadError, ValueError, OSError):
        return None
    return message


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while (await reader.readline()).strip():
        pass  # trailers
    return body


class Reply:
    """One reply, subject to a rule's shape. Whatever ends the connection with it raises Hangup."""

    def __init__(self, writer: asyncio.StreamWriter, message: Message, rule: Rule | None, record: Request) -> None:
        self.record = record
        self.closes = message.headers.get("connection", "").lower() == "close"
        self._writer = writer
        self._message = message
        self._mode = rule.mode if rule else ""
        self._values = rule.values if rule else {}
        self._lines = int(self._values.get("lines", 0))
        self._octets = self._values.get("octets")
        if self._mode == "connection_close":
            self.closes = True

    async def send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole reply; a body that is long or in for trouble goes in chunks."""
        if len(body) <= WHOLE_BODY and self._mode not in {"cut_line", "cut_chunk", "drip"}:
            self._head(status, {"Content-Length": str(len(body)), **(headers or {})})
            self._writer.write(body)
            await self._drained()
            return
        await self.begin(status, headers)
        for start in range(0, len(body), PIECE):
            await self.write(body[start : start + PIECE])
        await self.end()

    async def send_list(self, body: bytes, *, compress: bool) -> None:
        """Send a list, compressed if it is long and the client takes that (gzip at level 1, as the API server)."""
        accepted = self._message.headers.get("accept-encoding", "")
        if compress and "gzip" in accepted and len(body) > COMPRESSED_BODY:
            packer = zlib.compressobj(level=1, wbits=zlib.MAX_WBITS | 16)
            packed = packer.compress(body) + packer.flush()
            await self.send(HTTPStatus.OK, packed, {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})
        else:
            await self.send(HTTPStatus.OK, body)

    async def begin(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        """Send the head of a reply that has no length."""
        self._head(status, {"Transfer-Encoding": "chunked", **(headers or {})})
        await self._drained()

    async def write(self, data: bytes) -> None:
        """Send a chunk, or as much of it as the rule leaves."""
        if self._mode in {"cut_line", "cut_chunk"}:
            left = self._left_of(data)
            if left < len(data):
                await (self.cut_line if self._mode == "cut_line" else self.cut_chunk)(data, left)
        if self._mode == "drip":
            step, every = int(self._values.get("octets", 64)), float(self._values.get("every", 0.05))
            for start in range(0, len(data), step):
                await self._chunk(data[start : start + step])
                await asyncio.sleep(every)
            return
        await self._chunk(data)

    async def end(self) -> None:
        self._writer.write(b"0\r\n\r\n")
        await self._drained()

    async def cut_line(self, data: bytes, left: int) -> None:
        """End the body properly, as a proxy does that lost its own connection, but too early."""
        await self._chunk(data[:left])
        await self.end()
        self.closes = True
        raise Hangup

    async def cut_chunk(self, data: bytes, left: int) -> None:
        """Announce a chunk, send its start, and close."""
        self._writer.write(b"%x\r\n%b" % (len(data), data[:left]))
        await self._drained()
        self.close()

    def close(self) -> None:
        """Close as a process does that ends: FIN after what was written."""
        self._writer.close()
        raise Hangup

    def reset(self) -> None:
        """Close with RST."""
        reset(self._writer)
        raise Hangup

    def _left_of(self, data: bytes) -> int:
        """Return how much of a chunk still goes out; by lines, it is half of the line after them."""
        if self._octets is not None:
            left = min(int(self._octets), len(data))
            self._octets = int(self._octets) - left
            return left
        start = 0
        while self._lines:
            found = data.find(b"\n", start)
            if found < 0:
                return len(data)
            start = found + 1
            self._lines -= 1
        end = data.find(b"\n", start)
        return start + ((end if end >= 0 else len(data)) - start) // 2

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.record.status = status
        fields = {
            "Cache-Control": "no-cache, private",
            "Content-Type": JSON,
            "Date": formatdate(usegmt=True),
            **headers,
            **({"Connection": "close"} if self.closes else {}),
        }
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {fields[name]}" for name in fields)]
        self._writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def _chunk(self, data: bytes) -> None:
        if data:  # an empty chunk would be the last
            self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await self._drained()

    async def _drained(self) -> None:
        try:
            await self._writer.drain()
        except OSError:
            raise Hangup from None


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with RST, so that the client sees an error and not an end."""
    held = writer.get_extra_info("socket")
    if held is not None and held.fileno() >= 0:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
