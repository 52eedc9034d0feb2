"""Start, reload, stop: configurations come and go, sockets whose address stays are kept."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import traceback
from typing import TYPE_CHECKING, Any

from kubedns import log, metrics
from kubedns.listeners.sockets import open_tcp, open_udp
from kubedns.listeners.tcp import ConnectionLimit, TcpListener
from kubedns.listeners.udp import UdpListener
from kubedns.plugin.contract import Begins, Lingers, Observes, StartError, Starts, Stops
from kubedns.server.dispatch import Dispatcher
from kubedns.server.listener_metrics import listener_families
from kubedns.server.stepping import Stepper
from kubedns.server.wirecache import WireCache

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from kubedns.server.configuration import Address, Configuration

    # Makes a configuration, given what the one before kept to share; raises CorefileErrors.
    Configure = Callable[[Mapping[Any, Any]], Configuration]

COLLECTOR_THRESHOLDS = (50_000, 20, 100)  # objects more than went, young collections, middle collections
LINGERING = "lingering"
MOST_STOPPING = 5.0  # seconds that a plugin has to stop
DRAIN = 5.0  # seconds that queries in flight have once their listener takes no more


class Server:
    """One process's configuration and its listeners."""

    def __init__(self) -> None:
        """Nothing is read or opened yet."""
        self._listeners: dict[Address, tuple[UdpListener, TcpListener]] = {}
        self._stepper: Stepper | None = None
        self._connections = ConnectionLimit()
        self._reloading = asyncio.Lock()
        self._stopping = False
        self._counters = metrics.Folded(lambda: listener_families(lambda: self._listeners))
        self._lingering: asyncio.Task[list[Exception]] | None = None
        self.configuration: Configuration | None = None

    async def start(self, configure: Configure) -> Configuration:
        """Configure, start plugins, open sockets, serve; raises CorefileErrors, ListenError, what a plugin raised."""
        self._stepper = Stepper(asyncio.get_running_loop())
        metrics.registry.register(self._counters)
        async with self._reloading:
            return await self._replace(configure, None)

    async def reload(self, configure: Configure) -> Configuration:
        """Switch to another configuration; whatever goes wrong is raised and the old one goes on."""
        async with self._reloading:
            if self._stopping:
                raise StartError("the server stops")
            return await self._replace(configure, self.configuration)

    async def close(self) -> None:
        """Wait for the plugins that linger; then take no more queries, answer those in flight, close every socket."""
        await self._linger()
        self._stopping = True
        async with self._reloading:
            listeners = [one for pair in self._listeners.values() for one in pair]
            self._listeners = {}
        await asyncio.gather(*(one.drain(DRAIN) for one in listeners))
        for one in listeners:
            one.close()

    async def stop_plugins(self) -> list[Exception]:
        """Wait for the plugins that linger, stop all and what they share; return what went wrong."""
        failed = list(await self._linger())
        self._stopping = True
        async with self._reloading:
            configuration, self.configuration = self.configuration, None
        if configuration is not None:
            failed += await _stop(_parts(configuration))
        if self._stepper is not None:
            self._stepper.close()
            metrics.registry.unregister(self._counters)
            metrics.fold_first.pop(self, None)
            self._stepper = None
        return failed

    async def _linger(self) -> list[Exception]:
        """Let every plugin linger, all at a time and each once, whatever number of signals come."""
        if self._lingering is None:
            parts = () if self.configuration is None else _parts(self.configuration)
            work = [_attempt(LINGERING, part, part.linger) for part in parts if isinstance(part, Lingers)]
            self._lingering = asyncio.get_running_loop().create_task(_gather(work))
        return await asyncio.shield(self._lingering)

    async def _replace(self, configure: Configure, old: Configuration | None) -> Configuration:
        new = configure({} if old is None else old.shared.kept)
        kept = [] if old is None else list(_parts(old))
        started: list[Any] = []
        opened: dict[Address, tuple[UdpListener, TcpListener]] = {}
        try:
            for part in _parts(new):
                if not _among(part, kept):
                    await _start(part, new)
                    started.append(part)
            for address in new.groups.keys() - self._listeners.keys():
                opened[address] = self._open(address)
        except BaseException:
            _close(opened.values())
            await _stop(started)
            raise
        await self._switch(new, opened)
        parts = list(_parts(new))
        await _stop([part for part in kept if not _among(part, parts)])
        new.shared.previous.clear()
        settle_collector()
        return new

    async def _switch(self, new: Configuration, opened: dict[Address, tuple[UdpListener, TcpListener]]) -> None:
        """From one turn of the loop to the next, every listener answers by the new configuration."""
        self._listeners |= opened
        gone = [self._listeners.pop(address) for address in self._listeners.keys() - new.groups.keys()]
        assert self._stepper is not None  # noqa: S101 - made by start()
        wirecache = WireCache()
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
        for part in _parts(new):
            if isinstance(part, Begins):
                part.begin()
        for udp, tcp in opened.values():
            udp.start()
            await tcp.start()
        log.output.debug = new.debug
        self.configuration = new
        await asyncio.gather(*(listener.drain(DRAIN) for pair in gone for listener in pair))
        _close(gone)

    def _open(self, address: Address) -> tuple[UdpListener, TcpListener]:
        """Open TCP before UDP, as CoreDNS does, so that errors come in its order."""
        tcp = open_tcp(address.host, address.port)
        try:
            udp = open_udp(address.host, address.port)
        except OSError:
            tcp.close()
            raise
        return UdpListener(udp, _silence), TcpListener(tcp, _silence, limit=self._connections)


def settle_collector() -> None:
    """Keep the garbage collector from what lives long, and make it rare: hardly anything here is in a cycle.

    By its own thresholds it went through all kept replies every few thousand queries: 20 us for each new reply.
    """
    gc.unfreeze()  # what the configuration before was made of
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def _silence(_datagram: bytes, _client: object, _now: float) -> None:
    """What a listener answers between being opened and being switched to: it has not started to read."""


def _parts(configuration: Configuration) -> Iterable[Any]:
    """Yield the shared values of a configuration, then its plugins in order."""
    yield from configuration.shared.kept.values()
    for _, plugin in configuration.plugins:
        yield plugin


def _among(part: Any, parts: Iterable[Any]) -> bool:
    return any(part is other for other in parts)


async def _start(part: object, configuration: Configuration) -> None:
    """Start a part that can be. What it raises comes out as StartError or OSError, which an operator can read."""
    if not isinstance(part, Starts):
        return
    try:
        await part.start()
    except (StartError, OSError):
        raise
    except Exception as error:
        name = next((f"plugin/{name}" for name, plugin in configuration.plugins if plugin is part), type(part).__name__)
        where = "".join(traceback.format_exception(error)).rstrip()
        raise StartError(f"{name}: start: {type(error).__name__}: {error}\n{where}") from error


async def _stop(parts: Iterable[Any]) -> list[Exception]:
    """Stop each part that can be; return the exceptions, logged."""
    return [error for part in parts if isinstance(part, Stops) for error in await _attempt("stopping", part, part.stop)]


async def _gather(work: Iterable[Awaitable[list[Exception]]]) -> list[Exception]:
    return [error for failed in await asyncio.gather(*work) for error in failed]


async def _attempt(doing: str, part: object, call: Callable[[], Awaitable[None]]) -> list[Exception]:
    """Return the exception of a plugin's call, logged: one that fails must not keep the others from it."""
    try:
        async with asyncio.timeout(None if doing == LINGERING else MOST_STOPPING):
            await call()
    except TimeoutError as error:
        log.server_log.error(f"{doing} {type(part).__name__} takes longer than {MOST_STOPPING:.0f} s: left behind")
        return [error]
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # The plugin awaited a task that it had cancelled itself: the commonest way to stop one.
    except Exception as error:  # noqa: BLE001 - as above
        log.server_log.error(f"{doing} {type(part).__name__}: {type(error).__name__}: {error}")
        return [error]
    return []


def _close(pairs: Iterable[tuple[UdpListener, TcpListener]]) -> None:
    for pair in pairs:
        for listener in pair:
            with contextlib.suppress(OSError):
                listener.close()
