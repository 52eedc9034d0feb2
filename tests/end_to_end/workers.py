"""A server of several processes: who they are, who answers, and a load that never rests."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.end_to_end.client import LOOPBACK, compose, parse
from tests.end_to_end.server import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

# A plugin whose answer says which process it comes from; names that begin with a verb make it do something first.
WHO = """
import asyncio
import os
from pathlib import Path

from kubedns.wire.records import txt
from kubedns.wire.reply import Reply


def setup(directive, block):
    if directive.texts == ("broken", block.role):
        raise ValueError("made to fail by a test")
    return Who(directive.texts, block.role)


def named(file):
    try:
        pids = Path(file).read_text().split()
    except FileNotFoundError:
        return False
    return not pids or str(os.getpid()) in pids


class Who:
    def __init__(self, texts, role):
        self.texts = texts
        self.role = role
        self.asked = 0

    async def start(self):
        if named("dying"):
            os._exit(7)
        if named("refusing"):
            raise OSError("refused by a test")

    def begin(self):
        if named("stumbling"):
            raise OSError("stumbled in a test")

    def ready(self):
        return self.texts != ("unready",)

    async def resolve(self, query, pass_on):
        first = query.labels[0]
        if first == b"die":
            os._exit(9)
        if first == b"slow":
            await asyncio.sleep(1)
        return Reply([txt(query.spelled, f"{os.getpid()} {self.role}", 0)])

    async def stop(self):
        if self.texts == ("fails",):
            raise OSError("cannot stop")
"""
# The server's command, with constants changed, or functions of `os` refused: module, name, value.
PATCHED = """
import importlib
import sys
from kubedns.__main__ import main
for change in sys.argv.pop(1).split():
    module, name, value = change.split(":")
    if module == "os":  # a sandbox that refuses a call
        def refuse(*_):
            raise PermissionError(name)
        setattr(importlib.import_module(module), name, refuse)
        continue
    setattr(importlib.import_module(f"kubedns.server.workers.{module}"), name, float(value))
main()
"""
QUESTION = compose("who.example.org", "TXT")
LOST = 5.0  # seconds after which a query is lost
CLIENTS = 24  # sockets, each of a port of its own: what the kernel chooses a worker by
ENOUGH = 4 * CLIENTS  # for each of four workers to be chosen: CLIENTS miss one once in 250 times


def write_plugin(folder: Path) -> str:
    """Put the plugin `who` into a folder; return the folder's name for -plugin-dir."""
    (folder / "plugins").mkdir(exist_ok=True)
    (folder / "plugins" / "who.py").write_text(WHO)
    return "plugins"


def children(pid: int) -> list[int]:
    """Return the processes below one, as they are now (proc(5))."""
    below: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            stat = (folder / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
            if stat[0] != "Z":
                below.setdefault(int(stat[1]), []).append(int(folder.name))
    found = list(below.get(pid, ()))
    for one in found:
        found += below.get(one, ())
    return sorted(found)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(what: Callable[[], object], timeout: float = PATIENCE) -> None:
    """Return once a condition holds; fail if it never does."""
    end = time.monotonic() + timeout
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def text_of(reply: bytes) -> str:
    [rrset] = parse(reply).answer
    [rdata] = rrset
    return b" ".join(rdata.strings).decode()


def ask_from_many(port: int, message: bytes = QUESTION, clients: int = CLIENTS) -> list[bytes | None]:
    """Return the replies to one question, each asked from a port of its own; None where none came."""
    replies: list[bytes | None] = []
    for _ in range(clients):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(LOST)
            client.connect((LOOPBACK, port))
            try:
                client.send(message)
                replies.append(client.recv(65535))
            except (TimeoutError, ConnectionRefusedError):
                replies.append(None)
    return replies


def who_answers(port: int) -> set[int]:
    """Return the processes that answer ENOUGH queries."""
    replies = ask_from_many(port, clients=ENOUGH)
    return {int(text_of(reply).split()[0]) for reply in replies if reply is not None}


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


class Load:
    """Many clients that ask one question after the other, each at most `rate` times a second in all."""

    def __init__(self, port: int, message: bytes = QUESTION, rate: int = 1000) -> None:
        self._port, self._message, self._interval = port, message, CLIENTS / rate
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answered = 0
        self.lost = 0
        self.slowest = 0.0
        self.replies: Counter[bytes] = Counter()  # but for their IDs

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait_for(CLIENTS)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def wait_for(self, replies: int) -> None:
        """Return once so many more replies have come."""
        wanted = self.answered + replies
        until(lambda: self.answered >= wanted)

    @property
    def texts(self) -> set[str]:
        return {text_of(bytes(2) + reply) for reply in list(self.replies)}

    def _run(self) -> None:
        with contextlib.ExitStack() as undo:
            selector = undo.enter_context(selectors.DefaultSelector())
            clients = [undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(CLIENTS)]
            asked: dict[socket.socket, tuple[int, float]] = {}  # ID, when
            due = dict.fromkeys(clients, time.monotonic())
            for client in clients:
                client.connect((LOOPBACK, self._port))
                selector.register(client, selectors.EVENT_READ, client)
            ident = 0
            while asked or not self._ended.is_set():
                now = time.monotonic()
                for client in clients:
                    if client in asked and now - asked[client][1] > LOST:
                        del asked[client]
                        self.lost += 1
                    if client not in asked and now >= due[client] and not self._ended.is_set():
                        ident = (ident + 1) % 65536
                        asked[client] = ident, now
                        due[client] = now + self._interval
                        with contextlib.suppress(ConnectionRefusedError):
                            client.send(ident.to_bytes(2, "big") + self._message[2:])
                for key, _ in selector.select(0.002):
                    self._receive(key.data, asked)

    def _receive(self, client: socket.socket, asked: dict[socket.socket, tuple[int, float]]) -> None:
        try:
            reply = client.recv(65535)
        except ConnectionRefusedError:
            return
        if client in asked and int.from_bytes(reply[:2], "big") == asked[client][0]:
            self.slowest = max(self.slowest, time.monotonic() - asked.pop(client)[1])
            self.answered += 1
            self.replies[reply[2:]] += 1
