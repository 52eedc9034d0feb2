"""What a plugin is, and what it is given when the Corefile names it.

A plugin is a module with a function `setup(directive, block)` that returns a `Plugin`, `Settings` for the server,
or an object that is a Plugin and has its Settings as an attribute `settings`. What has no `resolve` is no link of the
chain: it starts, stops, observes. docs/writing-a-plugin.md walks through one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from kubedns.wire.numbers import Rcode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from kubedns.corefile.values import Directive
    from kubedns.wire.query import Query
    from kubedns.wire.reply import Reply

    Next = Callable[[Query], Awaitable[Reply]]
    # Query, RCODE, octets of the reply that a plugin made (0: none did), seconds that it took.
    Observer = Callable[[Query, int, int, float], None]
    # Query, RCODE and octets of a reply that may be given again.
    KeptObserver = Callable[[Query, int, int], "Exchanges"]

Kept = TypeVar("Kept")


class Role(StrEnum):
    """What a process does: all there is to do, or one of the two parts that `multisocket` makes of that."""

    WHOLE = "whole"
    SUPERVISOR = "supervisor"  # follows the cluster, listens to HTTP and signals; answers no queries
    WORKER = "worker"  # answers queries, as do several others


EVERYWHERE = frozenset(Role)


class ResolveError(Exception):
    """A query that can't be answered: the client gets `rcode`, the errors plugin logs the text."""

    def __init__(self, text: str, rcode: Rcode = Rcode.SERVFAIL) -> None:
        """`rcode` is one that comes without records: SERVFAIL, REFUSED, FORMERR, NOTIMP. Empty text is not logged."""
        super().__init__(text)
        self.rcode = rcode


class StartError(Exception):
    """What a plugin raises that can't start; its text is all that the operator is shown."""


class StartLaterError(StartError):
    """Raised where no Corefile is to blame: a reload that ends so is tried again."""


class Plugin(Protocol):
    """A link of a server block's chain.

    One that has an attribute `cacheable` that is True agrees that a reply which passed it is given again without
    asking it, for as long as the reply's validity holds, to whoever sends the same octets. A chain with a link that
    does not agree is asked for each query. One that has `heeds_denials` besides agrees that a reply which `denies` is
    given to other names below the same parent, and that its `siblings` answer them: it takes that away from replies
    where its own names are.
    """

    async def resolve(self, query: Query, pass_on: Next) -> Reply:
        """Answer a query, or return what `await pass_on(query)`, the rest of the chain, answers.

        Raises ResolveError where there is no answer to be had. A Reply may be shared with other queries: never
        change one, make another.
        """
        ...


@runtime_checkable
class Starts(Protocol):
    """A plugin with something to do before the first query: reading, connecting, waiting for a first list."""

    async def start(self) -> None:
        """Return when queries may come; an exception keeps the server, or its new configuration, from starting."""
        ...


@runtime_checkable
class Stops(Protocol):
    """A plugin that has something to let go when its configuration is replaced or the server stops."""

    async def stop(self) -> None:
        """Called once, after the last query; exceptions are logged and go no further."""
        ...


@runtime_checkable
class Begins(Protocol):
    """A plugin that shows something outside of queries, which is its predecessor's until then."""

    def begin(self) -> None:
        """Called in the turn of the loop in which listeners switch to the plugin's configuration; must not fail."""
        ...


@runtime_checkable
class Lingers(Protocol):
    """A plugin that puts the end of the process off, or is to know of it before queries are refused."""

    async def linger(self) -> None:
        """Called once, when a signal ends the process; queries are answered until all plugins have returned.

        One is called when the one before it has returned, in the order in which they were set up.
        """
        ...


@runtime_checkable
class Readies(Protocol):
    """A plugin that may not be ready to answer when the server starts: what /ready asks."""

    def ready(self) -> bool:
        """Tell whether it is, now."""
        ...


@runtime_checkable
class Forwards(Protocol):
    """A plugin that asks other servers."""

    def upstreams(self) -> Sequence[str]:
        """Return whom it asks, as an operator knows them: `10.0.0.1:53`."""
        ...


@runtime_checkable
class Observes(Protocol):
    """A plugin that sees every exchange of its server block; it need not be a link of the chain."""

    def observe(self, server: str, zone: str) -> Observer:
        """Return what is called after each exchange of a zone at a listener (`dns://:53`).

        Exchanges that no server block answered, or that ended in an exception, are those of the zone `dropped`.
        """
        ...


class Exchanges(Protocol):
    """Exchanges that an observer tells from others no more; equal ones count as one (it has a hash)."""

    def add(self, count: int, seconds: float) -> None:
        """Count so many more, which took that long together."""
        ...


@runtime_checkable
class ObservesKept(Observes, Protocol):
    """An observer that need not be told of an exchange at once whose reply was given again without asking a plugin.

    In a server block with another kind of observer no reply is given again in that way.
    """

    def observe_kept(self, server: str, zone: str) -> KeptObserver:
        """Return what is asked once for a reply that is kept; what it returns is added to when somebody looks."""
        ...


@dataclass(frozen=True, slots=True)
class Watching:
    """How often to look whether the Corefile has changed: each `interval`, give or take half of `jitter` (seconds)."""

    interval: float
    jitter: float


@dataclass(frozen=True, slots=True)
class Settings:
    """What a directive asks of the server rather than of queries."""

    addresses: tuple[str, ...] | None = None  # where the block listens; None: every address of both families
    debug: bool = False  # debug lines are logged
    stacktrace: bool = False  # a plugin's exception is logged with its traceback
    watching: Watching | None = None  # the Corefile is followed; of several blocks the last one's counts
    sockets: int | None = None  # for each address, with a process for each; of several blocks the largest counts


@runtime_checkable
class Relays(Protocol):
    """A shared value that the supervisor keeps true, and of which each worker has a replica under the same key."""

    def replica(self) -> Replica:
        """Return an empty replica that can be pickled."""
        ...

    def attach(self, tell: Callable[[bytes], None]) -> None:
        """Tell of each change from now on, in order, in octets that a replica takes."""
        ...

    def detach(self) -> None:
        """Tell of no more."""
        ...

    def contents(self) -> Iterator[bytes]:
        """Yield what fills a replica that takes all changes meanwhile, too; none takes long to make."""
        ...


class Replica(Protocol):
    """What stands for a shared value in another process."""

    def take(self, told: bytes) -> None:
        """Do as the shared value did."""
        ...


class Workers(Protocol):
    """The processes that answer, as a plugin of the supervisor may ask about them."""

    async def unready(self) -> frozenset[str]:
        """Return the names of plugins that are not ready in every worker, `multisocket` if there is no worker."""
        ...


class SetupModule(Protocol):
    """A plugin's module. It may name the built-in plugin that it comes after in every chain as `AFTER`."""

    def setup(self, directive: Directive, block: ServerBlock) -> Plugin | Settings | Starts | Observes:
        """Read the directive's options and do, once, all that no query need wait for; raises CorefileError."""
        ...


@dataclass(slots=True)
class Shared:
    """What plugins keep from one configuration to the next: an index, a pool of connections.

    A value is kept under a key that says all it was made from. What no plugin of a new configuration asks for again
    is stopped after the switch, as a plugin is.
    """

    previous: dict[Any, Any] = field(default_factory=dict)
    kept: dict[Any, Any] = field(default_factory=dict)

    def keep(self, key: Any, make: Callable[[], Kept]) -> Kept:
        """Return the value kept under that key, else make it."""
        if key not in self.kept:
            self.kept[key] = self.previous[key] if key in self.previous else make()
        value: Kept = self.kept[key]
        return value


@dataclass(slots=True)
class ServerBlock:
    """The server block that a plugin is set up for.

    `zones` are the block's keys as absolute lower-case text, CIDR keys expanded; `root` is where relative file names
    start; `bound` says that a `bind` directive stands in the block. `plugins` are the block's own by name, in order;
    they are all there when the first one is started, not before. `listens` is the first host (empty: every address) and
    port that the block is served at, and `servers` all its listeners (`dns://:53`), for plugins behind `bind`.
    `directives` are the block's own in the order in which plugins see a query.
    """

    zones: tuple[str, ...]
    shared: Shared = field(default_factory=Shared)
    root: Path = Path()
    manifests: Path | None = None
    bound: bool = False
    plugins: Sequence[tuple[str, Any]] = ()
    listens: tuple[str, int] = ("", 53)
    servers: tuple[str, ...] = ()
    directives: Sequence[Directive] = ()
    role: Role = Role.WHOLE
    workers: Workers | None = None
    secret: bytes = b""
