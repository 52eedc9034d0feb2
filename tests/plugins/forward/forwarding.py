"""The plugin as the server runs it, but for the server: set up from Corefile text, started, asked, stopped."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import uvloop
from dnslib import DNSRecord

from kubedns.plugin.contract import ResolveError, ServerBlock, Shared, Starts, Stops
from plugins import forward
from tests.plugins.helpers import directive, query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
    from pathlib import Path

    from kubedns.plugin.contract import Next
    from kubedns.wire.query import Query
    from kubedns.wire.reply import Reply
    from plugins.forward import Forward

Result = TypeVar("Result")

PATIENCE = 20.0  # seconds for what takes a moment on a machine that is not busy
LOOPS = [pytest.param(asyncio.new_event_loop, id="asyncio"), pytest.param(uvloop.new_event_loop, id="uvloop")]


async def nobody(_: Query) -> Reply:
    raise ResolveError("plugin/forward: no next plugin found")


def run(work: Coroutine[Any, Any, Result], factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> Result:
    """Run a test's coroutine; one that hangs fails."""

    async def bounded() -> Result:
        async with asyncio.timeout(3 * PATIENCE):
            return await work

    with asyncio.Runner(loop_factory=factory or uvloop.new_event_loop) as runner:
        return runner.run(bounded())


@asynccontextmanager
async def forwarding(text: str, *, shared: Shared | None = None, root: Path | None = None) -> AsyncIterator[Forward]:
    """Yield the plugin that Corefile lines make, started, and stop it with all that it keeps."""
    block = ServerBlock((".",), shared=shared or Shared())
    if root is not None:
        block.root = root
    plugin = forward.setup(directive(text), block)
    parts = list(block.shared.kept.values())
    for part in parts:
        if isinstance(part, Starts):
            await part.start()
    try:
        yield plugin
    finally:
        for part in parts:
            if isinstance(part, Stops):
                await part.stop()


async def asked(plugin: Forward, one: Query | None = None, pass_on: Next = nobody) -> DNSRecord:
    """Return the reply as the client reads it; raises ResolveError."""
    one = one or query()
    return DNSRecord.parse((await plugin.resolve(one, pass_on)).octets(one))


async def refused(plugin: Forward, one: Query | None = None, pass_on: Next = nobody) -> ResolveError:
    """Return the error of a query that gets no reply."""
    try:
        reply = await plugin.resolve(one or query(), pass_on)
    except ResolveError as error:
        return error
    raise AssertionError(f"there was a reply: {reply.rcode} {reply.sections}")


async def gather(*work: Awaitable[Result]) -> list[Result]:
    return list(await asyncio.gather(*work))


def addresses(record: DNSRecord) -> list[str]:
    return [str(rr.rdata) for rr in record.rr]
