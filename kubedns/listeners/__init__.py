"""Octets in and out: sockets and the loop on one side, `answer` on the other.

`answer(message, client, now)` gets a message's octets, its Client and the monotonic time in seconds. It returns the
reply's octets, None for silence, or a future of either, which never raises: its reply leaves when it is ready.
"""

import asyncio
from collections.abc import Callable

from kubedns.wire.client import Client

Answer = Callable[[bytes, Client, float], bytes | asyncio.Future[bytes | None] | None]
