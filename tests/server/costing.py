"""What queries cost in instructions of bytecode, and in memory: figures that no busy neighbour changes."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import time
import tracemalloc
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from kubedns.listeners.sockets import open_udp
from kubedns.listeners.udp import UdpListener
from kubedns.server import parts
from kubedns.server.dispatch import Dispatcher
from kubedns.server.stepping import Stepper
from kubedns.server.wirecache import WireCache
from kubedns.wire.reply import HIGHEST_HEADER_RCODE
from tests.loading import load
from tests.wire.asking import UDP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from types import FrameType

    from kubedns.wire.numbers import Rcode

Result = TypeVar("Result")

TIME_ENOUGH = 10.0  # seconds
LARGEST = 4096


def count_instructions(call: Any, *arguments: object) -> int:
    """Return how many instructions of bytecode a call runs, all that it calls included."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call(*arguments)
    finally:
        sys.settrace(before)
    return count


class Octets(NamedTuple):
    """`kept`: what each message leaves allocated, on average; `most`: what one of them needs on the way."""

    kept: float
    most: int


class CountedListener(UdpListener):
    """Counts the instructions of the next batch that it reads and answers, where it is told so."""

    counting = False
    instructions = 0

    def _readable(self, one: Any) -> None:
        if self.counting:
            self.counting = False
            self.instructions = count_instructions(super()._readable, one)
        else:
            super()._readable(one)


@contextmanager
def traced() -> Iterator[None]:
    """Count the memory that is allocated within."""
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


@dataclass
class Served:
    """A server's configuration behind one listener for UDP, and a client of it."""

    listener: CountedListener
    dispatcher: Dispatcher
    client: socket.socket

    async def ask(self, messages: Sequence[bytes], *, counting: bool = False) -> list[bytes]:
        """Send all before the listener reads any; return the replies, which all come from one batch."""
        for message in messages:
            self.client.send(message)
        self.listener.counting = counting
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(TIME_ENOUGH):
            self.listener.start()  # it reads in the loop's next turn
            replies = [await loop.sock_recv(self.client, LARGEST) for _ in messages]
        self.listener.stop()
        return replies

    async def instructions(self, messages: Sequence[bytes], rcode: Rcode) -> float:
        """Return what one more question in a batch costs: the first pays for the batch. All have the same RCODE."""
        first, *others = messages
        costs, replies = [], []
        for batch in ([first], others):
            replies += await self.ask(batch, counting=True)
            costs.append(self.listener.instructions)
        assert {reply[3] & HIGHEST_HEADER_RCODE for reply in replies} == {rcode}
        return (costs[1] - costs[0]) / (len(others) - 1)

    async def octets(self, messages: Iterable[bytes]) -> Octets:
        """Return what messages leave allocated, and what the one that needs most needs on the way.

        What is allocated before it is `traced` is not seen to go.
        """
        return await _called_back(lambda: self._octets(messages))

    async def blocks(self, messages: Iterable[bytes]) -> int:
        """Return how many blocks of memory messages leave allocated."""
        return await _called_back(lambda: self._blocks(messages))

    def _blocks(self, messages: Iterable[bytes]) -> int:
        ready, answer, now = self.dispatcher.ready("udp").ipv4, self.dispatcher.answer, time.monotonic()
        gc.collect()
        before = sys.getallocatedblocks()
        for message in messages:
            assert ready(message, now) or answer(message, UDP, now)
        gc.collect()
        return sys.getallocatedblocks() - before

    def _octets(self, messages: Iterable[bytes]) -> Octets:
        ready, answer, client = self.dispatcher.ready("udp").ipv4, self.dispatcher.answer, UDP
        now, count, most = time.monotonic(), 0, 0
        before = tracemalloc.get_traced_memory()[0]
        for message in messages:
            tracemalloc.reset_peak()
            current = tracemalloc.get_traced_memory()[0]
            assert ready(message, now) or answer(message, client, now)
            most = max(most, tracemalloc.get_traced_memory()[1] - current)
            count += 1
        return Octets((tracemalloc.get_traced_memory()[0] - before) / count, most)


async def _called_back(work: Callable[[], Result]) -> Result:
    """Return what a function returns when the loop calls it, as it calls a listener: outside any task."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def call() -> None:
        try:
            done.set_result(work())
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            done.set_exception(error)

    loop.call_soon(call)
    return await done


@asynccontextmanager
async def serving(corefile: str, manifests: Path) -> AsyncIterator[Served]:
    """Start what a Corefile says, but for its listeners; in their place there is one that counts."""
    configuration = load(corefile, root=manifests.parent, manifests=manifests)
    [group] = configuration.groups.values()
    stepper = Stepper(asyncio.get_running_loop())
    dispatcher = Dispatcher("dns://:53", group.served, stepper, wirecache=WireCache())
    listener = CountedListener(open_udp("127.0.0.1", 0), dispatcher.answer)
    listener.ready = dispatcher.ready("udp")
    for part in configuration.parts:
        await parts.start(part, configuration.plugins)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(listener.socks[0].getsockname())
        try:
            yield Served(listener, dispatcher, client)
        finally:
            listener.close()
            stepper.close()
            await parts.stop(configuration.parts)
