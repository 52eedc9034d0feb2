"""reload [INTERVAL] [JITTER]: take a changed Corefile up without a restart (docs/plugins/reload.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubedns.corefile import readers
from kubedns.corefile.errors import Kind
from kubedns.plugin.contract import Settings, Watching

if TYPE_CHECKING:
    from kubedns.corefile.values import Directive, Word
    from kubedns.plugin.contract import ServerBlock

INTERVAL, SHORTEST_INTERVAL = 30.0, 2.0  # seconds
JITTER, SHORTEST_JITTER = 15.0, 1.0


def setup(directive: Directive, _: ServerBlock) -> Settings:
    """Read the two durations; as in CoreDNS a second line, or a block, is not looked at."""
    use = directive.uses[0]
    if len(use.arguments) > 2:  # noqa: PLR2004 - interval and jitter
        raise readers.wrong_arguments(use, cure="reload takes an interval and a jitter: reload 30s 15s")
    interval, jitter = INTERVAL, JITTER
    if use.arguments:
        interval = readers.duration(use.arguments[0])
        if interval < SHORTEST_INTERVAL:
            raise _too_short(use.arguments[0], "interval value must be greater or equal to 2s", "write 2s or more")
    if len(use.arguments) > 1:
        jitter = readers.duration(use.arguments[1])
        if jitter < SHORTEST_JITTER and jitter != 0:
            text = "jitter value must be 0 or greater or equal to 1s"
            raise _too_short(use.arguments[1], text, "write 0s, or 1s or more")
    return Settings(watching=Watching(interval, min(jitter, interval / 2)))


def _too_short(word: Word, text: str, cure: str) -> Exception:
    return word.error(text, cure, Kind.BARE)
