"""Plugins in order, as one callable: each is handed the way to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubedns.plugin.contract import ResolveError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from kubedns.plugin.contract import Next, Plugin
    from kubedns.wire.query import Query
    from kubedns.wire.reply import Reply


def link_chain(plugins: Sequence[tuple[str, Plugin]]) -> Next | None:
    """Return what resolves a query by the named plugins, first to last; None where there is none."""
    if not plugins:
        return None
    chain = _end(plugins[-1][0])
    for _, plugin in reversed(plugins):
        chain = _link(plugin, chain)
    return chain


def _link(plugin: Plugin, pass_on: Next) -> Next:
    resolve = plugin.resolve

    def ask(query: Query) -> Awaitable[Reply]:
        return resolve(query, pass_on)

    return ask


def _end(last: str) -> Next:
    async def refuse(_: Query) -> Reply:
        raise ResolveError(f"plugin/{last}: no next plugin found")

    return refuse
