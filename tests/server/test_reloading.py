"""A Corefile that changes under a running server: what is taken up, what is said, what is counted."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from kubedns import metrics, slices
from kubedns.plugin.registry import find_plugins
from kubedns.server import reloading
from kubedns.server.configuration import Setting
from kubedns.server.lifecycle import Server
from kubedns.server.loading import Loader
from kubedns.server.reloading import Reloader
from plugins import reload
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from kubedns.server.loading import Loaded

    Begin = Callable[[str], AbstractAsyncContextManager["Running"]]

START = ".:0 {\n    bind 127.0.0.1\n    reload 20ms 0s\n    whoami\n}\n"
WITHOUT = START.replace("    reload 20ms 0s\n", "")
BAD = START.replace("whoami", "whoamix")
SHA = r"\[INFO\] plugin/reload: Running configuration SHA512 = ([0-9a-f]{128})"
UNKNOWN = "Corefile:4 - Error during parsing: Unknown directive 'whoamix'"


class CountedLoader(Loader):
    looks = 0

    def again(self) -> Loaded:
        try:
            return super().again()
        finally:
            self.looks += 1


class Running:
    """A server with its reloader, and what it has said."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = folder / "Corefile"
        self.server = Server()
        plugins = folder / "plugins"
        registry = find_plugins(plugins if plugins.exists() else None)
        self.loader = CountedLoader(str(self.path), Setting(registry, 53, folder))
        self.reloader = Reloader(self.server, self.loader)
        self._capsys = capsys
        self._said: list[str] = []

    def write(self, text: str) -> None:
        """Put a new file in the place of the old one, as an editor does; it is not half there at any time."""
        new = self.path.with_name("new")
        new.write_text(text)
        os.utime(new, (1_000_000_000, 1_000_000_000))  # long settled
        new.replace(self.path)

    async def look(self, times: int = 2) -> None:
        """Return once the file, as it is now, has been looked at from beginning to end."""
        wanted = self.loader.looks + 2 * times + 1  # a look reads twice where something is new
        await until(lambda: self.loader.looks >= wanted)
        async with self.reloader._turn:  # noqa: SLF001 - what the last look led to is over
            pass

    def said(self) -> list[str]:
        """Return the lines since the last call, without the file's folder."""
        return self._capsys.readouterr().out.replace(f"{self.path.parent}/", "").splitlines()


@asynccontextmanager
async def running(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str
) -> AsyncIterator[Running]:
    monkeypatch.setattr(reload, "SHORTEST_INTERVAL", 0.001)
    monkeypatch.setattr(reloading.failures, "value", 0)
    one = Running(folder, capsys)
    one.write(text)
    one.reloader.watch(await one.reloader.start())
    try:
        yield one
    finally:
        one.reloader.stop()
        await one.server.close()
        assert await one.server.stop_plugins() == []


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def exposed() -> dict[str, float]:
    """Return the samples of this plugin: by the hash where there is one."""
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    return {
        "".join(["failed" if one.name.endswith("failed_total") else one.labels["value"]]): one.value
        for one in samples
        if one.name.startswith("coredns_reload_")
    }


@pytest.fixture
def begin(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Begin:
    return partial(running, tmp_path, capsys, monkeypatch)


@pytest.mark.parametrize(
    "text",
    [f"{START}# x\n", START.replace("    whoami", "\twhoami   # x"), f"{START}\n\n\n"],
    ids=["comment behind all", "blanks and a comment in a line", "empty lines behind all"],
)
def test_what_is_no_change(text: str, begin: Begin) -> None:
    async def main() -> None:
        async with begin(START) as one:
            assert re.fullmatch(SHA, "\n".join(one.said()))
            one.write(text)
            await one.look()
            assert one.said() == []
            assert exposed() == {"failed": 0}

    run(main())


@pytest.mark.parametrize("text", [f"# x\n{START}", START.replace("whoami", "log\n    whoami"), f"\n{START}"])
def test_a_change(text: str, begin: Begin) -> None:
    async def main() -> None:
        async with begin(START) as one:
            [first] = one.said()
            one.write(text)
            await one.look()
            said = one.said()
            assert said[0] == "[INFO] Reloading"
            assert said[2:] == ["[INFO] Reloading complete"]
            found = re.fullmatch(SHA, said[1])
            assert found is not None
            assert said[1] != first
            assert exposed() == {"failed": 0, found[1]: 1}

    run(main())


def test_a_wrong_file_is_tried_once_and_the_old_text_is_a_change_again(begin: Begin) -> None:
    async def main() -> None:
        async with begin(START) as one:
            before = one.server.configuration
            one.said()
            one.write(BAD)
            await one.look()
            said = one.said()
            assert said[0] == "[INFO] Reloading"
            assert said[1] == f"[ERROR] Restart failed: {UNKNOWN}"
            assert "  --> Corefile:4:5" in said
            failed = "plugin/reload: Corefile changed but reload failed: starting with listener file descriptors"
            assert said[-1] == f"[ERROR] {failed}: {UNKNOWN}"
            assert one.server.configuration is before
            [tried] = exposed().keys() - {"failed"}
            await one.look()
            assert one.said() == []
            assert exposed() == {"failed": 1, tried: 1}
            one.write(START)
            await one.look()
            assert [line for line in one.said() if "SHA512" not in line] == [
                "[INFO] Reloading",
                "[INFO] Reloading complete",
            ]
            [good] = exposed().keys() - {"failed"}
            assert good != tried
            assert exposed()["failed"] == 1

    run(main())


LATER = """
from pathlib import Path
from kubedns.plugin.contract import StartError, StartLaterError
AFTER = "debug"
def setup(directive, block):
    return Later(Path(directive.uses[0].arguments[0].text))
class Later:
    def __init__(self, path):
        self.path = path
    async def start(self):
        if self.path.exists():
            raise {"later": StartLaterError, "never": StartError}[self.path.read_text()]("not yet")
"""


@pytest.mark.parametrize(
    ("kind", "tries"),
    [("later", [1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]), ("never", [1, *[0] * 11])],
    ids=["another's fault", "its own"],
)
def test_what_another_is_to_blame_for_is_tried_again(
    kind: str, tries: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the next look, the second after that, the fourth; until it can be taken up, the old configuration serves."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "later.py").write_text(LATER)
    obstacle = tmp_path / "obstacle"
    obstacle.write_text(kind)

    async def main() -> None:
        async with running(tmp_path, capsys, monkeypatch, WITHOUT) as one:
            before = one.server.configuration
            one.said()
            one.write(WITHOUT.replace("whoami", f"whoami\n    later {obstacle}"))
            done = []
            for _ in tries:
                await one.reloader._look()  # noqa: SLF001 - one at a time, so that they can be counted
                done.append(one.said().count("[INFO] Reloading"))
            assert done == tries
            assert one.server.configuration is before
            assert exposed()["failed"] == sum(tries)
            obstacle.unlink()
            for _ in range(reloading.MOST_PASSED):
                await one.reloader._look()  # noqa: SLF001 - as above
            assert one.said().count("[INFO] Reloading complete") == (kind == "later")

    monkeypatch.setattr(reloading, "MOST_PASSED", 4)
    run(main())


def test_what_does_not_parse_is_warned_of_at_each_look(begin: Begin) -> None:
    async def main() -> None:
        async with begin(START) as one:
            one.said()
            one.write(".:0 {\n    whoami")
            await one.look(4)
            said = [line for line in one.said() if line.startswith("[")]
            warning = "Corefile parse failed: Corefile:2 - Syntax error: Unexpected token 'whoami', expecting '}'"
            assert set(said) == {f"[WARNING] plugin/reload: {warning}"}
            assert len(said) >= 3
            assert exposed() == {"failed": 0}
            one.write(START)
            await one.look()
            assert [line for line in one.said() if not line.startswith(("[WARNING]", " "))] == []

    run(main())


def test_a_file_that_is_gone_is_nothing(begin: Begin) -> None:
    async def main() -> None:
        async with begin(START) as one:
            one.said()
            one.path.unlink()
            await one.look()
            one.write(START)
            await one.look()
            assert one.said() == []
            assert exposed() == {"failed": 0}

    run(main())


@pytest.mark.parametrize("text", ["", "# nothing\n", "(snippet) {\n    log\n}\n"])
def test_a_file_without_a_block_leaves_the_old_configuration(text: str, begin: Begin) -> None:
    async def main() -> None:
        async with begin(START) as one:
            before = one.server.configuration
            one.said()
            one.write(text)
            await one.look()
            said = one.said()
            assert said[1] == "[ERROR] Restart failed: Corefile: no server block in it"
            assert said[-1].endswith("starting with listener file descriptors: Corefile: no server block in it")
            assert one.server.configuration is before
            assert exposed()["failed"] == 1
            await one.reloader.reload()
            assert one.said()[-1].startswith("[ERROR] SIGUSR1: starting with listener file descriptors: Corefile: no ")
            assert one.server.configuration is before

    run(main())


def test_a_file_without_reload_is_watched_on(begin: Begin) -> None:
    async def main() -> None:
        async with begin(START) as one:
            one.write(WITHOUT)
            await one.look()
            assert one.server.configuration is not None
            assert one.server.configuration.watching is None
            one.said()
            one.write(f"# again\n{WITHOUT}")
            await one.look()
            assert one.said()[-1] == "[INFO] Reloading complete"

    run(main())


def test_a_server_that_never_had_reload_is_not_watched_until_it_has(begin: Begin) -> None:
    async def main() -> None:
        async with begin(WITHOUT) as one:
            assert one.said() == []
            one.write(START)
            await asyncio.sleep(0.1)
            assert one.loader.looks == 0
            await one.reloader.reload()
            assert re.fullmatch(f"\\[INFO\\] Reloading\n{SHA}\n\\[INFO\\] Reloading complete", "\n".join(one.said()))
            one.write(f"# again\n{START}")
            await one.look()
            assert one.said()[-1] == "[INFO] Reloading complete"

    run(main())


def test_a_signal_reloads_what_has_not_changed_and_counts_nothing(begin: Begin) -> None:
    async def main() -> None:
        async with begin(START) as one:
            [first] = one.said()
            before = one.server.configuration
            await one.reloader.reload()
            assert one.said() == ["[INFO] Reloading", first, "[INFO] Reloading complete"]
            assert one.server.configuration is not before
            one.write(BAD)
            await one.reloader.reload()
            assert f"[ERROR] SIGUSR1: starting with listener file descriptors: {UNKNOWN}" in one.said()
            assert exposed()["failed"] <= 1  # the watcher may have tried it as well

    run(main())


def test_an_imported_file_counts(begin: Begin, tmp_path: Path) -> None:
    folder = tmp_path
    (folder / "more.conf").write_text("log\n")

    async def main() -> None:
        async with begin(START.replace("whoami", "import more.conf\n    whoami")) as one:
            one.said()
            (folder / "other.conf").write_text("log\nerrors\n")
            (folder / "other.conf").replace(folder / "more.conf")
            await one.look()
            assert one.said()[-1] == "[INFO] Reloading complete"

    run(main())


def test_an_import_that_finds_nothing_is_warned_of_once_a_load(begin: Begin) -> None:
    async def main() -> None:
        text = START.replace("whoami", "import none/*\n    whoami")
        async with begin(text) as one:
            assert len([line for line in one.said() if line.startswith("[WARNING]")]) == 1
            await one.look(3)
            assert one.said() == []
            await one.reloader.reload()
            assert len([line for line in one.said() if line.startswith("[WARNING]")]) == 1

    run(main())


def test_a_file_is_taken_up_whole_though_it_is_written_slowly(begin: Begin) -> None:
    async def main() -> None:
        async with begin(START) as one:
            one.said()
            whole = START.replace("whoami", "log\n    errors\n    whoami")
            with one.path.open("w") as file:
                for at in range(0, len(whole), 5):
                    file.write(whole[at : at + 5])
                    file.flush()
                    await asyncio.sleep(0.01)
            await one.look()
            said = [line for line in one.said() if line.startswith("[INFO]") and "SHA512" not in line]
            assert said == ["[INFO] Reloading", "[INFO] Reloading complete"]
            assert one.server.configuration is not None
            assert [name for name, _ in one.server.configuration.plugins] == ["errors", "log", "whoami"]

    run(main())


TURNS = """
import asyncio
AFTER = "debug"
seen = []
def setup(directive, block):
    seen.append("set up")
    asyncio.get_running_loop().call_soon(seen.append, "the loop's turn")
    return Turns()
class Turns:
    async def start(self):
        pass
"""


def test_queries_have_their_turn_between_two_plugins_that_are_set_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "turns.py").write_text(TURNS)

    async def main() -> None:
        async with running(tmp_path, capsys, monkeypatch, WITHOUT) as one:
            text = WITHOUT.replace("whoami", "whoami\n    turns")
            one.write(text + text.replace(".:0", "a.test:0") + text.replace(".:0", "b.test:0"))
            await one.reloader.reload()
            assert "[INFO] Reloading complete" in one.said()
            seen = sys.modules["kubedns_dropped_in_turns"].seen
            assert seen == ["set up", "the loop's turn"] * 3

    monkeypatch.setattr(slices, "SLICE", 0.0)
    run(main())
    del sys.modules["kubedns_dropped_in_turns"]


CYCLE = """
import gc, weakref
AFTER, made = "debug", []
def setup(directive, block):
    gc.collect(1)  # what was made before is old now
    if made: raise ValueError("boom")
    plugin = Cyclic()
    plugin.block = block
    made.append(weakref.ref(plugin))
    return plugin
class Cyclic:
    async def start(self): pass
"""


def test_what_is_set_up_and_not_taken_up_is_let_go(begin: Begin, tmp_path: Path) -> None:
    """A plugin and its block hold each other, and the collector looks at what is old all but never."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "cycle.py").write_text(CYCLE)

    async def main() -> None:
        async with begin(WITHOUT) as one:
            text = WITHOUT.replace("whoami", "whoami\n    cycle")
            one.write(text + text.replace(".:0", "a.test:0"))
            await one.reloader.reload()
            assert any("boom" in line for line in one.said())
            await asyncio.sleep(0)
            [plugin] = sys.modules["kubedns_dropped_in_cycle"].made
            assert plugin() is None

    run(main())
    del sys.modules["kubedns_dropped_in_cycle"]
