"""Where the Corefile's text comes from: -conf, ./Corefile, or the built-in one."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kubedns.corefile.files import MOST_OCTETS, decode, reason

DEFAULT_NAME = "Corefile"
STDIN = Path("/dev/stdin")


class FindError(Exception):
    """A Corefile that can't be read; the text is CoreDNS's where it has one."""


@dataclass(frozen=True, slots=True)
class Found:
    """A Corefile's text, the name that errors give it, and where it is: None for the built-in one."""

    text: str
    name: str
    path: Path | None
    built_in: bool = False


BUILT_IN = Found(". {\n    whoami\n    log\n}\n", DEFAULT_NAME, None, built_in=True)


def find_corefile(conf: str | None) -> Found:
    """Return the text to serve; `conf` is the flag -conf: a path, `stdin`, or None for ./Corefile if it is there.

    Raises FindError. A text without a server block is to be replaced with BUILT_IN by whoever parses it.
    """
    if conf == "stdin":
        octets = _read_stdin()
        return BUILT_IN if octets is None else Found(_decoded(octets, str(STDIN), "flag"), str(STDIN), STDIN)
    if conf:
        path = Path(os.path.normpath(conf))
        return Found(_decoded(_read(path, "flag"), conf, "flag"), conf, path)
    path = Path(DEFAULT_NAME)
    if not path.exists():
        return BUILT_IN
    return Found(_decoded(_read(path, "default"), DEFAULT_NAME, "default"), DEFAULT_NAME, path)


def _read_stdin() -> bytes | None:
    """Return standard input to its end; None from a terminal, or where there is none."""
    file: BinaryIO | None = sys.stdin.buffer if sys.stdin is not None else None
    if file is None or stat.S_ISCHR(os.fstat(file.fileno()).st_mode):
        return None
    return file.read(MOST_OCTETS + 1)


def _read(path: Path, loader: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_OCTETS + 1)
    except IsADirectoryError:
        raise FindError(f"loading Caddyfile via {loader}: read {path}: is a directory") from None
    except OSError as error:
        raise FindError(f"loading Caddyfile via {loader}: {reason(error)}") from None


def _decoded(octets: bytes, name: str, loader: str) -> str:
    try:
        return decode(octets)
    except ValueError as error:
        raise FindError(f"loading Caddyfile via {loader}: {name}: {error}") from None
