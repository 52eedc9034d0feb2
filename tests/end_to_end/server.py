"""The server as a process of its own: started, watched line by line, signalled, ended."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "kubedns" / "sample"
COMMAND = (sys.executable, "-m", "kubedns")
PORTS = range(20_000, 30_000)  # below Linux's ephemeral ports (ip(7)), so that no client of a test takes one
STARTED = r"^kubedns-"  # the banner's version: from here on queries are answered
PATIENCE = 20.0  # seconds that anything may take on a machine that is busy with other tests


class Ports:
    """Ports that no other test takes, in this process or in one beside it, until they are given back."""

    def __init__(self) -> None:
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def take(self) -> int:
        """Return a port that is free for UDP and TCP; servers share ports (SO_REUSEPORT), so a bind is no proof.

        What holds it is a name in the abstract namespace of unix(7), which goes with the process.
        """
        for port in random.sample(PORTS, len(PORTS)):
            with ExitStack() as undo:
                mark = undo.enter_context(socket.socket(socket.AF_UNIX))
                try:
                    mark.bind(f"\0kubedns-test-port-{port}")
                    _bind_once(port)
                except OSError:
                    continue
                self._held.enter_context(undo.pop_all())
                return port
        raise RuntimeError("no port is free")


def _bind_once(port: int) -> None:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as tried:
            if kind == socket.SOCK_STREAM:  # connections of a server that has ended linger
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(("", port))


class Lines:
    """What a process writes, whole lines as they come."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._closed = False
        self._stream = stream
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._stream:
            with self._changed:
                self._lines.append(line.decode(errors="replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def all(self) -> list[str]:
        with self._changed:
            return list(self._lines)

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.all)

    def wait_for(self, pattern: str, *, after: int = 0, timeout: float = PATIENCE) -> str:
        """Return the first line that holds the pattern, `after` lines left out; fail with all there is."""
        wanted = re.compile(pattern)
        end = time.monotonic() + timeout
        at = after
        with self._changed:
            while True:
                for line in self._lines[at:]:
                    if wanted.search(line):
                        return line
                at = len(self._lines)
                left = end - time.monotonic()
                if self._closed or left <= 0:
                    why = "the process has ended" if self._closed else f"waited {timeout} s"
                    raise AssertionError("\n".join([f"no line with {pattern!r}: {why}", *self._lines]))
                self._changed.wait(left)

    def join(self) -> None:
        self._reader.join(PATIENCE)
        self._stream.close()


class Server:
    """A running server; left as a context manager it is killed if it still runs."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], command: Sequence[str]
    ) -> None:
        self.process = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            env=_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if self.process.stdout is None or self.process.stderr is None:
            raise RuntimeError("no pipes")
        self.output = Lines(self.process.stdout)
        self.errors = Lines(self.process.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self.output.join()
        self.errors.join()
        if error is not None:
            error.add_note(f"standard output:\n{self.output.text}standard error:\n{self.errors.text}")

    def wait_until_started(self, timeout: float = PATIENCE) -> None:
        try:
            self.output.wait_for(STARTED, timeout=timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.errors.text}") from None

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM, timeout: float = PATIENCE) -> int:
        """Send a signal; return the status that the process leaves with, all its lines read."""
        self.process.send_signal(number)
        status = self.process.wait(timeout)
        self.output.join()
        self.errors.join()
        return status

    def reload(self) -> str:
        """Have the Corefile read again; return the line that tells how it went."""
        before = len(self.output.all)
        self.process.send_signal(signal.SIGUSR1)
        return self.output.wait_for(r"Reloading complete|SIGUSR1: (starting|no)", after=before)

    def memory(self) -> int:
        """Return the process's resident octets now (proc(5))."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")


@contextmanager
def serving(
    folder: Path,
    corefile: str,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] = COMMAND,
) -> Iterator[Server]:
    """Write the Corefile into the folder and yield a server that runs there, once it has started."""
    (folder / "Corefile").write_text(corefile)
    with Server(("-conf", "Corefile", *arguments), folder, environment or {}, command) as server:
        server.wait_until_started()
        yield server


def run(
    folder: Path, *arguments: str, stdin: str | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command line that ends by itself."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=_environment(environment or {}),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment but for what would change the server's ways."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBERNETES_", "PYTEST_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}
