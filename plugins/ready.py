"""ready [ADDRESS] { monitor until-ready|continuously }: say over HTTP whether all is there (docs/plugins/ready.md)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from kubedns.corefile import readers
from kubedns.corefile.errors import Kind
from kubedns.httpd import Endpoint, HttpError, HttpListener, Request, Response, read_address
from kubedns.log import plugin_log
from kubedns.plugin.contract import Readies, Role

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from kubedns.corefile.values import Directive, Property
    from kubedns.plugin.contract import ServerBlock, Workers

ADDRESS = ":8181"
NOBODY = frozenset({"multisocket"})  # what is not ready where no process answers queries
MODES = ("until-ready", "continuously")

log = plugin_log("ready")


def setup(directive: Directive, block: ServerBlock) -> Ready:
    """Read the options; the listener and what is known to be ready are shared by all blocks."""
    use = readers.once(directive)
    address = read_address(readers.one_argument(use)) if use.arguments else ADDRESS
    mode = MODES[0]

    def monitor(line: Property) -> None:
        nonlocal mode
        mode = readers.choice(readers.one_argument(line), MODES, "monitor type '{}' not supported", Kind.BARE)

    readers.read_properties(use, {"monitor": monitor})
    listener = block.shared.keep((HttpListener, address), lambda: HttpListener(address))
    readiness = block.shared.keep(Readiness, Readiness)
    return Ready(block, readiness, listener, continuously=mode == "continuously")


class Readiness:
    """Which plugins have to be ready, for the whole process: each by its name, the last block's counts."""

    def __init__(self) -> None:
        self._configuration: object = None
        self._plugins: dict[str, Readies] = {}
        self._ready: set[str] = set()
        self._continuously = False

    @property
    def empty(self) -> bool:
        """Whether no configuration has come yet."""
        return self._configuration is None

    def add(self, configuration: object, plugins: Sequence[tuple[str, Any]], *, continuously: bool) -> None:
        """Ask the plugins of one more block; a new configuration's first one takes the place of all before."""
        if configuration is not self._configuration:
            self._configuration = configuration
            self._plugins.clear()
            self._ready.clear()
        self._plugins |= {name: plugin for name, plugin in plugins if isinstance(plugin, Readies)}
        self._continuously = continuously

    async def missing(self, workers: Workers | None) -> list[str]:
        """Return the names of those that are not ready; who once was is not asked again, unless continuously.

        Plugins whose work is in other processes are asked there.
        """
        unready = None if workers is None else await workers.unready()
        for name, plugin in self._plugins.items():
            if self._continuously or name not in self._ready:
                ready = plugin.ready() if unready is None else name not in unready
                (self._ready.add if ready else self._ready.discard)(name)
        return sorted((self._plugins.keys() - self._ready) | (NOBODY & (unready or frozenset())))


class Ready:
    """A block's share in /ready."""

    def __init__(self, block: ServerBlock, readiness: Readiness, listener: HttpListener, *, continuously: bool) -> None:
        self._block = block
        self._readiness = readiness
        self._continuously = continuously
        self._endpoint = Endpoint(listener, "/ready", self.answer)

    async def start(self) -> None:
        """Listen; an address that is taken is logged and no more, for queries can be answered without."""
        if self._readiness.empty:
            self.begin()
        try:
            await self._endpoint.open()
        except HttpError as error:
            log.error(f"{error}: /ready can't be asked there")

    def begin(self) -> None:
        self._readiness.add(self._block.shared, self._block.plugins, continuously=self._continuously)
        self._endpoint.take_over()

    async def linger(self) -> None:
        """Be asked no more, at once: the cluster is to send its queries elsewhere while we can answer them yet."""
        self._endpoint.close()

    async def stop(self) -> None:
        self._endpoint.close()

    async def answer(self, _: Request) -> Response:
        workers = self._block.workers if self._block.role is Role.SUPERVISOR else None
        missing = ",".join(await self._readiness.missing(workers))
        if not missing:
            return Response(b"OK")
        log.info(f'Plugins not ready: "{missing}"')
        return Response(missing.encode(), HTTPStatus.SERVICE_UNAVAILABLE)
