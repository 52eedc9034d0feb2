"""What tests of plugins share: directives from Corefile text, queries, the next link of a chain, virtual time."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

from dnslib import DNSRecord
from dnslib.dns import EDNS0

from kubedns.corefile.parse import parse
from kubedns.plugin.contract import ResolveError
from kubedns.wire.client import Peer
from kubedns.wire.query import Query, parse_query
from plugins import ORDER

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from kubedns.corefile.errors import CorefileError
    from kubedns.corefile.values import Directive
    from kubedns.plugin.contract import Next, Plugin
    from kubedns.wire.reply import Reply

Result = TypeVar("Result")

CLIENT = ("192.0.2.7", 40212)
SERVER = ("192.0.2.53", 53)


def directive(text: str, *, also: tuple[str, ...] = ()) -> Directive:
    """Return the directive that `text` names in the block of a Corefile, whose line 2 it starts on."""
    corefile = parse(
        f".:53 {{\n{text}\n}}\n", "Corefile", directives={*ORDER, *also}, environment={}, path=None, warn=print
    )
    assert not corefile.errors, [str(error) for error in corefile.errors]
    (block,) = corefile.blocks
    (found,) = block.directives.values()
    return found


def placed(error: CorefileError) -> str:
    """Return the line and column that an error points at."""
    return f"{error.word.line}:{error.word.column}" if error.word is not None else ""


def query(
    name: str = "example.org.",
    qtype: str = "A",
    *,
    transport: str = "udp",
    remote: tuple[str, int] = CLIENT,
    local: tuple[str, int] = SERVER,
    edns: int | None = None,
    do: bool = False,
    ident: int = 4711,
) -> Query:
    """Return the query in a datagram that a client would send: with RD, and with EDNS if `edns`, a size, says so."""
    record = DNSRecord.question(name, qtype)
    record.header.id = ident
    if edns is not None:
        record.add_ar(EDNS0(udp_len=edns, flags="do" if do else ""))
    return parse_query(bytes(record.pack()), Peer(transport, remote, local))


def answering(reply: Reply) -> Next:
    """Return a next link that gives this reply to everyone."""

    async def answer(_: Query) -> Reply:
        return reply

    return answer


def failing(error: ResolveError) -> Next:
    """Return a next link that finds no answer."""

    async def fail(_: Query) -> Reply:
        raise error

    return fail


async def ask(plugin: Plugin, asked: Query, pass_on: Next) -> Reply | ResolveError:
    """Return what the plugin answers, or the error that it lets through."""
    try:
        return await plugin.resolve(asked, pass_on)
    except ResolveError as error:
        return error


class _Jumping(selectors.DefaultSelector):
    """A selector that never waits: the clock is moved instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += max(timeout or 0.0, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which sleeping takes no time."""

    def __init__(self) -> None:
        self._clock = _Jumping()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on a loop with virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
