"""A cache with the wire cache in front of it, and a clock that is turned by hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from kubedns.metrics import Count
from kubedns.plugin.contract import ServerBlock
from kubedns.server.chain import link_chain
from kubedns.server.dispatch import Dispatcher, Served
from kubedns.server.stepping import Stepper
from kubedns.server.wirecache import WireCache
from plugins.cache import Cache
from plugins.cache.options import read_options
from plugins.cache.store import Store
from tests.plugins.cache.caching import ports
from tests.plugins.helpers import directive
from tests.wire.asking import UDP

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubedns.plugin.contract import Plugin
    from kubedns.wire.client import Peer


class Side:
    """A dispatcher with a cache, with a wire cache in front of it or without."""

    def __init__(
        self,
        line: str,
        stepper: Stepper,
        upstream: Any,
        *,
        kind: type[Cache] = Cache,
        entries: int = 1024,
        before: tuple[tuple[str, Plugin], ...] = (),
        denials: bool = True,
    ) -> None:
        options = read_options(directive(line), ServerBlock((".",)))
        self.now = 1000.0
        store = Store(entries, entries)
        self.cache = kind(options, store, (f"dns://:{next(ports)}",), lambda: self.now)
        self.upstream = upstream
        self.wirecache = WireCache()
        chain = link_chain([*before, ("cache", self.cache), ("upstream", upstream)])
        served = [Served(".", chain, (), cacheable=True, denials=denials)]
        self.dispatcher = Dispatcher("dns://:53", served, stepper, any_class=True, wirecache=self.wirecache)

    def get(self, datagram: bytes, now: float, client: Peer = UDP) -> bytes | None:
        return self.dispatcher.ready(client.transport).ipv4(datagram, now)

    def answer(self, datagram: bytes, client: Peer = UDP) -> object:
        return self.dispatcher.answer(datagram, client, self.now)

    def counts(self) -> dict[str, int]:
        """Return all that the cache counts."""
        self.wirecache.fold()
        counters = self.cache.listeners[0].counters
        single = {
            name: value.value for name in counters.__slots__ if isinstance(value := getattr(counters, name), Count)
        }
        return single | {kind: count.value for kind, count in counters.hits.items()} | {"asked": self.upstream.asked}


def beside_the_loop(asked: Callable[[Stepper], None]) -> None:
    """Call a function while a loop runs, from no task."""
    failures: list[BaseException] = []

    def call(stepper: Stepper) -> None:
        try:
            asked(stepper)
        except BaseException as error:  # noqa: BLE001 - a callback's exceptions go nowhere
            failures.append(error)

    async def told() -> None:
        stepper = Stepper(asyncio.get_running_loop())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(call, stepper)
        await asyncio.sleep(0)
        stepper.close()

    asyncio.run(told())
    for error in failures:
        raise error
