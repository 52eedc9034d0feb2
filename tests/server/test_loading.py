"""What is read at the start, and what again: files, ./Corefile, standard input, the built-in one."""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubedns.corefile.errors import CorefileErrors
from kubedns.corefile.find import FindError
from kubedns.plugin.registry import find_plugins
from kubedns.server.configuration import Setting
from kubedns.server.loading import Loader

if TYPE_CHECKING:
    from kubedns.server.loading import Loaded

BLOCK = "a.org {\n    whoami\n}\n"
EMPTY = ["", "# nothing\n", "(snippet) {\n    log\n}\n", "{\n    whoami\n}\n"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loader(conf: str | None = None) -> Loader:
    return Loader(conf, Setting(find_plugins(None), 53, Path.cwd()))


def keys(loaded: Loaded) -> list[str]:
    return [key.text for block in loaded.corefile.blocks for key in block.keys]


def test_nothing_at_all_is_built_in_and_stays_so(here: Path) -> None:
    made = loader()
    assert keys(made.first()) == ["."]
    assert made.lasting
    assert keys(made.again()) == ["."]
    (here / "Corefile").write_text(BLOCK)
    assert keys(made.again()) == ["a.org"]


def test_the_file_in_the_folder(here: Path) -> None:
    (here / "Corefile").write_text(BLOCK)
    made = loader()
    assert keys(made.first()) == ["a.org"]
    assert not made.lasting
    (here / "Corefile").unlink()
    with pytest.raises(FindError, match=r"^loading Caddyfile via default: open Corefile: no such file or directory$"):
        made.again()


@pytest.mark.parametrize("text", EMPTY)
def test_a_file_without_a_block_at_the_start_is_the_built_in_one(text: str, here: Path) -> None:
    (here / "mine").write_text(text)
    made = loader("mine")
    first = made.first()
    assert keys(first) == ["."]
    assert not made.lasting
    assert made.again().fingerprint == first.fingerprint
    (here / "mine").write_text(BLOCK)
    loaded = made.again()
    assert keys(loaded) == ["a.org"]
    asyncio.run(made.configure(loaded, {}))
    (here / "mine").write_text(text)
    assert made.again().empty


@pytest.mark.parametrize("text", EMPTY)
def test_a_file_without_a_block_later_is_a_mistake(text: str, here: Path) -> None:
    (here / "mine").write_text(BLOCK)
    made = loader("mine")
    first = made.first()
    (here / "mine").write_text(text)
    loaded = made.again()
    assert loaded.empty
    assert loaded.fingerprint not in {"", first.fingerprint}
    with pytest.raises(CorefileErrors, match=r"^mine: no server block in it\n"):
        asyncio.run(made.configure(loaded, {}))


def test_standard_input_is_read_once(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    (here / "text").write_text(BLOCK)
    with (here / "text").open("rb") as file, io.TextIOWrapper(file) as text:
        monkeypatch.setattr(sys, "stdin", text)
        made = loader("stdin")
        first = made.first()
        assert keys(first) == keys(made.again()) == ["a.org"]
        assert first.path is None


def test_warnings_are_told_once_it_is_taken_up(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine").write_text("a.org {\n    import none/*\n    whoami\n}\n")
    made = loader("mine")
    loaded = made.first()
    assert capsys.readouterr().out == ""
    asyncio.run(made.configure(loaded, {}))
    assert capsys.readouterr().out.startswith("[WARNING] ")
