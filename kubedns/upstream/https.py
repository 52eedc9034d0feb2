"""DNS over HTTPS (RFC 8484) by HTTP/1.1 (RFC 9112): one request at a time on each connection, and no more of HTTP."""

from __future__ import annotations

import base64
import re

from kubedns.upstream.streams import Connection

PATH = "/dns-query"
MEDIA_TYPE = "application/dns-message"
NO_ID = b"\0\0"  # so that equal queries are equal to caches on the way (RFC 8484 §4.1)
DEFAULT_PORT = 443
MOST_OCTETS = 1 << 18  # of a response: a message and what HTTP needs around it
HEAD = re.compile(rb"\AHTTP/1\.[01] [0-9]{3}[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")
INTERIM = re.compile(rb"\AHTTP/1\.[01] 1[0-9]{2}")
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,6})[ \t]*(?:;[^\r\n]*)?\r\n")


class HttpsConnection(Connection):
    """Whatever a response's status is, its body is the reply, as CoreDNS has it."""

    answers_once = True
    protocol = "https"

    def framed(self, message: bytes) -> bytes:
        """Return the request for a message."""
        self._ident, message = NO_ID, NO_ID + message
        address, method = self._streams.address, self._streams.settings.http_method
        host = address.server_name or (f"[{address.host}]" if ":" in address.host else address.host)
        host = host if address.port == DEFAULT_PORT else f"{host}:{address.port}"
        path, body, more = PATH, message, f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: {len(message)}\r\n"
        if method == "GET":
            encoded = base64.urlsafe_b64encode(message).rstrip(b"=").decode()
            path, body, more = f"{PATH}?dns={encoded}", b"", ""
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {MEDIA_TYPE}\r\n{more}\r\n"
        return head.encode("ascii") + body

    def next_message(self) -> bytes | None:
        """Take the body of the response that has come, if it is whole; one that is none ends the connection."""
        while INTERIM.match(self._octets) and (interim := HEAD.match(self._octets)):
            self._octets = self._octets[interim.end() :]
        head = HEAD.match(self._octets)
        if head is None or len(self._octets) > MOST_OCTETS:
            if len(self._octets) > MOST_OCTETS or b"\r\n\r\n" in self._octets:
                self.fail("malformed HTTP response")
            return None
        fields = _fields(head[1])
        self.last = "close" in fields.get("connection", "").lower() or self._octets.startswith(b"HTTP/1.0")
        if "chunked" in fields.get("transfer-encoding", "").lower():
            return self._chunked(head.end())
        length = fields.get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            self.fail("malformed HTTP response")  # what lasts until the connection closes may be cut anywhere
            return None
        end = head.end() + int(length[:9])
        if len(self._octets) < end:
            return None
        body, self._octets = self._octets[head.end() : end], self._octets[end:]
        return body

    def _chunked(self, at: int) -> bytes | None:
        """Return the body that is in pieces, each behind its size (RFC 9112 §7.1)."""
        octets, body = self._octets, b""
        while size := CHUNK.match(octets, at):
            length = int(size[1], 16)
            if not length:
                end = octets.find(b"\r\n\r\n", size.end() - 2)
                if end < 0:
                    return None
                self._octets = octets[end + 4 :]
                return body
            at = size.end() + length + 2
            if len(octets) < at:
                return None
            body += octets[size.end() : at - 2]
        if b"\r\n" in octets[at:]:
            self.fail("malformed HTTP response")
        return None


def _fields(lines: bytes) -> dict[str, str]:
    """Return a head's fields by lower-case name; of one name the last."""
    pairs = (line.partition(":") for line in lines.decode("latin-1").split("\r\n") if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
