"""Coroutines run in place until they wait: most queries are answered without ever being a task.

asyncio asks which task runs (`asyncio.timeout`, `TaskGroup`), and a coroutine once stepped can't become a task of its
own. So a coroutine takes its first step in the name of a spare task that is parked; where it waits, that task adopts it
and drives it to its end, and where it does not, the spare stays for the next one. All steps run in the spare's context,
so that a context variable can be set in the first and reset in a later one.
"""

from __future__ import annotations

import asyncio
import contextvars
import types
from asyncio.tasks import _enter_task, _leave_task  # what asyncio offers to those who run tasks themselves
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

Result = TypeVar("Result")

SPARES = 32  # tasks kept parked; more coroutines that wait in one turn of the loop become tasks the usual way


class _Spare:
    """A task parked until it is handed a coroutine that has taken its first step."""

    __slots__ = ("context", "coroutine", "handed", "task", "waits_for")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.handed = loop.create_future()
        self.coroutine: Coroutine[Any, Any, Any] | None = None
        self.waits_for: Any = None
        self.context = contextvars.copy_context()
        self.task = loop.create_task(self._run(), context=self.context)

    async def _run(self) -> Any:
        error: BaseException | None = None
        try:
            await self.handed
        except asyncio.CancelledError as cancelled:
            error = cancelled
        if self.coroutine is None:  # never used: the server stops
            return None
        if error is not None and self.waits_for is not None and self.waits_for.cancel():
            error = None  # as with any task, what it waits for hears of it first, and may end otherwise
        return await _drive(self.coroutine, self.waits_for, error)


@types.coroutine
def _drive(
    coroutine: Coroutine[Any, Any, Any], waits_for: Any, error: BaseException | None
) -> Generator[Any, Any, Any]:
    """Go on where the first step ended, as a Task does, until the coroutine returns."""
    while True:
        value = None
        if error is None:
            try:
                value = yield waits_for
            except BaseException as thrown:  # noqa: BLE001 - all that a task is thrown belongs to the coroutine
                error = thrown
        try:
            waits_for = coroutine.send(value) if error is None else coroutine.throw(error)
        except StopIteration as done:
            return done.value
        error = None


class Stepper:
    """Runs coroutines on one loop, each in place for as long as it does not wait. Call it from callbacks, not tasks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """The first spares are ready one turn of the loop later."""
        self._loop = loop
        self._parked: deque[_Spare] = deque()
        self._starting = 0
        self._closed = False
        self._idle: asyncio.Future[None] | None = None
        self.busy = 0  # coroutines that wait
        self._refill()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result | asyncio.Future[Result]:
        """Return the coroutine's result if it comes without waiting, else the task that goes on with it.

        An exception of the first step is raised here.
        """
        while self._parked and self._parked[-1].handed.done():
            self._parked.pop()  # cancelled while it was parked, or by what it ran last
        if not self._parked:
            self._refill()
            return self._watched(self._loop.create_task(coroutine))
        spare = self._parked[-1]
        _enter_task(self._loop, spare.task)
        try:
            waits_for = spare.context.run(coroutine.send, None)
        except StopIteration as done:
            result: Result = done.value
            return result
        finally:
            _leave_task(self._loop, spare.task)
        self._parked.pop()
        spare.coroutine, spare.waits_for = coroutine, waits_for
        if not spare.handed.done():  # else its first step cancelled it
            spare.handed.set_result(None)
        self._refill()
        return self._watched(spare.task)

    async def drain(self, seconds: float) -> None:
        """Return once no coroutine waits any more, after that time, or when given up."""
        if self.busy:
            self._idle = self._loop.create_future()
            await asyncio.wait([self._idle], timeout=seconds)

    def give_up(self) -> None:
        """End drain() now."""
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def close(self) -> None:
        """End the tasks that are parked; those that have work go on."""
        self._closed = True
        while self._parked:
            self._parked.pop().handed.cancel()

    def _watched(self, task: asyncio.Task[Result]) -> asyncio.Task[Result]:
        self.busy += 1
        task.add_done_callback(self._ended)
        return task

    def _ended(self, _: asyncio.Task[Any]) -> None:
        self.busy -= 1
        if not self.busy:
            self.give_up()

    def _refill(self) -> None:
        missing = SPARES - len(self._parked) - self._starting
        if missing <= 0 or self._closed:
            return
        self._starting += missing
        spares = [_Spare(self._loop) for _ in range(missing)]
        self._loop.call_soon(self._park, spares)  # by then each has come to its first wait

    def _park(self, spares: list[_Spare]) -> None:
        self._starting -= len(spares)
        self._parked.extend(spares)
        if self._closed:
            self.close()
