"""ready: who is asked whether it is ready, and what is said of it over HTTP."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from kubedns.corefile.errors import CorefileError
from kubedns.httpd import Request
from kubedns.plugin.contract import ServerBlock, Shared
from plugins import ready
from tests.plugins.helpers import directive, placed

if TYPE_CHECKING:
    from typing import Any

    from kubedns.httpd import Response

ASKED = Request("GET", "/ready")
ANYWHERE = "ready 127.0.0.1:0"


class Some:
    """A plugin that is ready when it is told so."""

    def __init__(self, *, is_ready: bool = False) -> None:
        self.is_ready = is_ready
        self.asked = 0

    def ready(self) -> bool:
        self.asked += 1
        return self.is_ready


def begun(*blocks: list[tuple[str, Any]], text: str = ANYWHERE, shared: Shared | None = None) -> ready.Ready:
    """Return the plugin of the last of some blocks whose configuration has begun."""
    shared = shared or Shared()
    made = [ready.setup(directive(text), ServerBlock((".",), shared=shared, plugins=block)) for block in blocks]
    for one in made:
        one.begin()
    return made[-1]


def ask(plugin: ready.Ready) -> Response:
    return asyncio.run(plugin.answer(ASKED))


def test_nothing_to_wait_for() -> None:
    answer = ask(begun([("whoami", object())]))
    assert (answer.status, answer.body) == (HTTPStatus.OK, b"OK")


def test_until_ready(capsys: pytest.CaptureFixture[str]) -> None:
    some = Some()
    plugin = begun([("kubernetes", some), ("whoami", object())])
    answer = ask(plugin)
    assert (answer.status, answer.body) == (HTTPStatus.SERVICE_UNAVAILABLE, b"kubernetes")
    assert capsys.readouterr().out == '[INFO] plugin/ready: Plugins not ready: "kubernetes"\n'
    some.is_ready = True
    assert ask(plugin).status is HTTPStatus.OK
    some.is_ready = False
    asked = some.asked
    assert ask(plugin).status is HTTPStatus.OK
    assert some.asked == asked


def test_continuously() -> None:
    some = Some(is_ready=True)
    plugin = begun([("erratic", some)], text="ready 127.0.0.1:0 {\nmonitor continuously\n}")
    assert ask(plugin).status is HTTPStatus.OK
    some.is_ready = False
    assert ask(plugin).status is HTTPStatus.SERVICE_UNAVAILABLE


def test_all_blocks_count_each_name_once() -> None:
    plugin = begun([("kubernetes", Some(is_ready=True))], [("kubernetes", Some()), ("erratic", Some())])
    assert ask(plugin).body == b"erratic,kubernetes"


def test_a_new_configuration_takes_the_old_one_s_place() -> None:
    old = begun([("erratic", Some())])
    shared = Shared()
    shared.previous = {ready.Readiness: old._readiness}  # noqa: SLF001 - what a reload hands on
    new = begun([("kubernetes", Some(is_ready=True))], shared=shared)
    assert ask(old).body == ask(new).body == b"OK"


def test_closed_when_the_process_is_to_end() -> None:
    async def work() -> None:
        plugin = begun([])
        await plugin.start()
        port = plugin._endpoint.listener.port  # noqa: SLF001 - chosen by the system
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await plugin.linger()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await plugin.stop()

    asyncio.run(work())


def test_an_address_that_cannot_be_had_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = begun([], text="ready 192.0.2.1:8181")
    asyncio.run(plugin.start())
    asyncio.run(plugin.stop())
    said = "listen tcp 192.0.2.1:8181: bind: cannot assign requested address: /ready can't be asked there"
    assert capsys.readouterr().out == f"[ERROR] plugin/ready: {said}\n"


REFUSED = [
    ("address", "ready bla", "address bla: missing port in address", "2:7"),
    ("monitor", "ready localhost:1234 {\nmonitor 404\n}", "monitor type '404' not supported", "3:9"),
    ("twice", "ready\nready", "this plugin can only be used once per Server Block", "3:1"),
    (
        "arguments",
        "ready a:1 b:2",
        "Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after 'b:2'",
        "2:11",
    ),
]


@pytest.mark.parametrize(("text", "message", "place"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(text: str, message: str, place: str) -> None:
    with pytest.raises(CorefileError) as raised:
        ready.setup(directive(text), ServerBlock((".",)))
    assert str(raised.value) == message
    assert placed(raised.value) == place
