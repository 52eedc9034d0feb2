"""The options of the hosts directive, checked word by word."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR
from typing import TYPE_CHECKING

from kubedns.corefile import readers
from kubedns.corefile.errors import CorefileError, CorefileErrors
from kubedns.corefile.numbers import quote
from kubedns.log import plugin_log
from kubedns.plugin.zones import argument_zones

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubedns.corefile.values import Directive, Property, Word
    from kubedns.plugin.contract import ServerBlock

DEFAULT_FILE = Path("/etc/hosts")
DEFAULT_TTL = 3600
LONGEST_TTL = 65535
DEFAULT_RELOAD = 5.0
log = plugin_log("hosts")


@dataclass(slots=True)
class Options:
    """What a hosts block says. Zones are lower-case wire octets, times in seconds; `reload` 0: the file is read once.

    `shown` is the path as it is written. `inline` are the block's own lines, as a hosts file has them.
    """

    zones: tuple[bytes, ...]
    path: Path = DEFAULT_FILE
    shown: str = str(DEFAULT_FILE)
    ttl: int = DEFAULT_TTL
    reload: float = DEFAULT_RELOAD
    reverse: bool = True
    fallthrough: tuple[bytes, ...] = ()
    fallthrough_unsupported: Word | None = None
    inline: list[str] = field(default_factory=list)


def read_options(directive: Directive, block: ServerBlock) -> Options:
    """Return the options of a directive; raise CorefileErrors with all that is wrong in it."""
    use = readers.once(directive)
    file, zones = use.arguments[:1], use.arguments[1:]
    options = Options(argument_zones(zones, block.zones, log))
    errors: list[CorefileError] = []
    try:
        if file:
            options.path, options.shown = _file(file[0], block.root), file[0].text
    except CorefileError as error:
        errors.append(error)
    for line in use.properties:
        try:
            _reader(line, options)(options, line)
        except CorefileError as error:
            errors += error.errors
    word = options.fallthrough_unsupported
    if word is not None and not options.fallthrough:
        cure = "write a line 'fallthrough' as well, or leave this one out"
        errors.append(word.error("fallthrough_unsupported requires fallthrough", cure))
    if errors:
        raise errors[0] if len(errors) == 1 else CorefileErrors(errors)
    return options


def _file(word: Word, root: Path) -> Path:
    """Return the file's path; one that is missing may come later, so that the log alone tells of it."""
    path = root / word.text
    try:
        if S_ISDIR(path.stat().st_mode):
            log.warning(f"Hosts file {quote(str(path))} is a directory")
    except (FileNotFoundError, NotADirectoryError):
        log.warning(f"File does not exist: {path}")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = (error.strerror or "").lower() if isinstance(error, OSError) else "invalid argument"
        text = f"unable to access hosts file '{path}': stat {path}: {reason}"
        raise word.error(text, "let the server read it, or name another file") from None
    return path


def _reader(line: Property, options: Options) -> Callable[[Options, Property], None]:
    """An unknown word starts a line of a hosts file, unless `fallthrough` stands somewhere above."""
    reader = READERS.get(line.name.text)
    if reader is not None:
        return reader
    if options.fallthrough:
        cure = "lines with addresses come before 'fallthrough'; after it, only options"
        raise line.name.error(f"unknown property '{line.name.text}'", cure)
    return _inline


def _inline(options: Options, line: Property) -> None:
    options.inline.append(" ".join(word.text for word in (line.name, *line.arguments)))


def _fallthrough(options: Options, line: Property) -> None:
    options.fallthrough = argument_zones(line.arguments, ["."], log)


def _fallthrough_unsupported(options: Options, line: Property) -> None:
    readers.no_arguments(line)
    options.fallthrough_unsupported = line.name


def _no_reverse(options: Options, _: Property) -> None:
    options.reverse = False


def _ttl(options: Options, line: Property) -> None:
    cure = f"write a number of seconds from 1 to {LONGEST_TTL}: ttl 60"
    if not line.arguments:
        raise line.name.error("ttl needs a time in second", cure)
    word = line.arguments[0]
    try:
        ttl = readers.integer(word)
    except CorefileError:
        raise word.error("ttl needs a number of second", cure) from None
    if not 1 <= ttl <= LONGEST_TTL:
        raise word.error("ttl provided is invalid", cure)
    options.ttl = ttl


def _reload(options: Options, line: Property) -> None:
    if len(line.arguments) != 1:
        cure = "write one duration: reload 30s"
        raise line.last.error("reload needs a duration (zero seconds to disable)", cure)
    word = line.arguments[0]
    try:
        seconds = readers.duration(word)
    except CorefileError:
        raise word.error(f"invalid duration for reload '{word.text}'", readers.DURATION_CURE) from None
    if seconds < 0:
        raise word.error(f"invalid negative duration for reload '{word.text}'", "0s turns reloading off")
    options.reload = seconds


READERS: Mapping[str, Callable[[Options, Property], None]] = {
    "fallthrough": _fallthrough,
    "fallthrough_unsupported": _fallthrough_unsupported,
    "no_reverse": _no_reverse,
    "reload": _reload,
    "ttl": _ttl,
}
