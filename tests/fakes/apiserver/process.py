"""The server's process: `python -m tests.fakes.apiserver.process OPTIONS`, driven by frames on standard input.

It ends with its standard input, so that it never outlives a test.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import uvloop

from tests.fakes.apiserver.request import FRAME, Answer, Call, Options
from tests.fakes.apiserver.rules import Rule
from tests.fakes.apiserver.server import Server
from tests.fakes.apiserver.statuses import USER, StatusError, error_event
from tests.fakes.apiserver.store import key_of

if TYPE_CHECKING:
    from tests.fakes.apiserver.store import Table
    from tests.fakes.apiserver.watching import Watch

_BUFFER = 64 << 20  # octets of a frame held before the pipe is left to fill


class Control:
    """What a test may ask for: the public methods, called by name. Their documentation is APIServer's."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._store = server.store

    def put(self, values: list[dict[str, Any]], announce: int) -> int:
        for value in values:
            self._store.put(self._store.table_of_kind(value["kind"]), value, announce)
        return self._store.version

    def load(self, path: str) -> int:
        return self.put(msgspec.json.decode(Path(path).read_bytes())["items"], 1)

    def delete(self, resource: str, name: str, namespace: str, announce: int) -> int:
        table = self._store.tables[resource]
        return self._store.delete(table, key_of(table.resource, namespace, name), announce).version

    def clear(self, resource: str) -> int:
        table = self._store.tables[resource]
        for key in sorted(table.items):
            self._store.delete(table, key)
        return self._store.version

    def version(self) -> int:
        return self._store.version

    def compact(self) -> None:
        self._store.compact()

    def error_event(self, code: int, message: str) -> bytes:
        return error_event(StatusError(code, message))

    def send_bookmark(self, resource: str) -> None:
        for watch in self._watches(resource):
            watch.queue_bookmark()

    def inject(self, resource: str, line: bytes) -> None:
        for watch in self._watches(resource):
            watch.inject(line)

    def end_watches(self, resource: str, how: str) -> None:
        for watch in self._watches(resource):
            watch.finish(how)

    def watches(self, resource: str) -> int:
        return len(self._watches(resource))

    def fail(self, rule: dict[str, Any]) -> None:
        self._server.rules.add(msgspec.convert(rule, Rule))

    def heal(self) -> None:
        self._server.rules.clear()

    async def refuse(self) -> None:
        await self._server.refuse()

    async def listen(self) -> None:
        """Raise OSError if the port is taken after all."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # the test holds the port with a socket of its own
        sock.bind((self._server.options.host, self._server.options.port))
        await self._server.listen(sock)

    async def restart(self, compact: bool, new_epoch: bool, down: float) -> None:
        await self.refuse()
        if compact:
            self._store.compact()
        if new_epoch:
            self._store.begin_epoch()
        await asyncio.sleep(down)
        await self.listen()

    def accept(self, tokens: list[str]) -> None:
        users = self._server.users
        for token in [token for token, user in users.items() if user == USER]:
            del users[token]
        users.update(dict.fromkeys(tokens, USER))

    def load_certificate(self) -> None:
        self._server.load_certificate()

    def requests(self, verb: str, resource: str) -> list[dict[str, Any]]:
        found = [
            request
            for request in self._server.requests
            if verb in {"*", request.verb} and resource in {"*", request.resource}
        ]
        return [msgspec.to_builtins(request) for request in found]

    def count(self, verb: str, resource: str) -> int:
        return len(self.requests(verb, resource))

    def forget_requests(self) -> None:
        self._server.requests.clear()

    def cpu(self) -> float:
        return time.process_time()

    def _watches(self, resource: str) -> list[Watch]:
        table: Table | None = None if resource == "*" else self._store.tables[resource]
        return [watch for watch in self._server.watches if table is None or watch.table is table]


async def serve(options: Options) -> None:
    """Listen, then answer calls until there are no more."""
    asyncio.get_running_loop().set_exception_handler(_unless_handshake)
    server = Server(options)
    server.load_certificate()
    control = Control(server)
    await control.listen()
    reader = asyncio.StreamReader(limit=_BUFFER)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    _write(Answer())
    while True:
        try:
            (length,) = FRAME.unpack(await reader.readexactly(FRAME.size))
            frame = await reader.readexactly(length)
        except asyncio.IncompleteReadError:
            break
        _write(await _answer(control, msgspec.msgpack.decode(frame, type=Call)))
    await server.refuse()


async def _answer(control: Control, call: Call) -> Answer:
    try:
        value = getattr(control, call.method)(*call.arguments)
        if asyncio.iscoroutine(value):
            value = await value
    except Exception as error:  # noqa: BLE001 - the test is told
        return Answer(error=f"{type(error).__name__}: {error}")
    return Answer(value)


def _write(answer: Answer) -> None:
    frame = msgspec.msgpack.encode(answer)
    sys.stdout.buffer.write(FRAME.pack(len(frame)) + frame)
    sys.stdout.buffer.flush()


def _unless_handshake(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Keep standard error free of clients that do not trust the certificate, or vanish."""
    if not isinstance(context.get("exception"), OSError):
        loop.default_exception_handler(context)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(msgspec.json.decode(sys.argv[1], type=Options)))
