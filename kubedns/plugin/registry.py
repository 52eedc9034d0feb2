"""Which plugins there are, and their order: the built-in ones, a folder's and those that packages announce."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from types import ModuleType

ENTRY_POINTS = "kubedns.plugins"
BEFORE = "forward"  # where a plugin comes that does not say after which built-in


class PluginError(Exception):
    """A plugin that can't be loaded; the text says which file, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Registry:
    """`order` names every directive a Corefile may have, first to last; `modules` holds those that can be set up."""

    order: tuple[str, ...]
    modules: Mapping[str, ModuleType]

    @property
    def unsupported(self) -> frozenset[str]:
        """Directives of CoreDNS that have no module here yet."""
        return frozenset(self.order) - self.modules.keys()


def find_plugins(folder: Path | None = None) -> Registry:
    """Return the built-in plugins with those of a folder (`NAME.py` each) and of installed packages.

    Raises PluginError for one that can't be imported, has no `setup`, or takes a name that is taken.
    """
    built_in = importlib.import_module("plugins")
    order: list[str] = list(built_in.ORDER)
    modules = {name: importlib.import_module(f"plugins.{name}") for name in order if _exists(f"plugins.{name}")}
    added: dict[str, ModuleType] = {}
    for name, module in [*_announced(), *_dropped_in(folder)]:
        if name in modules or name in added:
            other = (modules | added)[name].__file__
            raise PluginError(f"plugin {name} of {module.__file__}: there is a plugin of that name in {other}")
        if not callable(getattr(module, "setup", None)):
            raise PluginError(f"plugin {name} of {module.__file__}: has no function setup(directive, block)")
        added[name] = module
    _place_all({name: module for name, module in added.items() if name not in order}, order)
    return Registry(tuple(order), modules | added)


def _place_all(added: Mapping[str, ModuleType], order: list[str]) -> None:
    """Put each name into the order behind the one that its module names, and behind others that name the same."""
    behind: dict[str, str] = {}  # what was put behind a name last
    left = dict(added)
    while left:
        placed = [name for name, module in left.items() if _after(module) in {None, *order}]
        if not placed:
            name, module = next(iter(left.items()))
            text = f"AFTER names {_after(module)!r}, which is no plugin, or comes after this one itself"
            raise PluginError(f"plugin {name} of {module.__file__}: {text}")
        for name in placed:
            after = _after(left.pop(name))
            at = order.index(BEFORE) if after is None else order.index(behind.get(after, after)) + 1
            order.insert(at, name)
            if after is not None:
                behind[after] = name


def _after(module: ModuleType) -> str | None:
    after: str | None = getattr(module, "AFTER", None)
    return after


def _exists(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _announced() -> Iterable[tuple[str, ModuleType]]:
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            yield entry.name, entry.load()
        except Exception as error:
            raise PluginError(f"plugin {entry.name} of {entry.value}: {_what_failed(error)}") from error


def _dropped_in(folder: Path | None) -> Iterable[tuple[str, ModuleType]]:
    if folder is None:
        return
    if not folder.is_dir():
        raise PluginError(f"plugin folder {folder}: is no folder")
    for path in sorted(folder.glob("*.py")):
        if path.stem.startswith("_"):
            continue
        module_name = f"kubedns_dropped_in_{path.stem}"
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise PluginError(f"plugin {path}: is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise PluginError(f"plugin {path}: {_what_failed(error, path)}") from error
        yield path.stem, module


def _what_failed(error: Exception, path: Path | None = None) -> str:
    """Return an exception with the last line of a plugin's own file that it passed through, where that is known."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    place = f" in line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}: {error}{place}"
