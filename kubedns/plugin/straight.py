"""Plugins that need no coroutine for their part: a query goes from one to the next, and its reply back, by plain calls.

`resolve` says the same in one, for chains in which another plugin has to be a coroutine. The server takes the straight
road for as long as it can: where a plugin has no other than `resolve`, or `before` raises Suspends, a coroutine goes on
from that plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from kubedns.plugin.contract import Next, ResolveError
    from kubedns.wire.query import Query
    from kubedns.wire.reply import Reply


class Suspends(Exception):  # noqa: N818 - no error: it takes longer
    """What `before` and `ask` raise, with nothing done yet, for a query that only `resolve` can say something to."""


class Straight:
    """A plugin that looks at a query before the plugins behind it do, and at the reply when it comes back."""

    def before(self, _query: Query) -> Reply | None:
        """Return a reply; None: the next plugin is asked."""
        return None

    def after(self, _query: Query, reply: Reply) -> Reply:
        """Return what becomes of a reply from behind. It is not asked about a reply of its own."""
        return reply

    async def resolve(self, query: Query, pass_on: Next) -> Reply:
        """As Plugin's."""
        reply = self.before(query)
        return self.after(query, await pass_on(query)) if reply is None else reply


@runtime_checkable
class HearsFailures(Protocol):
    """A Straight plugin that is told of each ResolveError that comes from behind."""

    def failed(self, query: Query, error: ResolveError) -> None:
        """Take notice; the error goes on to the client."""
        ...


class Waiter(Protocol):
    """Who waits for a reply; a future is one."""

    def done(self) -> bool:
        """Tell whether nobody wants to know any more."""

    def set_result(self, reply: Reply, /) -> None:
        """Take the reply."""

    def set_exception(self, error: Exception, /) -> None:
        """Take notice that there will be none."""


@runtime_checkable
class Asks(Protocol):
    """A plugin that answers by asking others, and tells a waiter rather than to keep a coroutine waiting."""

    def ask(self, query: Query, waiter: Waiter) -> None:
        """See to it that the waiter is told, once, after this call has returned; raises Suspends, ResolveError."""
        ...
