"""A loop, a stepper on it, and what went wrong beside the results."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import uvloop

from kubedns.server.stepping import Stepper

Result = TypeVar("Result")
Factory = Callable[[], asyncio.AbstractEventLoop]

LOOPS: dict[str, Factory] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
TIME_ENOUGH = 10  # seconds


@contextmanager
def stepping(factory: Factory = asyncio.new_event_loop) -> Iterator[Stepped]:
    """Give a stepper whose spares are parked; fail where the loop was told of anything, pending tasks among it."""
    told: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=factory) as runner:
        loop = runner.get_loop()
        loop.set_exception_handler(lambda _, context: told.append(context))
        stepped = Stepped(loop, runner)
        yield stepped
        stepped.stepper.close()
        stepped.wait(asyncio.sleep(0))
        stepped.wait(asyncio.sleep(0))
        left = [task for task in asyncio.all_tasks(loop) if not task.done()]
        assert left == []
    gc.collect()
    assert told == []


class Stepped:
    """Calls things as a listener does: from a callback of the loop, in no task."""

    def __init__(self, loop: asyncio.AbstractEventLoop, runner: asyncio.Runner) -> None:
        self.loop = loop
        self._runner = runner
        self.stepper = Stepper(loop)
        self.turn()

    def call(self, function: Callable[[], Result]) -> Result:
        """Return what a function returns or raises when the loop calls it."""
        called: asyncio.Future[Result] = self.loop.create_future()

        def run() -> None:
            try:
                called.set_result(function())
            except Exception as error:  # noqa: BLE001 - handed on
                called.set_exception(error)

        self.loop.call_soon(run)
        return self.wait(called)

    def wait(self, awaitable: Awaitable[Result]) -> Result:
        async def until_done() -> Result:
            async with asyncio.timeout(TIME_ENOUGH):
                return await awaitable

        return self._runner.run(until_done())

    def turn(self, times: int = 3) -> None:
        """Let the loop turn."""
        for _ in range(times):
            self.wait(asyncio.sleep(0))
