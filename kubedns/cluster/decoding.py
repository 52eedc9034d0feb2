"""The API server's octets to messages: lines of a watch, pages of a list, a Status."""

from __future__ import annotations

import msgspec
from msgspec import Raw, field

from kubedns.cluster.failures import Malformed, Refused
from kubedns.cluster.schema import Message, NamespaceMessage

_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_NOTHING = Raw(b"null")


class Event(Message):
    """metav1.WatchEvent; `object` is not read yet."""

    type: str
    object: Raw = _NOTHING


class ListMetadata(Message):
    resourceVersion: str | None = None  # noqa: N815 - the API's spelling
    token: str | None = field(default=None, name="continue")


class Page(Message):
    """A reply to a LIST; its items are not read yet."""

    metadata: ListMetadata | None = None
    items: list[Raw] | None = None


class _Details(Message):
    retryAfterSeconds: float | None = None  # noqa: N815 - the API's spelling


class _Status(Message):
    """metav1.Status."""

    message: str | None = None
    reason: str | None = None
    code: int | None = None
    details: _Details | None = None


class Lines:
    """Puts lines together from octets as they come."""

    def __init__(self, longest: int) -> None:
        """`longest` is the octets of a line."""
        self._longest = longest
        self._parts: list[bytes] = []
        self._octets = 0

    @property
    def unfinished(self) -> bool:
        """Tell whether a line has begun that has not ended."""
        return self._octets > 0

    def feed(self, octets: bytes) -> list[bytes]:
        """Return the lines that are whole now; raises Malformed where one gets too long."""
        if b"\n" not in octets:
            self._keep(octets)
            return []
        lines = octets.split(b"\n")
        if self._parts:
            lines[0] = b"".join((*self._parts, lines[0]))
        self._parts, self._octets = [], 0
        self._keep(lines.pop())
        return [line for line in lines if line]

    def _keep(self, octets: bytes) -> None:
        self._octets += len(octets)
        if self._octets > self._longest:
            raise Malformed(f"a line of more than {self._longest >> 10} KiB in a watch", "long line")
        if octets:
            self._parts.append(octets)


_events = msgspec.json.Decoder(Event)
_pages = msgspec.json.Decoder(Page)
_statuses = msgspec.json.Decoder(_Status)
_identities = msgspec.json.Decoder(NamespaceMessage)


def read_event(line: bytes) -> Event:
    """Return the event of a watch's line; raises Malformed."""
    try:
        return _events.decode(line)
    except _BROKEN as error:
        raise Malformed(f"a watch's line can't be read: {error}", "malformed event") from None


def read_page(text: bytes) -> Page:
    """Return the page of a LIST; raises Malformed."""
    try:
        return _pages.decode(text)
    except _BROKEN as error:
        raise Malformed(f"a list can't be read: {error}", "malformed list") from None


def read_status(text: bytes | Raw, code: int = 0, retry_after: float = 0.0) -> Refused:
    """Return the failure that a Status tells; `code` is HTTP's, for replies that are none (a proxy's page)."""
    try:
        status = _statuses.decode(text)
    except _BROKEN:
        return Refused(code, "", "a reply that is not the API's", retry_after)
    if status.details is not None and status.details.retryAfterSeconds:
        retry_after = retry_after or status.details.retryAfterSeconds
    return Refused(code or status.code or 500, status.reason or "", status.message or "", retry_after)


def read_identity(raw: Raw) -> NamespaceMessage:
    """Return an object's metadata alone, that of a broken one too if it can be; raises Malformed."""
    try:
        return _identities.decode(raw)
    except _BROKEN as error:
        raise Malformed(f"an object's metadata can't be read: {error}", "malformed object") from None
