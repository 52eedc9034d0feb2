"""What both sides of the control pipe know."""

from __future__ import annotations

import struct

import msgspec

FRAME = struct.Struct("!I")  # a frame of the control pipe: its length in octets, then MessagePack


class Request(msgspec.Struct):
    """A request that the server got; names of headers are in lower case, `status` is 0 until, or unless, it replied.

    `verb` and `resource` are the API's (list, watch, get, create, …; plural), not HTTP's.
    """

    verb: str
    resource: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    status: int = 0


class Options(msgspec.Struct):
    """How a server starts; `bookmark_every` is in seconds, the paths are those of PEM files."""

    port: int
    certificate: str
    key: str
    token: str
    admin_token: str
    host: str = "127.0.0.1"
    streaming_lists: bool = True
    bookmark_every: float = 60.0
    gzip: bool = True
    multicluster: bool = False


class Call(msgspec.Struct):
    """A call of one of Control's methods."""

    method: str
    arguments: list[object]


class Answer(msgspec.Struct):
    """What came of a call: a value, or an error's text."""

    value: object = None
    error: str = ""
