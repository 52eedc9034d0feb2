"""The command line: CoreDNS's flags, with one dash or two, and ours."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = """\
Usage of kubedns:
  -conf string
    	Corefile to load (default "Corefile" in this folder); stdin reads standard input
  -dns.port string
    	default port (default "53")
  -log-format string
    	text or json (default "text")
  -manifests path
    	serve the cluster in these Kubernetes manifests instead of an API server's: a file, a folder or a kubectl dump
  -p string
    	default port (default "53")
  -pidfile string
    	path to write the process ID to
  -plugin-dir path
    	folder of plugins of your own, one file each
  -plugins
    	list installed plugins
  -quiet
    	quiet mode (no zones and versions at start)
  -version
    	show version
"""
NAMES = {
    "conf": "conf",
    "dns.port": "port",
    "p": "port",
    "pidfile": "pidfile",
    "log-format": "log_format",
    "manifests": "manifests",
    "plugin-dir": "plugin_dir",
    "plugins": "plugins",
    "quiet": "quiet",
    "version": "version",
    "h": "help",
    "help": "help",
}
TRUE, FALSE = frozenset({"1", "t", "T", "true", "TRUE", "True"}), frozenset({"0", "f", "F", "false", "FALSE", "False"})
LOG_FORMATS = ("text", "json")
HIGHEST_PORT = 65535


class FlagError(Exception):
    """A command line that can't be understood: the process says why, shows the usage and exits with 2."""


@dataclass(slots=True)
class Flags:
    """What the command line says; `conf` None: ./Corefile if it is there. `words` is what is left over."""

    conf: str | None = None
    port: int = 53
    pidfile: str = ""
    log_format: str = "text"
    manifests: Path | None = None
    plugin_dir: Path | None = None
    plugins: bool = False
    quiet: bool = False
    version: bool = False
    help: bool = False
    words: tuple[str, ...] = ()


SWITCHES = frozenset(field.name for field in fields(Flags) if field.type == "bool")


def parse_flags(arguments: Sequence[str]) -> Flags:
    """Return a command line's flags as Go's flag package reads them: to the first other word, or to `--`."""
    flags = Flags()
    rest = list(arguments)
    while rest:
        word = rest[0]
        if word == "-" or not word.startswith("-"):
            break
        rest.pop(0)
        if word == "--":
            break
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        attribute = NAMES.get(name)
        if attribute is None:
            shown = name or word
            raise FlagError(f"flag provided but not defined: -{shown}")
        if attribute in SWITCHES:
            setattr(flags, attribute, _switch(name, value) if equals else True)
            continue
        if not equals:
            if not rest:
                raise FlagError(f"flag needs an argument: -{name}")
            value = rest.pop(0)
        setattr(flags, attribute, _value(attribute, name, value))
    flags.words = tuple(rest)
    return flags


def _switch(name: str, value: str) -> bool:
    if value not in TRUE | FALSE:
        raise FlagError(f'invalid boolean value "{value}" for -{name}: parse error')
    return value in TRUE


def _value(attribute: str, name: str, value: str) -> str | int | Path | None:
    if attribute == "port":
        if not (value.isascii() and value.isdigit() and int(value) <= HIGHEST_PORT):
            raise FlagError(f'invalid value "{value}" for flag -{name}: not a port')
        return int(value)
    if attribute == "log_format" and value not in LOG_FORMATS:
        raise FlagError(f'invalid value "{value}" for flag -{name}: neither text nor json')
    if attribute in {"manifests", "plugin_dir"}:
        return Path(value)
    return value
