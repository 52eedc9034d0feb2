"""Log lines: one each on standard output, `[LEVEL] text`, or a JSON object with `-log-format json`."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_FATAL = 1
LONGEST_LINE = 4096  # characters; a stranger's name in it can't make it longer


@dataclass(slots=True)
class _Output:
    """How lines are written, for the whole process: set by the command line and by the debug plugin.

    `leave` ends the process at once with a status.
    """

    debug: bool = False
    as_json: bool = False
    leave: Callable[[int], None] = os._exit


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
        line = self.prefix + (text if len(text) <= LONGEST_LINE else text[:LONGEST_LINE] + "...")
        if output.as_json:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            whole = json.dumps({"time": stamp, "level": level.lower(), "msg": line}, ensure_ascii=False)
        else:
            whole = f"[{level}] {line}"
        try:
            sys.stdout.write(whole + "\n")
            sys.stdout.flush()
        except (OSError, ValueError):
            return


def plugin_log(name: str) -> Log:
    """Return a plugin's source of log lines."""
    return Log(f"plugin/{name}: ")


server_log = Log()
