"""Where the text comes from."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubedns.corefile.find import BUILT_IN, FindError, find_corefile
from tests.corefile.reading import read

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
SCRIPT = "from kubedns.corefile.find import find_corefile as f; x = f('stdin'); print([x.text, x.name, x.built_in])"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_flag(folder: Path) -> None:
    (folder / "x.conf").write_text("a.org\n")
    found = find_corefile("./x.conf")
    assert (found.text, found.name, found.path, found.built_in) == ("a.org\n", "./x.conf", Path("x.conf"), False)


def test_here(folder: Path) -> None:
    (folder / "Corefile").write_text("a.org\n")
    assert find_corefile(None).name == "Corefile"
    assert find_corefile("").text == "a.org\n"


@pytest.mark.usefixtures("folder")
def test_built_in() -> None:
    found = find_corefile(None)
    assert found is BUILT_IN
    (block,) = read(found.text).blocks
    assert ([key.text for key in block.keys], sorted(block.directives)) == (["."], ["log", "whoami"])


FAILURES = {
    "missing": ("nope", "loading Caddyfile via flag: open nope: no such file or directory"),
    "missing-path": ("/nope/../nope/x", "loading Caddyfile via flag: open /nope/x: no such file or directory"),
    "folder": (".", "loading Caddyfile via flag: read .: is a directory"),
    "through-a-file": ("latin/x", "loading Caddyfile via flag: open latin/x: not a directory"),
    "not-utf-8": ("latin", "loading Caddyfile via flag: latin: not UTF-8 text (octet 0xe9 in line 2)"),
    "huge": ("huge", "loading Caddyfile via flag: huge: more than 16777216 octets: is this a Corefile?"),
}


@pytest.mark.parametrize(("conf", "text"), FAILURES.values(), ids=FAILURES)
def test_failure(conf: str, text: str, folder: Path) -> None:
    (folder / "latin").write_bytes(b"a\ncaf\xe9")
    if conf == "huge":
        (folder / "huge").write_bytes(b"#" * (16 * 1024 * 1024 + 1))
    with pytest.raises(FindError) as raised:
        find_corefile(conf)
    assert str(raised.value) == text


def test_folder_named_corefile(folder: Path) -> None:
    (folder / "Corefile").mkdir()
    with pytest.raises(FindError, match="loading Caddyfile via default: read Corefile: is a directory"):
        find_corefile(None)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything: be somebody else for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


def test_unreadable(folder: Path) -> None:
    folder.chmod(0o755)
    (folder / "x").touch(mode=0)
    with as_nobody(), pytest.raises(FindError, match="loading Caddyfile via flag: open x: permission denied"):
        find_corefile("x")


def test_standard_input() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input="a.org é", capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout == "['a.org é', '/dev/stdin', False]\n"


def test_standard_input_is_a_device() -> None:
    with Path(os.devnull).open() as device:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], stdin=device, capture_output=True, encoding="utf-8", check=True
        )
    assert done.stdout.endswith("'Corefile', True]\n")


@pytest.mark.usefixtures("folder")
def test_no_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert find_corefile("stdin") is BUILT_IN
