"""Log lines: one each on standard output, `[LEVEL] text`, or a JSON object with `-log-format json`.

They are in order. Those that come with each query wait for one another until the end of the loop's turn, in which a
batch of queries is answered: a write for each takes longer than all else that a line does.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_FATAL = 1
LONGEST_LINE = 4096  # characters; a stranger's name in it can't make it longer
MOST_AT_ONCE = 4096  # octets that a pipe takes whole, so that lines of several processes don't mix (PIPE_BUF, pipe(7))


@dataclass(slots=True)
class _Output:
    """How lines are written, for the whole process: set by the command line and by the debug plugin.

    `leave` ends the process at once with a status. `waiting` are lines that are not written yet, of so many `octets`.
    """

    debug: bool = False
    as_json: bool = False
    leave: Callable[[int], None] = os._exit
    waiting: list[str] = field(default_factory=list)
    octets: int = 0


output = _Output()


@dataclass(frozen=True, slots=True)
class Log:
    """A source of log lines; `prefix` is `plugin/NAME: ` for a plugin, nothing for the server."""

    prefix: str = ""

    def debug(self, text: str) -> None:
        """Log what only matters when `debug` is in the Corefile."""
        if output.debug:
            self.write("DEBUG", text)

    def info(self, text: str) -> None:
        """Log what an operator may want to know."""
        self.write("INFO", text)

    def warning(self, text: str) -> None:
        """Log what an operator should look at."""
        self.write("WARNING", text)

    def error(self, text: str) -> None:
        """Log what went wrong."""
        self.write("ERROR", text)

    def fatal(self, text: str) -> None:
        """Log what the process can't go on with, and end it with status 1."""
        self.write("FATAL", text)
        output.leave(EXIT_FATAL)

    def write(self, level: str, text: str) -> None:
        """Write one line; a full disk or a closed pipe must not stop the server."""
        _wait(self._line(level, text))
        flush()

    def each(self, text: str) -> None:
        """Log, as information, what comes with each query: a line in the next write."""
        _wait(self._line("INFO", text))
        if len(output.waiting) == 1:
            asyncio.get_running_loop().call_soon(flush)

    def _line(self, level: str, text: str) -> str:
        line = self.prefix + (text if len(text) <= LONGEST_LINE else text[:LONGEST_LINE] + "...")
        if not output.as_json:
            return f"[{level}] {line}\n"
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return json.dumps({"time": stamp, "level": level.lower(), "msg": line}, ensure_ascii=False) + "\n"


def _wait(line: str) -> None:
    r"""Have a line wait for the next write, together with those before it if one write can hold them all.

    A character that standard output has no octets for is written as \uNNNN.
    """
    octets = len(line)
    if not line.isascii():
        encoding = sys.stdout.encoding or "utf-8"
        encoded = line.encode(encoding, "backslashreplace")
        line, octets = encoded.decode(encoding), len(encoded)
    if output.octets + octets > MOST_AT_ONCE:
        flush()
    output.waiting.append(line)
    output.octets += octets


def flush() -> None:
    """Write the lines that wait."""
    if not output.waiting:
        return
    lines = "".join(output.waiting)
    output.waiting.clear()
    output.octets = 0
    try:
        sys.stdout.write(lines)
        sys.stdout.flush()
    except (OSError, ValueError):
        return


def plugin_log(name: str) -> Log:
    """Return a plugin's source of log lines."""
    return Log(f"plugin/{name}: ")


server_log = Log()
