"""A worker: a process that answers queries, and is told by the supervisor by which configuration.

A reload is its Server's own: connections and what is cached stay. It goes on where all processes can, and where one
can't, the configuration before stays everywhere.
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import uvloop

from kubedns import log
from kubedns.plugin.contract import Readies, Role, StartError, StartLaterError
from kubedns.server.configuration import Address, Configuration, Setting, configure
from kubedns.server.lifecycle import Server
from kubedns.server.others import Alone
from kubedns.server.reloading import report
from kubedns.server.workers.channel import Channel
from kubedns.server.workers.messages import (
    Abandon,
    Collect,
    Configure,
    Done,
    Failed,
    Fatal,
    Forget,
    Inspect,
    Linger,
    Listen,
    Ready,
    Samples,
    Serve,
    Serving,
    Stop,
    Take,
    Told,
    Unready,
    unpickled,
)
from kubedns.server.workers.tally import own_families

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from kubedns.plugin.contract import Replica
    from kubedns.plugin.registry import Registry
    from kubedns.server.others import Bundle
    from kubedns.server.workers.launch import Launch

EXIT_ERROR = 1


@dataclass(frozen=True, slots=True)
class Job:
    """What a forked process is to do: `replicas` are by their numbers, with the keys they are shared under."""

    sock: socket.socket
    launch: Launch
    registry: Registry
    replicas: dict[int, tuple[Any, Replica]] = field(default_factory=dict)


def work(job: Job) -> int:
    """Answer queries until told to end; return the exit status."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(Worker(job).live())
    finally:
        log.flush()


class Attempt:
    """A configuration that is tried: `agreed` is whether to go on, `over` is set once it is served or given up."""

    def __init__(self, *, over: bool = False) -> None:
        """Nothing is known yet; or else there is nothing to try."""
        self.agreed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.over = asyncio.Event()
        if over:
            self.agreed.set_result(False)
            self.over.set()

    def agree(self, *, go_on: bool) -> bool:
        """Say whether to go on, unless that is known; tell whether it was not."""
        if self.agreed.done():
            return False
        self.agreed.set_result(go_on)
        return True


class Worker(Alone):
    """The worker's side of its channel. To its own Server it is the others, whose agreement to switch is waited for."""

    def __init__(self, job: Job) -> None:
        """Nothing is listened to yet."""
        self._job = job
        self._replicas = {number: replica for number, (_, replica) in job.replicas.items()}
        self._sockets: dict[Address, Bundle] = {}
        self._server = Server(self)
        self._busy: set[asyncio.Task[None]] = set()
        self._attempt: Attempt  # the last
        self._ended: asyncio.Future[int]
        self._channel: Channel

    async def live(self) -> int:
        """Return the exit status, once told to end."""
        self._attempt = Attempt(over=True)
        self._ended = asyncio.get_running_loop().create_future()
        self._channel = Channel(self._job.sock, self._take, _leave)
        log.output.leave = self._leave
        return await self._ended

    def sockets(self, address: Address) -> Bundle | None:
        """Return those that the supervisor has for this worker."""
        return self._sockets.pop(address)

    async def prepare(self, new: Configuration, own: Mapping[Address, Bundle]) -> None:
        """Say that this worker is ready, and wait until all are; StartError where it comes otherwise."""
        del new, own
        self._channel.send(Ready())
        if not await self._attempt.agreed:
            raise StartError("another process could not start")

    def _take(self, message: Told, descriptors: list[int]) -> None:
        match message:
            case Take():
                replica = self._replicas.get(message.number)
                if replica is not None:
                    replica.take(message.told)
            case Forget():
                self._replicas.pop(message.number, None)
            case Listen():
                bundle = tuple(socket.socket(fileno=descriptor) for descriptor in descriptors)
                self._sockets[Address(*message.address)] = bundle
            case Configure():
                self._attempt = Attempt()
                self._spawn(self._configure(message, self._attempt))
            case Serve():
                self._attempt.agree(go_on=True)
            case Abandon():
                self._spawn(self._abandon(message.number))
            case Inspect():
                self._channel.send(Unready(message.number, self._unready()))
            case Collect():
                self._spawn(self._collect(message.number))
            case Linger():
                self._spawn(self._linger(message.number))
            case Stop():
                self._spawn(self._stop(message))

    async def _configure(self, message: Configure, attempt: Attempt) -> None:
        """Start by a configuration, or reload to it; a worker that can't start ends."""
        first = self._server.configuration is None
        try:
            new = await (self._server.start if first else self._server.reload)(partial(self._set_up, message))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the operator's to know
            text = report(error).rstrip()
            self._channel.send(Failed(text, isinstance(error, StartLaterError)))
            stuck = not first and await attempt.agreed  # the others have switched
            if stuck:
                log.server_log.error(f"Restart failed in one worker: {text}")
            if first or stuck:
                await self._channel.flush()
                self._end(EXIT_ERROR)
        else:
            used = list(new.shared.kept.values())
            kept = {number: one for number, one in self._replicas.items() if any(one is other for other in used)}
            self._replicas = kept
            self._job.replicas.clear()  # what is not used need not be held
            self._channel.send(Serving())
        for bundle in self._sockets.values():  # that it came not to
            for sock in bundle:
                sock.close()
        self._sockets.clear()
        attempt.over.set()

    async def _set_up(self, message: Configure, previous: Mapping[Any, Any]) -> Configuration:
        launch = self._job.launch
        setting = Setting(
            self._job.registry,
            launch.default_port,
            launch.root,
            launch.manifests,
            Role.WORKER,
            secret=message.secret,
        )
        first = self._server.configuration is None
        shared = dict(self._job.replicas.values()) if first else previous
        return configure(unpickled(message.corefile), setting, shared)

    async def _abandon(self, number: int) -> None:
        self._attempt.agree(go_on=False)
        self._server.give_up()
        await self._attempt.over.wait()
        self._channel.send(Done(number))

    def _unready(self) -> list[str]:
        configuration = self._server.configuration
        plugins = () if configuration is None else configuration.plugins
        return sorted({name for name, plugin in plugins if isinstance(plugin, Readies) and not plugin.ready()})

    async def _collect(self, number: int) -> None:
        async for families in own_families():
            self._channel.send(Samples(number, families))
        self._channel.send(Done(number))

    async def _linger(self, number: int) -> None:
        self._channel.send(Done(number, len(await self._server.linger())))

    async def _stop(self, message: Stop) -> None:
        if self._attempt.agree(go_on=False) and self._server.configuration is None:
            return  # it ends as one that could not start
        await self._attempt.over.wait()
        if message.drain:
            await self._server.close()
            async for families in own_families():
                self._channel.send(Samples(message.number, families))
        failed = await self._server.stop_plugins()
        self._channel.send(Done(message.number, len(failed)))
        await self._channel.flush()
        self._end(0)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    def _leave(self, status: int) -> None:
        """End the whole server at once: a plugin has found that it can't go on."""
        self._channel.send(Fatal(status))
        os._exit(status)

    def _end(self, status: int) -> None:
        if not self._ended.done():
            self._ended.set_result(status)


def _leave() -> None:
    """The supervisor is gone, and with it everything that a worker is for."""
    os._exit(EXIT_ERROR)
