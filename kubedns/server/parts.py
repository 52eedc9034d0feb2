"""A configuration's parts, its plugins and what they share: started, and stopped whatever one of them does."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

from kubedns import log
from kubedns.plugin.contract import Lingers, StartError, Starts, Stops

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

MOST_STOPPING = 5.0  # seconds that a plugin has to stop


def without(parts: Iterable[Any], others: Sequence[Any]) -> list[Any]:
    """Return the parts that are none of the others: it is objects that are compared."""
    known = {id(other) for other in others}
    return [part for part in parts if id(part) not in known]


async def start(part: object, plugins: Iterable[tuple[str, Any]]) -> None:
    """Start a part that can be. What it raises comes out as StartError or OSError, which an operator can read.

    `plugins` are named, for an error to say whose it is.
    """
    if not isinstance(part, Starts):
        return
    try:
        await part.start()
    except (StartError, OSError):
        raise
    except Exception as error:
        name = next((f"plugin/{name}" for name, plugin in plugins if plugin is part), type(part).__name__)
        where = "".join(traceback.format_exception(error)).rstrip()
        raise StartError(f"{name}: start: {type(error).__name__}: {error}\n{where}") from error


async def stop(parts: Iterable[Any]) -> list[Exception]:
    """Stop each part that can be, one after the other; return the exceptions, logged."""
    failed = []
    for part in parts:
        if isinstance(part, Stops):
            failed += await _attempt("stopping", part, part.stop, MOST_STOPPING)
            await asyncio.sleep(0)  # there may be thousands
    return failed


async def linger(parts: Iterable[Any]) -> list[Exception]:
    """Let each part linger that does, one after the other; return the exceptions, logged."""
    failed = []
    for part in parts:
        if isinstance(part, Lingers):
            failed += await _attempt("lingering", part, part.linger, None)
    return failed


async def _attempt(
    doing: str, part: object, call: Callable[[], Awaitable[None]], seconds: float | None
) -> list[Exception]:
    """Return the exception of a plugin's call, logged: one that fails must not keep the others from it."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            await call()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # The plugin awaited a task that it had cancelled itself: the commonest way to stop one.
    except Exception as error:  # noqa: BLE001 - a third party's plugin may raise anything
        late = f" takes longer than {seconds:.0f} s: left behind" if limit.expired() else None
        log.server_log.error(f"{doing} {type(part).__name__}{late or f': {type(error).__name__}: {error}'}")
        return [error]
    return []
