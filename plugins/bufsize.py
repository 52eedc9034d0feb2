"""bufsize [SIZE]: lower the size of UDP messages that clients ask for (docs/plugins/bufsize.md)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kubedns.corefile import readers
from kubedns.corefile.numbers import NumberError, parse_integer
from kubedns.plugin.straight import Straight

if TYPE_CHECKING:
    from kubedns.corefile.values import Directive, Use
    from kubedns.plugin.contract import ServerBlock
    from kubedns.wire.query import Query

DEFAULT = 1232  # octets: what goes through every network in one piece (DNS flag day 2020)
SIZES = range(512, 4097)
CURE = "write a number of octets from 512 to 4096, as in: bufsize 1232"


def setup(directive: Directive, _: ServerBlock) -> BufSize:
    """Return the plugin with the size of the last line."""
    directive.refuse_block()
    return BufSize([_size(use) for use in directive.uses][-1])


def _size(use: Use) -> int:
    """Raise CorefileError for what is no size: with the plugin's name twice, as CoreDNS has it."""
    try:
        size = parse_integer(use.arguments[0].text) if use.arguments else DEFAULT
    except NumberError:
        size = 0
    if len(use.arguments) > 1 or size not in SIZES:
        raise readers.wrong_arguments(use, cure=CURE).prefixed("plugin/bufsize: ")
    return size


class BufSize(Straight):
    """The plugin: what it lowers shows in the reply, too, so that the query itself is changed, not a copy."""

    cacheable = heeds_denials = True

    def __init__(self, size: int) -> None:
        self.size = size

    def before(self, query: Query) -> None:
        """Tell what comes behind of the lower size, and so the client."""
        edns = query.edns
        if edns is not None and edns.size > self.size:
            query.edns = replace(edns, size=self.size)
