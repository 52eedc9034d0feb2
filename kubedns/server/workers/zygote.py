"""The process that workers are forked from: it has imported everything, and holds a replica of what is relayed.

`python -m kubedns.server.workers.zygote DESCRIPTOR` is started by the supervisor, which is at the other end of that
socket, as a process of its own: no loop runs in it, nor a thread, so that it can be forked at any time. What a worker
does not change it shares with the zygote: code, and nearly all of the cluster's index, as the garbage collector is
kept away from both. And a worker that dies is replaced in the time that a fork takes.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubedns import log
from kubedns.plugin.registry import PluginError, find_plugins
from kubedns.server.workers.channel import WaitingChannel
from kubedns.server.workers.linux import end_with_parent, take_name
from kubedns.server.workers.messages import Begin, Failed, Follow, Forget, Fork, Forked, Take, unpickled
from kubedns.server.workers.worker import Job, work

if TYPE_CHECKING:
    from kubedns.plugin.contract import Replica
    from kubedns.plugin.registry import Registry
    from kubedns.server.workers.launch import Launch

# The supervisor's business; a terminal sends some of them to everyone. No SIG_IGN: other programs would inherit it.
LEFT_TO_THE_SUPERVISOR = (
    signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
ADOPTED = 0.0005  # seconds between two looks whether the supervisor has become a worker's parent
PID = 8  # octets


@dataclass(slots=True)
class Zygote:
    """Does what the supervisor says, until it says no more."""

    channel: WaitingChannel
    launch: Launch
    registry: Registry
    replicas: dict[int, tuple[Any, Replica]] = field(default_factory=dict)  # with their keys

    def live(self) -> Job | None:
        """Return None at the end, and in a forked process what it is to do."""
        while (received := self.channel.receive()) is not None:
            message, descriptors = received
            match message:
                case Follow():
                    self.replicas[message.number] = unpickled(message.pickled)
                case Take():
                    held = self.replicas.get(message.number)
                    if held is not None:
                        held[1].take(message.told)
                case Forget():
                    self.replicas.pop(message.number, None)
                case Fork():
                    [descriptor] = descriptors
                    if self._fork(message.number, descriptor):
                        return Job(socket.socket(fileno=descriptor), self.launch, self.registry, self.replicas)
        return None

    def _fork(self, number: int, descriptor: int) -> bool:
        """Make a process whose parent the supervisor is, and tell of it; True in that process.

        It is the child of a child that ends at once, so that the kernel gives it to the supervisor. So workers outlive
        a zygote.
        """
        gc.freeze()
        reading, writing = os.pipe()
        child = os.fork()
        if child:
            os.close(writing)
            os.close(descriptor)
            os.waitpid(child, 0)
            pid = int.from_bytes(os.read(reading, PID), "big")
            os.close(reading)
            self.channel.send(Forked(number, pid))
            return False
        child = os.getpid()
        pid = os.fork()
        if pid:
            os.write(writing, pid.to_bytes(PID, "big"))
            os._exit(0)
        os.close(reading)
        os.close(writing)
        self.channel.close()
        take_name("kubedns-worker")
        while os.getppid() == child:
            time.sleep(ADOPTED)
        end_with_parent()
        if os.getppid() != self.launch.supervisor:
            os._exit(0)
        return True


def main(descriptor: int) -> int:
    """Return the exit status of the zygote, and of every worker."""
    for number in LEFT_TO_THE_SUPERVISOR:
        signal.signal(number, lambda *_: None)
    take_name("kubedns-zygote")
    end_with_parent()
    channel = WaitingChannel(socket.socket(fileno=descriptor))
    received = channel.receive()
    if received is None or not isinstance(received[0], Begin):
        return 1
    launch: Launch = unpickled(received[0].launch)
    log.output.as_json = launch.json_log
    try:
        registry = find_plugins(launch.plugin_dir)
    except PluginError as error:
        channel.send(Failed(str(error)))
        return 1
    gc.collect()
    gc.disable()
    job = Zygote(channel, launch, registry).live()
    if job is None:
        return 0
    gc.enable()
    return work(job)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
