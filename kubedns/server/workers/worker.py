"""A worker: a process that answers queries by one configuration, and is told all else by the supervisor.

It is forked for a configuration and ends with it: a reload makes other workers, which take the same sockets over.
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import uvloop

from kubedns import log
from kubedns.plugin.contract import Readies, Role, StartError
from kubedns.server.configuration import Address, Configuration, Setting, configure
from kubedns.server.lifecycle import Server
from kubedns.server.others import Alone
from kubedns.server.reloading import report
from kubedns.server.workers.channel import Channel
from kubedns.server.workers.messages import (
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
    from kubedns.server.others import Pair
    from kubedns.server.workers.launch import Launch

EXIT_ERROR = 1


@dataclass(frozen=True, slots=True)
class Job:
    """What a forked process is to do: `replicas` are by their numbers, with the keys they are shared under."""

    sock: socket.socket
    launch: Launch
    registry: Registry
    replicas: Mapping[int, tuple[Any, Replica]] = field(default_factory=dict)


def work(job: Job) -> int:
    """Answer queries until told to end; return the exit status."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Worker(job).live())


class Worker(Alone):
    """The worker's side of its channel. To its own Server it is the others, whose agreement to switch is waited for."""

    def __init__(self, job: Job) -> None:
        """Nothing is listened to yet."""
        self._job = job
        self._replicas = {number: replica for number, (_, replica) in job.replicas.items()}
        self._sockets: dict[Address, Pair] = {}
        self._server = Server(self)
        self._busy: set[asyncio.Task[None]] = set()
        self._abandoned = False
        self._agreed: asyncio.Event
        self._ended: asyncio.Future[int]
        self._channel: Channel

    async def live(self) -> int:
        """Return the exit status, once told to end."""
        self._agreed = asyncio.Event()
        self._ended = asyncio.get_running_loop().create_future()
        self._channel = Channel(self._job.sock, self._take, _leave)
        log.output.leave = self._leave
        return await self._ended

    def sockets(self, address: Address) -> Pair | None:
        """Return those that the supervisor has for this worker."""
        return self._sockets.pop(address)

    async def prepare(self, new: Configuration, own: Mapping[Address, Pair]) -> None:
        """Say that this worker is ready, and wait until all are; StartError where it comes otherwise."""
        del new, own
        self._channel.send(Ready())
        await self._agreed.wait()
        if self._abandoned:
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
                tcp, udp = (socket.socket(fileno=descriptor) for descriptor in descriptors)
                self._sockets[Address(*message.address)] = tcp, udp
            case Configure():
                self._spawn(self._start(message))
            case Serve():
                self._agreed.set()
            case Inspect():
                self._channel.send(Unready(message.number, self._unready()))
            case Collect():
                self._spawn(self._collect(message.number))
            case Linger():
                self._spawn(self._linger(message.number))
            case Stop():
                self._spawn(self._stop(message))

    async def _start(self, message: Configure) -> None:
        launch = self._job.launch
        setting = Setting(
            self._job.registry,
            launch.default_port,
            launch.root,
            launch.manifests,
            Role.WORKER,
            secret=message.secret,
        )
        shared = dict(self._job.replicas.values())
        try:
            new = await self._server.start(lambda _: configure(unpickled(message.corefile), setting, shared))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the operator's to know
            self._channel.send(Failed(report(error).rstrip()))
            await self._channel.flush()
            self._end(EXIT_ERROR)
            return
        used = list(new.shared.kept.values())
        self._replicas = {number: one for number, one in self._replicas.items() if any(one is other for other in used)}
        self._channel.send(Serving())

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
        if not self._agreed.is_set():
            self._abandoned = True
            self._agreed.set()
            return
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
