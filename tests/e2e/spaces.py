"""The kernel's namespaces, each held by a process that ends with its standard input.

The first one, the world, is a PID namespace as well: whatever ends this process, SIGKILL too, ends the world's first
process, with which the kernel kills every other one inside. A namespace that nobody is in is gone, and with it links,
routes, rules and mounts (namespaces(7), pid_namespaces(7)); none of them has a name outside.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from tests.end_to_end.server import PATIENCE, ROOT, Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CLONE_NEWNET = 0x40000000  # linux/sched.h
# /proc is the outer one, so that a shell reads there which process it is outside: what signals and nsenter go by.
TELL = 'read -r pid rest </proc/self/stat; echo "$pid"; '
HOLD = TELL + "exec cat"
Value = TypeVar("Value")


class SpaceError(Exception):
    """A command that failed in a namespace; the text is what it printed."""


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what programs inside are given: nothing of a cluster that this test might run in, and no proxy."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    kept = {"PATH": path, "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return {**kept, **(more or {})}


class Program:
    """A program that runs inside until it ends or its namespaces do."""

    def __init__(self, enter: tuple[str, ...], command: tuple[str, ...], variables: Mapping[str, str]) -> None:
        self.command = command
        self._process = subprocess.Popen(
            [*enter, "sh", "-c", f'{TELL}exec "$@"', "sh", *command],
            env=environment(variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.pid = _read_pid(self._process)
        self.output = Lines(_pipe(self._process.stdout))

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        if self.status is None:
            os.kill(self.pid, number)

    def close_input(self) -> None:
        _pipe(self._process.stdin).close()

    def wait(self, timeout: float = PATIENCE) -> int:
        """Return the exit status, all lines read."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{' '.join(self.command)} still runs:\n{self.output.text}") from None
        self.output.join()
        return status

    def close(self) -> None:
        """Kill it if it still runs."""
        self.send(signal.SIGKILL)
        self._process.wait(PATIENCE)
        self.close_input()
        self.output.join()


class Space:
    """A network and a mount namespace inside a world, or a world: `pid` is their holder's."""

    def __init__(self, world: Space | None = None, setup: str = "") -> None:
        """`setup` is a shell script that is run inside first; SpaceError if it fails."""
        inside = () if world is None else world.enter
        kinds = ("--pid", "--fork", "--kill-child") if world is None else ()
        self._holder = subprocess.Popen(
            [*inside, "unshare", "--mount", "--net", *kinds, "sh", "-ec", f"{setup}\n{HOLD}"],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._world = world or self
        self._inside: list[Program | Space] = []  # a world's: all that has been started in it
        self.pid = _read_pid(self._holder)
        if world is not None:
            world.keep(self)

    @property
    def enter(self) -> tuple[str, ...]:
        """The command in front of a command that is to run inside."""
        return ("nsenter", "--target", str(self.pid), "--mount", "--net", "--pid", "--")

    @property
    def enter_network(self) -> tuple[str, ...]:
        """The same for its network alone: files and process IDs are those outside, as `ip link … netns PID` needs."""
        return ("nsenter", f"--net=/proc/{self.pid}/ns/net", "--")

    def run(self, *command: str, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Run a command that ends by itself, whatever its exit status."""
        return subprocess.run(
            [*self.enter, *command], env=environment(), capture_output=True, text=True, timeout=timeout, check=False
        )

    def start(self, *command: str, variables: Mapping[str, str] | None = None) -> Program:
        program = Program(self.enter, command, variables or {})
        self._world.keep(program)
        return program

    def keep(self, inside: Program | Space) -> None:
        """Close it, too, when this world ends."""
        self._inside.append(inside)

    def run_outside(self, *command: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command that reads `text` and ends by itself, in this network but with the files and PIDs outside."""
        return subprocess.run(
            [*self.enter_network, *command],
            env=environment(),
            input=text,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def configure(self, *command: str, text: str = "") -> str:
        """Change the network by such a command; return what it prints, or raise SpaceError."""
        done = self.run_outside(*command, text=text)
        if done.returncode:
            raise SpaceError(f"{' '.join(command)}: {done.stderr or done.stdout}{text}")
        return done.stdout

    def ip(self, text: str) -> None:
        """Run lines of ip(8)."""
        self.configure("ip", "-batch", "-", text=text)

    def pids(self) -> list[int]:
        """Return the processes of a world: its own and those started in it."""
        return [self.pid, *(each.pid for each in self._inside)]

    def close(self) -> None:
        """Let the holder end; with a world's the kernel kills all that is inside."""
        _pipe(self._holder.stdin).close()
        try:
            self._holder.wait(PATIENCE)
        finally:
            if self._holder.poll() is None:
                self._holder.kill()
                self._holder.wait()
            _pipe(self._holder.stdout).close()
            _pipe(self._holder.stderr).close()
        for each in self._inside:
            each.close()


def join_network(pid: int) -> None:
    """Move the thread that calls into a process's network namespace (setns(2)), for the rest of its life."""
    with Path(f"/proc/{pid}/ns/net").open("rb") as file:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def in_network(pid: int, call: Callable[[], Value]) -> Value:
    """Return what a call returns that is made in a process's network namespace."""
    with ThreadPoolExecutor(1, initializer=join_network, initargs=(pid,)) as thread:
        return thread.submit(call).result()


def _read_pid(process: subprocess.Popen[bytes]) -> int:
    line = _pipe(process.stdout).readline()
    if not line:
        process.wait(PATIENCE)
        raise SpaceError((process.stderr.read() if process.stderr else b"").decode())
    return int(line)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("no pipe")
    return pipe
