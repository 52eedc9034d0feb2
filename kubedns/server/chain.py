"""Plugins in order, as one callable: each is handed the way to the next. And the straight road through them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kubedns.plugin.contract import ResolveError
from kubedns.plugin.straight import Asks, HearsFailures, Straight

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from kubedns.plugin.contract import Next, Plugin
    from kubedns.plugin.straight import Waiter
    from kubedns.wire.query import Query
    from kubedns.wire.reply import Reply

    Before = Callable[[Query], Reply | None]
    After = Callable[[Query, Reply], Reply]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A plugin's place on the straight road.

    `rest` is the coroutine of that plugin and all behind it. `afters` are what a reply from here passes on its way
    back, `failures` who hears that there is none: the plugins in front, the nearest first. `ask` is how the plugin
    asks others, None where it does not.
    """

    rest: Next
    afters: tuple[After, ...] = ()
    failures: tuple[Callable[[Query, ResolveError], None], ...] = ()
    ask: Callable[[Query, Waiter], None] | None = None

    def back(self, query: Query, reply: Reply) -> Reply:
        """Return what a reply from here has become when it has passed the plugins in front."""
        for after in self.afters:
            reply = after(query, reply)
        return reply


class Chain:
    """A server block's plugins, first to last.

    `steps` are the plugins that may answer without waiting, `last` is where they end: at a plugin that asks others, at
    one that is a coroutine, or at the chain's end. `whole` is the way without steps.
    """

    __slots__ = ("last", "steps", "whole")

    def __init__(self, plugins: Sequence[tuple[str, Plugin]]) -> None:
        """There is one at least."""
        rests = [_end(plugins[-1][0])]
        for _, plugin in reversed(plugins):
            rests.insert(0, _link(plugin, rests[0]))
        step = self.whole = Step(rests[0])
        steps: list[tuple[Before, Step]] = []
        for (_, plugin), behind in zip(plugins, rests[1:], strict=True):
            if not isinstance(plugin, Straight):
                step = replace(step, ask=plugin.ask if isinstance(plugin, Asks) else None)
                break
            if _has_own(plugin, "before"):
                steps.append((plugin.before, step))
            if _has_own(plugin, "after"):
                step = replace(step, afters=(plugin.after, *step.afters))
            if isinstance(plugin, HearsFailures):
                step = replace(step, failures=(plugin.failed, *step.failures))
            step = replace(step, rest=behind)
        self.steps, self.last = tuple(steps), step

    def __call__(self, query: Query) -> Awaitable[Reply]:
        """Ask all plugins, as a coroutine."""
        return self.whole.rest(query)


def link_chain(plugins: Sequence[tuple[str, Plugin]]) -> Chain | None:
    """Return what resolves a query by the named plugins, first to last; None where there is none."""
    return Chain(plugins) if plugins else None


def _has_own(plugin: Straight, method: str) -> bool:
    return getattr(type(plugin), method) is not getattr(Straight, method)


def _link(plugin: Plugin, pass_on: Next) -> Next:
    resolve = plugin.resolve

    def ask(query: Query) -> Awaitable[Reply]:
        return resolve(query, pass_on)

    return ask


def _end(last: str) -> Next:
    async def refuse(_: Query) -> Reply:
        raise ResolveError(f"plugin/{last}: no next plugin found")

    return refuse
