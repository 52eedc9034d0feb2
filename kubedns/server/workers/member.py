"""One worker, as the supervisor has to do with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from enum import Enum
from typing import TYPE_CHECKING

from kubedns import log
from kubedns.log import server_log
from kubedns.plugin.contract import StartError, StartLaterError
from kubedns.server.workers.channel import Channel
from kubedns.server.workers.messages import (
    Abandon,
    Answer,
    Collect,
    Configure,
    Done,
    Failed,
    Fatal,
    Inspect,
    Linger,
    Listen,
    Question,
    Ready,
    Samples,
    Serve,
    Serving,
    Stop,
    Told,
    Unready,
)
from kubedns.server.workers.sockets import duplicated
from kubedns.server.workers.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubedns.server.workers.sockets import Slot

MOST_WAITING = 32 << 20  # octets that a worker may be behind
PATIENCE = 10.0  # seconds that a worker may say nothing
STOPPING = 15.0  # seconds that one may take to stop: its queries and its plugins have 5 each
TELLING = 2.0  # seconds that a scrape waits for one


class State(Enum):
    """How far a worker has come."""

    STARTING = 0
    READY = 1
    SERVING = 2
    ENDING = 3  # as it was told to
    GONE = 4


class Member:
    """A worker: `ready` and `serving` tell how far it has come with what it was last told to set up."""

    def __init__(self, number: int, ended: Callable[[Member], None]) -> None:
        """`ended` is called once, when its process is there no more, unless it was told to end."""
        self.number = number
        self.state = State.STARTING
        self.pid = 0
        self.tally = Tally()
        self.unready: frozenset[str] = frozenset()
        self.heard = self.born = time.monotonic()
        self.failed = 0
        self.status = 0
        self.missed = False  # whether its end has been told
        self._ended = ended
        self._questions: dict[int, asyncio.Future[Answer]] = {}
        self._asked = 0
        self._descriptor = -1
        self._begin()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        mine, self.theirs = socket.socketpair()
        self.channel = Channel(mine, self._take, self._lost)

    @property
    def settled(self) -> bool:
        """Whether it serves, and is not about to serve something else."""
        return self.state is State.SERVING and self.serving.done()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.serving: asyncio.Future[None] = loop.create_future()
        self.ready.add_done_callback(_seen)

    def forked(self, pid: int) -> None:
        """Know its process, and be told when that ends."""
        self.pid = pid
        try:
            self._descriptor = os.pidfd_open(pid)
        except ProcessLookupError:  # it has ended, and somebody has taken note of that
            self._end()
            return
        except OSError:  # a sandbox that does not know the call: its channel tells, too
            return
        asyncio.get_running_loop().add_reader(self._descriptor, self._end)

    def configure(self, corefile: bytes, secret: bytes, slot: Slot, held: Slot) -> None:
        """Give it the sockets of a slot, but for those that it has, and what it is to do with them."""
        if self.state is not State.STARTING:
            self._begin()
        for address, bundle in slot.items():
            if held.get(address) is not bundle:
                self.channel.send(Listen(address), *duplicated(bundle))
        self.channel.send(Configure(corefile, secret))

    def serve(self) -> None:
        self.channel.send(Serve())

    def take(self, told: bytes) -> None:
        """Hand an encoded Take on. One that does not read is ended: another will be up to date at once."""
        if self.channel.waiting > MOST_WAITING:
            server_log.error(f"worker {self.pid} has not read {self.channel.waiting >> 20} MB of changes")
            self.kill()
            return
        self.channel.post(told)

    async def inspect(self) -> None:
        """Ask which plugins are not ready. One that says nothing for PATIENCE is ended."""
        if time.monotonic() - self.heard > PATIENCE:
            server_log.error(f"worker {self.pid} has said nothing for {PATIENCE:.0f} s")
            self.kill()
            return
        answer = await self._ask(Inspect(self._next()), PATIENCE)
        if isinstance(answer, Unready):
            self.unready = frozenset(answer.names)

    async def collect(self) -> None:
        """Bring its tally up to date, if it answers in time."""
        if self.state is State.SERVING:
            await self._ask(Collect(self._next()), TELLING)

    async def abandon(self) -> None:
        """Have it go on with what it served before. One that does not in time is ended."""
        if await self._ask(Abandon(self._next()), STOPPING) is not None:
            _resolve(self.serving)
        elif self.state is not State.GONE:
            server_log.error(f"worker {self.pid} takes longer than {STOPPING:.0f} s to give a configuration up")
            self.kill()

    async def linger(self) -> int:
        """Let its plugins linger; return how many failed at it."""
        answer = await self._ask(Linger(self._next()), None)
        return answer.failed if isinstance(answer, Done) else 0

    async def stop(self, *, drain: bool) -> int:
        """End it; return how many of its plugins failed to stop."""
        if self.state is State.GONE:
            return 0
        self.state = State.ENDING
        answer = await self._ask(Stop(self._next(), drain), STOPPING)
        if not self.gone.done():
            await asyncio.wait({self.gone}, timeout=STOPPING if answer is not None else 0)
        if not self.gone.done():
            server_log.error(f"worker {self.pid} takes longer than {STOPPING:.0f} s to stop")
            self.kill()
            await asyncio.wait({self.gone}, timeout=STOPPING)
        return answer.failed if isinstance(answer, Done) else 0

    def kill(self) -> None:
        if self.pid and self.state is not State.GONE:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _next(self) -> int:
        self._asked += 1
        return self._asked

    async def _ask(self, question: Question, seconds: float | None) -> Answer | None:
        """Return the answer; None if it does not come in time, or at all."""
        if self.state is State.GONE:
            return None
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._questions[question.number] = future
        self.channel.send(question)
        try:
            async with asyncio.timeout(seconds):
                return await future
        except (TimeoutError, ConnectionResetError):
            return None
        finally:
            self._questions.pop(question.number, None)

    def _take(self, message: Told, _: list[int]) -> None:
        self.heard = time.monotonic()
        match message:
            case Ready():
                if self.state is State.STARTING:
                    self.state = State.READY
                _resolve(self.ready)
            case Serving():
                if self.state is State.READY:
                    self.state = State.SERVING
                _resolve(self.serving)
            case Failed():
                if not self.ready.done():
                    self.ready.set_exception((StartLaterError if message.later else StartError)(message.text))
            case Fatal():
                log.output.leave(message.status)
            case Samples():
                self.tally.update(message.families)
            case Answer():
                future = self._questions.get(message.number)
                if future is not None and not future.done():
                    future.set_result(message)

    def _lost(self) -> None:
        """Its end of the channel is closed: it ends, or has ended. Without a process yet, it will never have one."""
        if self._descriptor < 0:
            self.kill()
            self._end()

    def _end(self) -> None:
        if self.state is State.GONE:
            return
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
        with contextlib.suppress(ChildProcessError):
            if self.pid:
                self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        before, self.state = self.state, State.GONE
        self.channel.drain()
        self.channel.close()
        if not self.ready.done():
            what = "reloaded" if before is State.SERVING else "started"
            why = f"worker {self.pid} {self.end()} while it {what}" if self.pid else "what makes workers has ended"
            later = before is State.SERVING and self.status < 0  # it was ended, which it need not be next time
            self.ready.set_exception((StartLaterError if later else StartError)(why))
        _resolve(self.serving)
        _resolve(self.gone)
        for future in self._questions.values():
            if not future.done():
                future.set_exception(ConnectionResetError())
        if before is not State.ENDING:
            self._ended(self)

    def end(self) -> str:
        """Return how it ended, in words."""
        if self.status < 0:
            return f"was ended by {signal.Signals(-self.status).name}"
        return f"ended with status {self.status}"


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _seen(future: asyncio.Future[None]) -> None:
    """Look at its exception: whoever waits for it may be gone."""
    if not future.cancelled():
        future.exception()
