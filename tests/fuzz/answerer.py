"""A listener's way from datagram to reply, over the sample cluster, without the listener."""

import asyncio
from pathlib import Path

from kubedns.plugin.contract import Starts, Stops
from kubedns.server.dispatch import Dispatcher
from kubedns.server.stepping import Stepper
from kubedns.wire.client import Client
from tests.loading import ROOT, load


class Answerer:
    """Serves Corefile.example's listener on a loop of its own."""

    def __init__(self, corefile: Path = ROOT / "Corefile.example") -> None:
        """Return once every plugin has started."""
        self._loop = asyncio.new_event_loop()
        self._dispatcher = self._loop.run_until_complete(self._start(corefile.read_text()))

    def answer(self, datagram: bytes, client: Client) -> bytes | None:
        """Return the reply's octets, as the listener would send them; raise what escapes the server."""
        asked: asyncio.Future[bytes | None] = self._loop.create_future()
        self._loop.call_soon(self._ask, datagram, client, asked)
        return self._loop.run_until_complete(asked)

    def close(self) -> None:
        """Stop the plugins, and end the tasks that are parked."""
        self._loop.run_until_complete(self._stop())
        self._loop.close()

    async def _start(self, text: str) -> Dispatcher:
        self._configuration = load(text)
        for part in self._parts():
            if isinstance(part, Starts):
                await part.start()
        self._stepper = Stepper(self._loop)
        ((address, group),) = self._configuration.groups.items()
        return Dispatcher(str(address), group.served, self._stepper, any_class=group.any_class)

    def _ask(self, datagram: bytes, client: Client, asked: asyncio.Future[bytes | None]) -> None:
        try:
            reply = self._dispatcher.answer(datagram, client, 0.0)
        except Exception as error:  # noqa: BLE001 - whatever escapes is what the fuzzer looks for
            asked.set_exception(error)
            return
        if reply is None or isinstance(reply, bytes):
            asked.set_result(reply)
        else:
            reply.add_done_callback(lambda done: asked.set_result(done.result()))

    async def _stop(self) -> None:
        for part in self._parts():
            if isinstance(part, Stops):
                await part.stop()
        self._stepper.close()

    def _parts(self) -> list[object]:
        plugins = [plugin for _, plugin in self._configuration.plugins]
        return [*self._configuration.shared.kept.values(), *plugins]
