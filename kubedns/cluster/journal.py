"""One line for each change of state, however often something is tried: what an operator reads of an API server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from kubedns.cluster.failures import FORBIDDEN, ApiError, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubedns.cluster.resources import Resource

MOST_TEXTS = 200  # about unusable objects; more are only counted
STILL = "what is known stays in service"


class Writes(Protocol):
    """Where lines go: a kubedns.log.Log."""

    def info(self, text: str, /) -> None: ...
    def warning(self, text: str, /) -> None: ...
    def error(self, text: str, /) -> None: ...


class Journal:
    """The state of each resource, and of the way to the server, which they share."""

    def __init__(self, log: Writes, where: Callable[[], str]) -> None:
        """`where` gives the server's URL."""
        self._log = log
        self._where = where
        self._troubles: dict[str, set[str]] = {}  # by resource: kinds of failures told since it was well
        self._since: dict[str, float] = {}
        self._told: set[str] = set()  # about the way to the server, since the last resource got through
        self._texts: set[str] = set()

    def failing(self, resource: Resource, error: ApiError) -> None:
        """Say what is wrong with a resource, unless that has been said since it was last well."""
        kinds = self._troubles.setdefault(resource.name, set())
        self._since.setdefault(resource.name, time.monotonic())
        if error.kind in kinds:
            return
        kinds.add(error.kind)
        if not isinstance(error, Refused):
            if error.kind not in self._told:
                self._told.add(error.kind)
                self._log.error(f"Failed to watch: API server {self._where()}: {error}; {STILL}")
            return
        text = f"Failed to watch {resource.name}: {error}"
        if error.code == FORBIDDEN:
            text += (
                f"; both list and watch of {resource.name} are needed: add to the ClusterRole's rules: {resource.rule}"
            )
        self._log.error(f"{text}; {STILL}")

    def well(self, resource: Resource, late: float = 0.0) -> None:
        """Say that a resource is followed again, `late` seconds after that began; nothing if it never failed."""
        since = self._since.pop(resource.name, None)
        kinds = self._troubles.pop(resource.name, set())
        if since is None:
            return
        self._told -= kinds
        seconds = max(0.0, time.monotonic() - since - late)
        self._log.info(f"watching {resource.name} again after {seconds:.1f} s")

    def unusable(self, text: str) -> None:
        """Say once that something can't be used."""
        if text not in self._texts and len(self._texts) < MOST_TEXTS:
            self._texts.add(text)
            self._log.warning(text)

    def repaired(self, resource: Resource, count: int) -> None:
        self._log.warning(f"self-check: {count} {resource.name} differed from the API server's and were set right")
