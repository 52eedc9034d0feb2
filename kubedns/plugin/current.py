"""Which plugins of a kind are in service: what is exposed of plugins is of these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubedns.plugin.contract import Shared

Of = TypeVar("Of")


class Current(Generic[Of]):
    """The plugins of one configuration, in the order in which they began."""

    def __init__(self) -> None:
        self._plugins: dict[Of, Shared] = {}

    def begin(self, plugin: Of, configuration: Shared) -> None:
        """Add a plugin; the first of another configuration takes the place of all before.

        `configuration` is what the plugin's block shares. Plugins of the one before may have queries to answer yet.
        """
        for other in [other for other, theirs in self._plugins.items() if theirs is not configuration]:
            del self._plugins[other]
        self._plugins[plugin] = configuration

    def stop(self, plugin: Of) -> None:
        self._plugins.pop(plugin, None)

    @property
    def configuration(self) -> Shared | None:
        """What the plugins share; None where there are none."""
        return next(iter(self._plugins.values()), None)

    def __iter__(self) -> Iterator[Of]:
        yield from list(self._plugins)
