"""Start, reload, stop: configurations come and go, sockets whose address stays are kept."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from functools import partial
from typing import TYPE_CHECKING, Any

from kubedns import log, metrics
from kubedns.listeners.sockets import open_sockets
from kubedns.listeners.tcp import ConnectionLimit, TcpListener
from kubedns.listeners.udp import UdpListener
from kubedns.plugin.contract import Begins, Observes, Relays, Role, StartError, Starts
from kubedns.server import parts
from kubedns.server.dispatch import Dispatcher
from kubedns.server.listener_metrics import listener_families
from kubedns.server.others import Alone
from kubedns.server.stepping import Stepper
from kubedns.server.wirecache import WireCache
from kubedns.slices import in_slices

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from kubedns.server.configuration import Address, Configuration, Group

    # Makes a configuration, given what the one before kept to share; raises CorefileErrors.
    Configure = Callable[[Mapping[Any, Any]], Awaitable[Configuration]]

# Objects more than went, young collections, middle collections. A collection holds every answer up, for 1 to 2 us an
# object: 50,000 young ones took 30 to 108 ms. What the caches hold takes 330 ms, and is hardly ever looked at.
RELOADS = 32  # of so many, one has all that was kept before gone through for cycles
COLLECTOR_THRESHOLDS = (2_000, 100_000, 100)
DRAIN = 5.0  # seconds that queries in flight have once their listener takes no more
DRAIN_OLD = 10.0  # seconds that they have until the plugins of a configuration that was replaced are stopped


class Server:
    """One process's configuration and its listeners."""

    def __init__(self, others: Alone | None = None) -> None:
        """Nothing is read or opened yet; `others` are processes that switch and stop together with this one."""
        self._others = others or Alone()
        self._listeners: dict[Address, tuple[UdpListener, TcpListener]] = {}
        self._stepper: Stepper | None = None
        self._connections = ConnectionLimit()
        self._reloading = asyncio.Lock()
        self._stopping = False
        self._counters = metrics.Folded(lambda: listener_families(lambda: self._listeners))
        self._lingering: asyncio.Task[list[Exception]] | None = None
        self._wirecache: WireCache | None = None
        self._starting: asyncio.Task[None] | None = None  # of a part of a configuration that is to replace another
        self._retiring: dict[asyncio.Task[None], Stepper] = {}  # of configurations whose last queries wait
        self.configuration: Configuration | None = None
        self._tried = 0  # configurations

    async def start(self, configure: Configure) -> Configuration:
        """Configure, start plugins, open sockets, serve; raises CorefileErrors, ListenError, what a plugin raised."""
        metrics.registry.register(self._counters)
        async with self._reloading:
            return await self._take_up(configure)

    async def reload(self, configure: Configure) -> Configuration:
        """Switch to another configuration; whatever goes wrong is raised and the old one goes on."""
        async with self._reloading:
            if self._stopping:
                raise StartError("the server stops")
            return await self._take_up(configure)

    def give_up(self) -> None:
        """Wait no longer for the start of a part of a configuration that is to replace another."""
        if self._starting is not None:
            self._starting.cancel()

    async def close(self) -> None:
        """Wait for the plugins that linger; then take no more queries, answer those in flight, close every socket."""
        await self.linger()
        async with self._reloading:
            listeners = [one for pair in self._listeners.values() for one in pair]
        await asyncio.gather(self._others.stop(drain=True), *(one.drain(DRAIN) for one in listeners))
        for one in listeners:
            one.close()

    async def stop_plugins(self) -> list[Exception]:
        """Wait for the plugins that linger, stop all and what they share; return what went wrong."""
        failed = list(await self.linger())
        async with self._reloading:
            configuration, self.configuration = self.configuration, None
        for stepper in self._retiring.values():
            stepper.give_up()
        await asyncio.gather(*self._retiring)
        failed += _elsewhere(await self._others.stop(drain=False))
        if configuration is not None:
            failed += await parts.stop(configuration.parts)
        if self._stepper is not None:
            self._stepper.close()
            metrics.registry.unregister(self._counters)
            self._stepper = None
        return failed

    async def linger(self) -> list[Exception]:
        """Let every plugin linger, one after the other and each once, whatever number of signals come."""
        self._stopping = True  # from here on no other configuration takes this one's place
        self.give_up()
        if self._lingering is None:
            lingering = [] if self.configuration is None else self.configuration.parts
            self._lingering = asyncio.get_running_loop().create_task(self._linger(lingering))
        return await asyncio.shield(self._lingering)

    async def _linger(self, lingering: list[Any]) -> list[Exception]:
        failed, elsewhere = await asyncio.gather(parts.linger(lingering), self._others.linger())
        return failed + _elsewhere(elsewhere)

    async def _take_up(self, configure: Configure) -> Configuration:
        """Replace the configuration; have what that leaves collected once neither it nor an error is referred to."""
        gc.freeze()  # what is cached need not be gone through
        dropped = False
        try:
            new, dropped = await self._replace(configure, self.configuration)
        finally:
            self._tried += 1
            forked = self.configuration is not None and self.configuration.role is Role.WORKER
            settle = partial(settle_collector, whole=dropped or self._tried % RELOADS == 1, forked=forked)
            asyncio.get_running_loop().call_soon(settle)
        return new

    async def _replace(self, configure: Configure, old: Configuration | None) -> tuple[Configuration, bool]:
        """Return the new one, and whether a cluster's index went with the old one."""
        new = await configure({} if old is None else old.shared.kept)
        if old is not None and self._stopping:
            raise StartError("the server stops")
        kept = [] if old is None else old.parts
        started: list[Any] = []
        opened: dict[Address, tuple[UdpListener, TcpListener]] = {}
        try:
            self._others.follow(new)
            for part in parts.without(new.parts, kept):
                if isinstance(part, Starts):
                    await self._start(part, new, started, replaces=old is not None)
                else:
                    started.append(part)
            for address in _answered_here(new).keys() - self._listeners.keys():
                opened[address] = self._open(address)
            own = {address: (tcp.sock, *udp.socks) for address, (udp, tcp) in self._listeners.items()}
            await self._others.prepare(new, own)
        except BaseException:
            _close(opened.values())
            await self._others.abandon(old)
            await parts.stop(started)
            raise
        gc.freeze()  # nor what is there to stay
        stepper = self._stepper
        await self._switch(new, opened)
        if stepper is not None and old is not None:
            await self._retire(stepper, old, parts.without(kept, new.parts))
        new.shared.previous.clear()
        before = [] if old is None else parts.without(old.shared.kept.values(), list(new.shared.kept.values()))
        return new, any(isinstance(value, Relays) for value in before)

    async def _start(self, part: object, new: Configuration, started: list[Any], *, replaces: bool) -> None:
        """Start a part and add it to those that are; StartError where the server is to stop instead of reloading."""
        starting = asyncio.get_running_loop().create_task(parts.start(part, new.plugins))
        self._starting = starting if replaces else None
        try:
            await asyncio.wait({starting})
        except asyncio.CancelledError:
            starting.cancel()
            await asyncio.wait({starting})
            raise
        finally:
            self._starting = None
        if not starting.cancelled() and starting.exception() is None:
            started.append(part)
        if replaces and (self._stopping or starting.cancelled()):
            raise StartError("the server stops" if self._stopping else "it was given up")
        starting.result()

    async def _retire(self, stepper: Stepper, old: Configuration, leaving: list[Any]) -> None:
        """Stop what the new configuration does not share, once the queries that came to the old one are answered."""

        async def stop() -> None:
            await parts.stop(leaving)
            for plugins in old.blocks:  # they hold each other
                plugins.clear()

        stepper.close()
        if not stepper.busy:
            await stop()
            return

        async def stop_later() -> None:
            await stepper.drain(DRAIN_OLD)
            await stop()

        task = asyncio.get_running_loop().create_task(stop_later())
        self._retiring[task] = stepper
        task.add_done_callback(self._retiring.pop)

    async def _switch(self, new: Configuration, opened: dict[Address, tuple[UdpListener, TcpListener]]) -> None:
        """From one turn of the loop to the next, every listener answers by the new configuration."""
        self._listeners |= opened
        gone = [self._listeners.pop(address) for address in self._listeners.keys() - _answered_here(new).keys()]
        self._stepper = Stepper(asyncio.get_running_loop())
        wirecache, before = WireCache(), self._wirecache
        self._wirecache = wirecache
        metrics.fold()  # what the one before has not told yet
        metrics.fold_first[self] = wirecache.fold
        observers = [plugin for _, plugin in new.plugins if isinstance(plugin, Observes)][:1]
        for address, listeners in self._listeners.items():
            group = new.groups[address]
            dispatcher = Dispatcher(
                str(address),
                group.served,
                self._stepper,
                any_class=group.any_class,
                observers=observers,
                wirecache=wirecache,
            )
            udp, tcp = listeners
            udp.answer, udp.ready = dispatcher.answer, dispatcher.ready("udp")
            tcp.answer, tcp.ready = dispatcher.answer, dispatcher.ready("tcp")
        for part in new.parts:
            if isinstance(part, Begins):
                part.begin()
        log.output.debug = new.debug
        self.configuration = new
        for udp, tcp in opened.values():
            udp.start()
            await tcp.start()
        await self._others.switch(new)
        if before is not None:
            await in_slices(before.emptying())
        await asyncio.gather(*(listener.drain(DRAIN) for pair in gone for listener in pair))
        _close(gone)

    def _open(self, address: Address) -> tuple[UdpListener, TcpListener]:
        tcp, *udp = self._others.sockets(address) or open_sockets(
            address.host, address.port, one_family=address.one_family
        )
        return UdpListener(udp, _silence), TcpListener(tcp, _silence, limit=self._connections)


def settle_collector(*, whole: bool, forked: bool) -> None:
    """Keep the garbage collector from what lives long, and make it rare: hardly anything here is in a cycle.

    By its own thresholds it went through all kept replies every few thousand queries: 20 us for each new reply. The
    `whole`, what was kept before included, takes 30 to 300 ms, in which nothing is answered: it is worth that where
    a cluster's index was let go; what a reload leaves in cycles otherwise is some 5 KB. What a forked process shares
    with its parent stays as it is: to look at it is to copy it.
    """
    if whole and not forked:
        gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def _silence(_datagram: bytes, _client: object, _now: float) -> None:
    """What a listener answers between being opened and being switched to: it has not started to read."""


def _answered_here(configuration: Configuration) -> Mapping[Address, Group]:
    """Return what this process is to listen to: a supervisor leaves it to its workers."""
    return {} if configuration.role is Role.SUPERVISOR else configuration.groups


def _elsewhere(failed: int) -> list[Exception]:
    """Return the exceptions of other processes, which have logged them."""
    return [RuntimeError("a plugin failed in a worker")] * failed


def _close(pairs: Iterable[tuple[UdpListener, TcpListener]]) -> None:
    for pair in pairs:
        for listener in pair:
            with contextlib.suppress(OSError):
                listener.close()
