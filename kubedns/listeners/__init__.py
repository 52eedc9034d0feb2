"""Octets in and out: sockets and the loop on one side, `answer` on the other.

`answer(message, client, now)` gets a message's octets, its Client and the monotonic time in seconds. It returns the
reply's octets, None for silence, or a future of either, which never raises: its reply leaves when it is ready.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from kubedns.wire.client import Client

Answer = Callable[[bytes, Client, float], bytes | asyncio.Future[bytes | None] | None]
Ready = Callable[[bytes, float], bytes | None]


def nothing_ready(_message: bytes, _now: float) -> None:
    """Leave every message to `answer`."""


class ReadyReplies(NamedTuple):
    """What is asked before `answer`, for clients over IPv4 and over IPv6: None where no reply is ready."""

    ipv4: Ready = nothing_ready
    ipv6: Ready = nothing_ready
