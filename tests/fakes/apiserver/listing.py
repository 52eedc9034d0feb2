"""LIST: whole, in pages, at a version."""

from __future__ import annotations

import asyncio
import base64
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from tests.fakes.apiserver.statuses import CONTINUE_EXPIRED, LIST_EXPIRED, StatusError, too_large

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.fakes.apiserver.matching import Selection
    from tests.fakes.apiserver.store import Store, Stored, Table

FUTURE_WAIT = 3.0  # seconds that the watch cache waits for a version to come
_TOKEN_VERSION = "meta.k8s.io/v1"  # noqa: S105 - a format's name


class ContinueToken(msgspec.Struct, frozen=True, rename={"format": "v", "version": "rv"}):
    """`version` -1 stands for the present; `start` is the key before the next page, and NUL."""

    format: str
    version: int
    start: str

    @property
    def text(self) -> str:
        """Base64 without padding, over Go's JSON, which writes NUL as \\u0000."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Page:
    version: int
    items: list[Stored]
    metadata: dict[str, str | int]

    def encoded(self, table: Table) -> bytes:
        resource = table.resource
        head = f'{{"kind":"{resource.kind}List","apiVersion":"{resource.group_version}","metadata":'.encode()
        items = b",".join([stored.item for stored in self.items])
        return b'%b%b,"items":[%b]}\n' % (head, msgspec.json.encode(self.metadata), items)


async def list_page(store: Store, table: Table, selection: Selection, query: Mapping[str, str]) -> Page:
    """Return the page a query asks for; raises StatusError where the API server would."""
    version = read_version(query)
    limit = read_count(query, "limit")
    if "sendInitialEvents" in query:
        raise StatusError(422, "sendInitialEvents is forbidden for list")
    if query.get("continue"):
        if query.get("resourceVersion"):
            raise StatusError(400, "specifying resource version is not allowed when using continue")
        return _next_page(store, table, selection, query["continue"], limit)
    match = query.get("resourceVersionMatch", "")
    if match and version is None:
        raise StatusError(422, "resourceVersionMatch is forbidden unless resourceVersion is provided")
    await until_version(store, version or 0)
    if version == 0:
        limit = 0  # the watch cache answers whole
    if version and (match == "Exact" or (limit and not match)):
        if version < store.floor:
            raise StatusError(410, LIST_EXPIRED)
        return _page(selection, table.at(version), version, limit)
    return _page(selection, table.now(), store.version, limit)


async def until_version(store: Store, version: int) -> None:
    """Wait a little for a version that is still to come."""
    loop = asyncio.get_running_loop()
    end = loop.time() + FUTURE_WAIT
    while store.version < version:
        if loop.time() >= end:
            raise too_large(version, store.version)
        await asyncio.sleep(0.05)


def read_version(query: Mapping[str, str]) -> int | None:
    """Return resourceVersion, None where it is unset."""
    text = query.get("resourceVersion", "")
    if text and not text.isdecimal():
        raise StatusError(400, f'invalid resource version "{text}"')
    return int(text) if text else None


def read_count(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, "")
    if text and not text.isdecimal():
        raise StatusError(400, f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text or "0")


def _next_page(store: Store, table: Table, selection: Selection, text: str, limit: int) -> Page:
    try:
        token = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=ContinueToken)
    except (ValueError, msgspec.DecodeError) as error:
        raise StatusError(400, f"continue key is not valid: {error}") from None
    start = token.start.removeprefix("/")
    if token.version < 0:
        return _page(selection, table.now(), store.version, limit, start)
    if token.version < store.floor:
        fresh = ContinueToken(_TOKEN_VERSION, -1, start)
        raise StatusError(410, CONTINUE_EXPIRED, metadata={"continue": fresh.text})
    return _page(selection, table.at(token.version), token.version, limit, start)


def _page(selection: Selection, items: list[Stored], version: int, limit: int, start: str | None = None) -> Page:
    selected = selection.select(items)
    at = bisect_left(selected, start, key=lambda stored: stored.key) if start is not None else 0
    page = selected[at : at + limit] if limit else selected[at:]
    metadata: dict[str, str | int] = {"resourceVersion": str(version)}
    remaining = len(selected) - at - len(page)
    if remaining:
        # What the watch cache writes, as it does for a list's first page, has a slash more than etcd's reader.
        key = f"{'/' if start is None else ''}{page[-1].key}\0"
        metadata["continue"] = ContinueToken(_TOKEN_VERSION, version, key).text
        if not selection.filters:
            metadata["remainingItemCount"] = remaining
    return Page(version, page, metadata)
