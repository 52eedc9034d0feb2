"""Coroutines stepped in place behave as they do as tasks, on both loops."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

from kubedns.server.stepping import SPARES
from tests.server.coroutines import COROUTINES, IN_PLACE, MistakeError, a_turn, a_while, at_once, variable
from tests.server.running import LOOPS, Factory, Stepped, stepping


@pytest.fixture(params=LOOPS.values(), ids=list(LOOPS))
def stepped(request: pytest.FixtureRequest) -> Iterator[Stepped]:
    factory: Factory = request.param
    with stepping(factory) as made:
        yield made


@pytest.mark.parametrize("make", COROUTINES, ids=lambda make: make.__name__)
def test_result(stepped: Stepped, make: Callable[[], Coroutine[Any, Any, str]]) -> None:
    for _ in range(3):
        result = stepped.call(lambda: stepped.stepper.run(make()))
        assert isinstance(result, str) is (make in IN_PLACE)
        assert (result if isinstance(result, str) else stepped.wait(result)) == "done"


@pytest.mark.parametrize("make", COROUTINES, ids=lambda make: make.__name__)
def test_result_in_a_burst(stepped: Stepped, make: Callable[[], Coroutine[Any, Any, str]]) -> None:
    """More coroutines wait than there are spares: the others become tasks the usual way."""
    number = 3 * SPARES

    def burst() -> list[str | asyncio.Future[str]]:
        return [stepped.stepper.run(make()) for _ in range(number)]

    results = stepped.call(burst)
    waiting = [result for result in results if not isinstance(result, str)]
    assert len(waiting) == (0 if make in IN_PLACE else number)
    assert [stepped.wait(one) for one in waiting] == ["done"] * len(waiting)
    stepped.turn()
    result = stepped.call(lambda: stepped.stepper.run(at_once()))
    assert result == "done"


def test_exception_at_once_is_raised(stepped: Stepped) -> None:
    async def fail() -> None:
        raise MistakeError

    for _ in range(2 * SPARES):
        with pytest.raises(MistakeError):
            stepped.call(lambda: stepped.stepper.run(fail()))
    assert stepped.call(lambda: stepped.stepper.run(at_once())) == "done"


@pytest.mark.parametrize("wait", [lambda: asyncio.sleep(0), lambda: asyncio.sleep(0.001)], ids=["a turn", "a while"])
def test_exception_later_is_the_future_s(stepped: Stepped, wait: Callable[[], Awaitable[None]]) -> None:
    async def fail() -> None:
        await wait()
        raise MistakeError

    future = stepped.call(lambda: stepped.stepper.run(fail()))
    assert future is not None
    with pytest.raises(MistakeError):
        stepped.wait(future)


def test_exception_of_what_is_awaited_can_be_caught(stepped: Stepped) -> None:
    async def catch() -> str:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, MistakeError())
        try:
            await future
        except MistakeError:
            await asyncio.sleep(0)
            return "caught"
        return "not raised"

    future = stepped.call(lambda: stepped.stepper.run(catch()))
    assert not isinstance(future, str)
    assert stepped.wait(future) == "caught"


def test_no_task_runs_once_the_first_step_is_over(stepped: Stepped) -> None:
    def run() -> asyncio.Task[Any] | None:
        future = stepped.stepper.run(a_turn())
        assert not isinstance(future, str)
        future.add_done_callback(lambda _: None)
        return asyncio.current_task()

    assert stepped.call(run) is None
    stepped.turn(5)


class Noted:
    """A coroutine that waits and notes what becomes of it."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    async def wait(self) -> str:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            self.notes.append("cancelled")
            raise
        finally:
            self.notes.append("ended")
        return "done"


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
def test_cancelled_while_it_waits(stepped: Stepped, turns: int) -> None:
    noted = Noted()
    if turns == 0:
        future = stepped.call(lambda: cancelled(stepped.stepper.run(noted.wait())))
    else:
        waiting = stepped.call(lambda: stepped.stepper.run(noted.wait()))
        stepped.turn(turns)
        future = cancelled(waiting)
    with pytest.raises(asyncio.CancelledError):
        stepped.wait(future)
    assert noted.notes == ["cancelled", "ended"]


def cancelled(future: str | asyncio.Future[str]) -> asyncio.Future[str]:
    assert not isinstance(future, str)
    future.cancel()
    return future


def test_cancelled_at_once_what_it_waits_for_is_told_and_may_go_on(stepped: Stepped) -> None:
    """As with any task: cancelling it cancels the inner task, and waits for what that does."""

    async def stubborn() -> str:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            await asyncio.sleep(0.001)
        return "in spite of it"

    async def outer() -> str:
        inner = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        return await inner

    async def outer_at_once(inner: asyncio.Task[str]) -> str:
        return await inner

    inner = stepped.call(lambda: stepped.loop.create_task(stubborn()))
    stepped.turn()
    future = stepped.call(lambda: cancelled(stepped.stepper.run(outer_at_once(inner))))
    assert stepped.wait(future) == "in spite of it"
    later = stepped.call(lambda: stepped.stepper.run(outer()))
    stepped.turn(5)
    assert stepped.wait(cancelled(later)) == "in spite of it"


def test_a_coroutine_that_cancels_its_own_task_spoils_no_other(stepped: Stepped) -> None:
    def cancel_self() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def return_at_once() -> str:
        cancel_self()
        return "done"

    async def then_wait() -> str:
        cancel_self()
        await asyncio.sleep(5)
        return "not cancelled"

    for _ in range(SPARES + 3):
        assert stepped.call(lambda: [stepped.stepper.run(return_at_once()), stepped.stepper.run(at_once())]) == [
            "done",
            "done",
        ]
        future = stepped.call(lambda: stepped.stepper.run(then_wait()))
        assert not isinstance(future, str)
        with pytest.raises(asyncio.CancelledError):
            stepped.wait(future)


def test_context_variables_stay_in_the_coroutine(stepped: Stepped) -> None:
    async def leave_set() -> str:
        variable.set("left")
        return "done"

    def run() -> str:
        stepped.stepper.run(leave_set())
        return variable.get()

    assert stepped.call(run) == "unset"


def test_nothing_pending_once_closed(stepped: Stepped) -> None:
    """Spares that were on their way when the stepper closed end too."""
    waiting = stepped.call(lambda: [stepped.stepper.run(a_turn()) for _ in range(SPARES // 2)])

    def run_and_close() -> list[str | asyncio.Future[str]]:
        results = [stepped.stepper.run(a_turn()) for _ in range(SPARES // 2)]
        stepped.stepper.close()
        return results

    waiting += stepped.call(run_and_close)
    assert [stepped.wait(one) for one in waiting if not isinstance(one, str)] == ["done"] * len(waiting)
    stepped.turn()
    assert [task for task in asyncio.all_tasks(stepped.loop) if not task.done()] == []


def test_what_waits_when_the_stepper_closes_goes_on(stepped: Stepped) -> None:
    def run_and_close() -> str | asyncio.Future[str]:
        future = stepped.stepper.run(a_while())
        stepped.stepper.close()
        return future

    future = stepped.call(run_and_close)
    assert not isinstance(future, str)
    assert stepped.wait(future) == "done"


def test_still_runs_once_closed(stepped: Stepped) -> None:
    stepped.stepper.close()
    stepped.turn()
    future = stepped.call(lambda: stepped.stepper.run(at_once()))
    assert not isinstance(future, str)
    assert stepped.wait(future) == "done"


@pytest.mark.parametrize("make", [at_once, a_turn], ids=["at once", "a turn"])
def test_leaves_nothing_behind(stepped: Stepped, make: Callable[[], Coroutine[Any, Any, str]]) -> None:
    class Held:
        pass

    alive: list[weakref.ref[Held]] = []

    async def hold() -> str:
        held = Held()
        alive.append(weakref.ref(held))
        await make()
        return "done"

    def run() -> list[asyncio.Future[str]]:
        results = [stepped.stepper.run(hold()) for _ in range(SPARES // 2)]
        return [result for result in results if not isinstance(result, str)]

    rounds = 10_000 // (SPARES // 2)
    for _ in range(rounds):
        for future in stepped.call(run):
            stepped.wait(future)
    assert len(alive) == rounds * (SPARES // 2)
    gc.collect()
    assert not any(ref() for ref in alive)
    assert len(asyncio.all_tasks(stepped.loop)) <= SPARES
