"""The Corefile, read at the start and again for each reload, and what it makes a configuration of."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubedns import log
from kubedns.corefile.errors import CorefileError, CorefileErrors
from kubedns.corefile.find import BUILT_IN, DEFAULT_NAME, FindError, Found, find_corefile
from kubedns.corefile.find import STDIN as STDIN_PATH
from kubedns.corefile.parse import parse
from kubedns.server.configuration import Configuration, Setting, configuring
from kubedns.slices import made_in_slices

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kubedns.corefile.values import Corefile

STDIN = "stdin"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A Corefile's text, parsed; nothing is set up yet. `warnings` are of imports that found nothing."""

    found: Found
    corefile: Corefile
    warnings: tuple[str, ...] = ()

    @property
    def path(self) -> Path | None:
        """Where its file is; None for what can't change."""
        return None if self.found.path == STDIN_PATH else self.found.path

    @property
    def fingerprint(self) -> str:
        return self.corefile.fingerprint

    @property
    def empty(self) -> bool:
        """Whether there is no server block, and no mistake that could be why."""
        return not self.corefile.blocks and not self.corefile.errors


class Loader:
    """Reads what the flag -conf names."""

    def __init__(self, conf: str | None, setting: Setting) -> None:
        """`conf` is a path, `stdin`, or None for ./Corefile if it is there."""
        self._conf = conf
        self._setting = setting
        self._stdin: Found | None = None
        self._built_in = False

    @property
    def lasting(self) -> bool:
        """Whether there is nothing to read again: the built-in Corefile took the place of a missing one."""
        return self._built_in and self._conf is None

    def first(self) -> Loaded:
        """Read what is there at the start; without a server block the built-in one is served. Raises FindError."""
        loaded = self._parse(self._find())
        if loaded.empty:
            loaded = self._parse(BUILT_IN)
        self._built_in = loaded.found.built_in
        return loaded

    def again(self) -> Loaded:
        """Read what is there now; may be called in a thread. Raises FindError, also for what was there and is not."""
        found = self._find()
        if found.built_in and not self._built_in:
            raise FindError(f"loading Caddyfile via default: open {DEFAULT_NAME}: no such file or directory")
        loaded = self._parse(found)
        return self._parse(BUILT_IN) if loaded.empty and self._built_in else loaded

    async def configure(self, loaded: Loaded, previous: Mapping[Any, Any]) -> Configuration:
        """Set up what was read, while queries are answered; raises CorefileErrors. `previous`: see configuring()."""
        for warning in loaded.warnings:
            log.server_log.warning(warning)
        if loaded.empty:
            cure = "the configuration before this one goes on; to serve nothing, stop the server"
            raise CorefileErrors([CorefileError(f"{loaded.found.name}: no server block in it", None, cure)])
        configuration = await made_in_slices(configuring(loaded.corefile, self._setting, previous))
        self._built_in = loaded.found.built_in
        return configuration

    def _find(self) -> Found:
        """Standard input comes but once: what it held is kept."""
        if self._conf != STDIN:
            return find_corefile(self._conf)
        if self._stdin is None:
            self._stdin = find_corefile(self._conf)
        return self._stdin

    def _parse(self, found: Found) -> Loaded:
        registry = self._setting.registry
        warnings: list[str] = []
        corefile = parse(
            found.text,
            found.name,
            directives=registry.order,
            unsupported=registry.unsupported,
            environment=os.environ,
            path=found.path,
            warn=warnings.append,
        )
        return Loaded(found, corefile, tuple(warnings))
