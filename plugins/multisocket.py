"""multisocket [SOCKETS]: as many processes that answer queries, each with sockets of its own (see docs/plugins)."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from kubedns.corefile import readers
from kubedns.corefile.errors import Kind
from kubedns.corefile.numbers import NumberError, parse_integer
from kubedns.plugin.contract import Settings

if TYPE_CHECKING:
    from kubedns.corefile.values import Directive, Word
    from kubedns.plugin.contract import ServerBlock

MOST = 1024
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container's own cgroup (Linux, cgroup v2)
CURE = f"write a number from 1 to {MOST}, or none for one of each processor"


def setup(directive: Directive, _: ServerBlock) -> Settings:
    """Read the number; without one it is that of the processors that may be used."""
    use, *others = directive.uses
    if others:
        raise readers.wrong_arguments(others[0].name, cure="multisocket may stand once in a server block")
    if use.opening is not None:
        raise readers.wrong_arguments(use.opening, cure="multisocket has no block")
    if not use.arguments:
        return Settings(sockets=min(processors(), MOST))
    return Settings(sockets=_number(readers.one_argument(use)))


def _number(word: Word) -> int:
    try:
        number = parse_integer(word.text)
    except NumberError as error:
        raise word.error(f"invalid num sockets: {error}", CURE, Kind.BARE) from None
    if number < 1:
        raise word.error(f"num sockets can not be zero or negative: {number}", CURE, Kind.BARE)
    if number > MOST:
        raise word.error(f"num sockets exceeds maximum ({MOST}): {number}", CURE, Kind.BARE)
    return number


def processors(quota: Path = QUOTA) -> int:
    """Return how many processors this process may run on, or how many its quota is worth, if that is less."""
    allowed = len(os.sched_getaffinity(0))
    try:
        most, period = quota.read_text(encoding="ascii").split()
        return max(1, min(allowed, math.ceil(int(most) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # there is none, or it is `max`
        return allowed
