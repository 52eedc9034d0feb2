"""Coroutines as plugins may be, each of which returns "done" where all is as in a task."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class MistakeError(Exception):
    pass


async def at_once() -> str:
    return "done"


async def a_turn() -> str:
    await asyncio.sleep(0)
    return "done"


async def several_turns() -> str:
    for _ in range(5):
        await asyncio.sleep(0)
    return "done"


async def a_while() -> str:
    await asyncio.sleep(0.001)
    return "done"


async def a_future() -> str:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()
    loop.call_soon(future.set_result, "done")
    return await future


async def a_future_that_is_set_before_the_task_takes_over() -> str:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()
    future.set_result("done")
    await asyncio.sleep(0)
    return await future


async def a_task() -> str:
    return await asyncio.create_task(a_turn())


async def gathered() -> str:
    return (await asyncio.gather(at_once(), a_turn(), a_while()))[2]


async def an_event() -> str:
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(0.001, event.set)
    await event.wait()
    return "done"


async def a_lock() -> str:
    lock = asyncio.Lock()
    async with lock:
        waiting = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0)
    await waiting
    return "done"


async def a_queue() -> str:
    queue: asyncio.Queue[str] = asyncio.Queue()
    asyncio.get_running_loop().call_soon(queue.put_nowait, "done")
    return await queue.get()


async def a_timeout_that_is_kept() -> str:
    async with asyncio.timeout(5):
        return await a_while()


async def a_timeout_without_waiting() -> str:
    async with asyncio.timeout(5):  # noqa: ASYNC100 - as a plugin does whose upstream has answered already
        return "done"


async def a_timeout_that_expires() -> str:
    try:
        async with asyncio.timeout(0.001):
            await asyncio.sleep(5)
    except TimeoutError:
        return "done"
    return "not expired"


async def a_timeout_of_nothing() -> str:
    try:
        async with asyncio.timeout(0):
            await asyncio.sleep(5)
    except TimeoutError:
        return "done"
    return "not expired"


async def a_timeout_of_nothing_without_waiting() -> str:
    async with asyncio.timeout(0):  # noqa: ASYNC100 - as above
        return "done"


async def a_timeout_inside_a_timeout() -> str:
    async with asyncio.timeout(5):
        return await a_timeout_that_expires()


async def a_timeout_behind_a_wait() -> str:
    await asyncio.sleep(0)
    return await a_timeout_that_expires()


async def wait_for() -> str:
    try:
        await asyncio.wait_for(asyncio.sleep(5), 0.001)
    except TimeoutError:
        return await asyncio.wait_for(a_while(), 5)
    return "not expired"


async def a_group() -> str:
    async with asyncio.TaskGroup() as group:
        first, second = group.create_task(a_turn()), group.create_task(a_while())
    return first.result() if first.result() == second.result() else "different"


async def a_group_that_fails() -> str:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise MistakeError

    caught = "did not fail"
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(5))
            group.create_task(fail())
            await asyncio.sleep(5)
    except* MistakeError:
        caught = "done"
    return caught


async def a_group_whose_body_fails_at_once() -> str:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(5))
            raise MistakeError
    except* MistakeError:
        pass
    return "done"


async def a_group_inside_a_timeout() -> str:
    try:
        async with asyncio.timeout(0.001), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(5))
    except TimeoutError:
        return "done"
    return "not expired"


async def the_same_task() -> str:
    first = asyncio.current_task()
    await asyncio.sleep(0)
    second = asyncio.current_task()
    await asyncio.sleep(0.001)
    return "done" if first is not None and first is second is asyncio.current_task() else "another task"


async def a_context_variable() -> str:
    token = variable.set("mine")
    await asyncio.sleep(0)
    mine = variable.get()
    variable.reset(token)
    return "done" if mine == "mine" else mine


async def another_thread() -> str:
    return await asyncio.to_thread(lambda: "done")


COROUTINES: list[Callable[[], Coroutine[Any, Any, str]]] = [
    at_once,
    a_turn,
    several_turns,
    a_while,
    a_future,
    a_future_that_is_set_before_the_task_takes_over,
    a_task,
    gathered,
    an_event,
    a_lock,
    a_queue,
    a_timeout_that_is_kept,
    a_timeout_without_waiting,
    a_timeout_that_expires,
    a_timeout_of_nothing,
    a_timeout_of_nothing_without_waiting,
    a_timeout_inside_a_timeout,
    a_timeout_behind_a_wait,
    wait_for,
    a_group,
    a_group_that_fails,
    a_group_whose_body_fails_at_once,
    a_group_inside_a_timeout,
    the_same_task,
    a_context_variable,
    another_thread,
]
IN_PLACE = {at_once, a_timeout_without_waiting, a_timeout_of_nothing_without_waiting}
