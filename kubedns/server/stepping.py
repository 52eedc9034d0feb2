"""Coroutines run in place, before and between what they wait for: a query costs no task of its own.

asyncio asks which task runs (`asyncio.timeout`, `TaskGroup`), so a coroutine takes its steps in the name of a spare
task that is parked, and in that task's context. Where it waits, its next step is taken in place once what it waits for
is there, and at its end the spare is free for another one. Only when something cancels the spare does that task wake
up, adopt the coroutine, and drive it to its end.
"""

from __future__ import annotations

import asyncio
import contextvars
import types
from asyncio import isfuture
from asyncio.tasks import _enter_task, _leave_task  # what asyncio offers to those who run tasks themselves
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

Result = TypeVar("Result")

SPARES = 32  # tasks made at a time; coroutines that find none parked become tasks the usual way
MOST_PARKED = 512


class _Spare:
    """A task parked until it has to take over the coroutine that runs in its name."""

    __slots__ = ("context", "handed", "task", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.handed = loop.create_future()
        self.waiting: _Waiting[Any] | None = None
        self.context = contextvars.copy_context()
        self.task = loop.create_task(self._run(), context=self.context)

    async def _run(self) -> None:
        error: BaseException | None = None
        try:
            await self.handed
        except asyncio.CancelledError as cancelled:
            error = cancelled
        if self.waiting is not None:  # else it is not needed any more
            await self.waiting.adopted(error)


class _Waiting(asyncio.Future[Result]):
    """The result of a coroutine that waits."""

    __slots__ = ("_coroutine", "_spare", "_stepper", "_waits_for")

    def __init__(self, stepper: Stepper, spare: _Spare, coroutine: Coroutine[Any, Any, Result], waits_for: Any) -> None:
        """`waits_for` is what the first step yielded."""
        super().__init__(loop=stepper.loop)
        self._stepper = stepper
        self._spare = spare
        self._coroutine = coroutine
        spare.waiting = self
        self._wait(waits_for)

    def cancel(self, msg: Any | None = None) -> bool:
        """As a task's: what the coroutine waits for hears of it first."""
        return not self.done() and self._spare.task.cancel(msg)

    async def adopted(self, error: BaseException | None) -> None:
        """Go on inside a task, which `error` has been thrown into, until the coroutine returns."""
        waits_for = self._waits_for
        if isfuture(waits_for):
            waits_for.remove_done_callback(self._go_on)
            waits_for._asyncio_future_blocking = True  # noqa: SLF001 - as when it was yielded
        if error is not None and waits_for is not None and waits_for.cancel():
            error = None  # as with any task, what it waits for hears of it first, and may end otherwise
        try:
            result = await _drive(self._coroutine, waits_for, error)
        except BaseException as raised:  # noqa: BLE001 - all that a coroutine raises belongs to who waits for it
            self._end(None, raised)
        else:
            self._end(result, None)

    def _wait(self, waits_for: Any) -> None:
        """Have the next step taken once what a step yielded is there."""
        self._waits_for = waits_for
        spare = self._spare
        if spare.handed.done():
            return  # the step cancelled its own task, which will take over
        if waits_for is None:
            self._stepper.loop.call_soon(self._go_on, None, context=spare.context)
        elif getattr(waits_for, "_asyncio_future_blocking", None):
            waits_for._asyncio_future_blocking = False  # noqa: SLF001 - as asyncio's Task does
            waits_for.add_done_callback(self._go_on, context=spare.context)
        else:
            spare.handed.set_result(None)  # a task knows what to say of that

    def _go_on(self, _: object) -> None:
        spare, loop = self._spare, self._stepper.loop
        if spare.handed.done():
            return  # its task has been cancelled, and takes over
        _enter_task(loop, spare.task)
        try:
            waits_for = self._coroutine.send(None)
        except StopIteration as done:
            self._end(done.value, None)
        except BaseException as error:  # noqa: BLE001 - as above
            self._end(None, error)
        else:
            self._wait(waits_for)
        finally:
            _leave_task(loop, spare.task)

    def _end(self, result: Any, error: BaseException | None) -> None:
        if error is None:
            self.set_result(result)
        elif isinstance(error, asyncio.CancelledError):
            super().cancel()
        else:
            self.set_exception(error)
        self._waits_for = None
        self._stepper.ended(self._spare)


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
        self.loop = loop
        self._parked: deque[_Spare] = deque()
        self._starting = 0
        self._closed = False
        self._idle: asyncio.Future[None] | None = None
        self.busy = 0  # coroutines that wait, and queries that need none
        self._refill()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result | asyncio.Future[Result]:
        """Return the coroutine's result if it comes without waiting, else a future of it, to be cancelled as a task.

        An exception of the first step is raised here.
        """
        while self._parked and self._parked[-1].handed.done():
            self._parked.pop()  # cancelled while it was parked, or by what it ran last
        if not self._parked:
            self._refill()
            task = self.loop.create_task(coroutine)
            self.busy += 1
            task.add_done_callback(self._task_ended)
            return task
        spare = self._parked[-1]
        _enter_task(self.loop, spare.task)
        try:
            waits_for = spare.context.run(coroutine.send, None)
        except StopIteration as done:
            result: Result = done.value
            return result
        finally:
            _leave_task(self.loop, spare.task)
        self._parked.pop()
        self.busy += 1
        if not self._parked:
            self._refill()
        return _Waiting(self, spare, coroutine, waits_for)

    def ended(self, spare: _Spare) -> None:
        """Park a spare whose coroutine has ended."""
        spare.waiting = None
        if not spare.handed.done():
            if self._closed or len(self._parked) >= MOST_PARKED:
                spare.handed.set_result(None)
            else:
                self._parked.append(spare)
        self.left()

    def left(self) -> None:
        """Count one less that waits."""
        self.busy -= 1
        if not self.busy:
            self.give_up()

    async def drain(self, seconds: float) -> None:
        """Return once no coroutine waits any more, after that time, or when given up."""
        if self.busy:
            self._idle = self.loop.create_future()
            await asyncio.wait([self._idle], timeout=seconds)

    def give_up(self) -> None:
        """End drain() now."""
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def close(self) -> None:
        """End the tasks that are parked; those that have work go on."""
        self._closed = True
        while self._parked:
            spare = self._parked.pop()
            if not spare.handed.done():
                spare.handed.set_result(None)  # not cancelled: each would leave its exception and its frame in a cycle

    def _task_ended(self, _: asyncio.Task[Any]) -> None:
        self.left()

    def _refill(self) -> None:
        if self._starting or self._closed:
            return
        self._starting = SPARES
        spares = [_Spare(self.loop) for _ in range(SPARES)]
        self.loop.call_soon(self._park, spares)  # by then each has come to its first wait

    def _park(self, spares: list[_Spare]) -> None:
        self._starting = 0
        self._parked.extend(spares)
        if self._closed:
            self.close()
