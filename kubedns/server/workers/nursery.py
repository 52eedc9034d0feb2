"""The supervisor's side of the zygote: started, told of all that is relayed, asked for workers, replaced if it dies."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubedns.log import server_log
from kubedns.plugin.contract import StartError
from kubedns.server.workers.channel import Channel
from kubedns.server.workers.messages import Begin, Failed, Follow, Forget, Fork, Forked, Take, Told, encode, pickled

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubedns.plugin.contract import Relays
    from kubedns.server.workers.launch import Launch
    from kubedns.server.workers.member import Member

COMMAND = (sys.executable, "-m", "kubedns.server.workers.zygote")
FULL = 1 << 20  # octets that wait to be read before filling a replica goes on
MOST_WAITING = 64 << 20  # octets that the zygote may be behind
PAUSE = 0.002  # seconds between two looks whether it has read
AGAIN = 1.0  # seconds before another one is started in the place of one that died


class Nursery:
    """Makes workers that hold replicas of all that is followed."""

    def __init__(self, launch: Launch, tell: Callable[[bytes], None]) -> None:
        """`tell` is given each encoded Take, for the workers there are."""
        self._launch = launch
        self._tell_workers = tell
        self._followed: dict[int, tuple[Any, Relays]] = {}
        self._numbers = 0
        self._members: dict[int, Member] = {}  # that have no process yet
        self._channel: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._failed = ""
        self._filling: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int:
        """The zygote's process, 0 without one."""
        return 0 if self._process is None else self._process.pid

    @property
    def ready(self) -> bool:
        """Whether a worker can be made at once."""
        return self._channel is not None and (self._filling is None or self._filling.done())

    def start(self) -> None:
        """Start the process, unless it runs; what is followed is told to it from the beginning."""
        if self._channel is not None:
            return
        self._again = None
        mine, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own code
                [*COMMAND, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)},
            )
        self._failed = ""
        self._channel = Channel(mine, self._take, self._lost)
        self._channel.send(Begin(pickled(self._launch)))
        if self._followed:
            self._fill(list(self._followed))

    def stop(self) -> None:
        """End the process; follow nothing any more."""
        self.keep([])
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._channel is not None:
            self._channel.close()
            self._reap()

    def follow(self, key: Any, value: Relays) -> bool:
        """Relay a shared value that is kept under that key; False: it is relayed already."""
        if any(value is followed for _, followed in self._followed.values()):
            return False
        self._numbers += 1
        number = self._numbers
        self._followed[number] = key, value
        value.attach(lambda told: self._tell(number, told))
        self._fill([number])
        return True

    def keep(self, values: list[Any]) -> None:
        """Relay none but these any more."""
        for number, (_, value) in list(self._followed.items()):
            if not any(value is one for one in values):
                value.detach()
                del self._followed[number]
                if self._channel is not None:
                    self._channel.send(Forget(number))

    async def fork(self, member: Member) -> None:
        """Make a worker's process, with replicas that are true at this moment; StartError where that can't be."""
        while self._channel is None or not self.ready:
            if self._failed:
                raise StartError(self._failed)
            if self._filling is not None and self._channel is not None:
                await asyncio.wait({self._filling})
            else:
                await asyncio.sleep(PAUSE)
        # No wait in between: what changes from here on the member's own channel brings.
        self._members[member.number] = member
        self._channel.send(Fork(member.number), member.theirs)

    def _tell(self, number: int, told: bytes) -> None:
        octets = encode(Take(number, told))
        self._tell_workers(octets)
        if self._channel is None:
            return
        if self._channel.waiting > MOST_WAITING:
            server_log.error("the process that makes workers does not read what it is told: another takes its place")
            self._channel.close()
            self._lost()
            return
        self._channel.post(octets)

    def _fill(self, numbers: list[int]) -> None:
        before = self._filling
        self._filling = asyncio.get_running_loop().create_task(self._fill_all(numbers, before))

    async def _fill_all(self, numbers: list[int], before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            await asyncio.wait({before})
        for number in numbers:
            if number not in self._followed or self._channel is None:
                return
            key, value = self._followed[number]
            channel = self._channel
            channel.send(Follow(number, pickled((key, value.replica()))))
            for told in value.contents():
                channel.send(Take(number, told))
                await asyncio.sleep(0)
                if channel.waiting > FULL:
                    await channel.flush()
                if channel is not self._channel:
                    return

    def _take(self, message: Told, _: list[int]) -> None:
        match message:
            case Forked():
                self._members.pop(message.number).forked(message.pid)
            case Failed():
                self._failed = message.text

    def _lost(self) -> None:
        """Start another: workers live on, but none could be replaced."""
        status = self._reap()
        self._members.clear()  # their ends of the channels went with it, and so they know
        if self._failed:
            server_log.error(self._failed)
        else:
            server_log.error(f"the process that makes workers ended with status {status}: another takes its place")
        self._again = asyncio.get_running_loop().call_later(AGAIN, self.start)

    def _reap(self) -> int:
        self._channel = None
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.poll() is None:
            process.kill()
        return process.wait()
