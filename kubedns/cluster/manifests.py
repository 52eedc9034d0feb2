"""Kubernetes objects from files, kept as the files are: the Index's source where there is no API server.

Rules of this file:

- What a file held stays in service until the whole of it has been read anew: a file that is broken, or cut short, or
  empty because something is about to be written to it, changes nothing but a line in the log.
- Nothing holds the loop for more than a slice of time (kubedns.watch), whatever the size of a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kubedns.cluster.child import read_in_child
from kubedns.cluster.derive import Candidates, derive_slices
from kubedns.cluster.objects import kind_of_object
from kubedns.cluster.reading import (
    Contents,
    Filters,
    ManifestError,
    batches,
    implied_namespace,
    is_json,
    read_octets,
)
from kubedns.slices import in_slices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kubedns.cluster.derive import Candidate, Rule
    from kubedns.cluster.index import Index
    from kubedns.cluster.objects import Kind, Object

POLL = 0.4  # seconds between two looks at the files: each wakes an idle process up, for a third of a millisecond
SETTLED = 0.05  # seconds without a change before a file is read: something may still be writing it
MOST_FILES = 2000
DEEPEST_FOLDER = 16
LARGEST_YAML, LARGEST_JSON = 1 << 20, 25 << 20  # octets of a file that is read in this process
YAML_PACE, JSON_PACE = 0.2, 0.03  # seconds a MB on a core of its own, for what operators are told
SUFFIXES = (".yaml", ".yml", ".json")
_COMPLAINTS_SHOWN = 5
_KINDS: tuple[Kind, ...] = ("Namespace", "Service", "EndpointSlice", "Pod")
_KEPT = "what was read before stays in service"

Signature = tuple[int, int, int, int]  # device, inode, octets, nanoseconds of the last change
ObjectKey = tuple["Kind", str, str]


@dataclass(slots=True)
class _File:
    """What one file holds, all batches of it; `signature` None asks for it to be read again."""

    signature: Signature | None = None
    error: str = ""
    objects: dict[ObjectKey, Object] = field(default_factory=dict)
    rules: dict[tuple[str, str], Rule] = field(default_factory=dict)
    candidates: dict[tuple[str, str], Candidate] = field(default_factory=dict)
    declared: set[str] = field(default_factory=set)
    mentioned: set[str] = field(default_factory=set)
    sliced: set[tuple[str, str]] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    unaddressed: list[str] = field(default_factory=list)
    known: int = 0

    def add(self, contents: Contents) -> None:
        for objects in (contents.namespaces, contents.services, contents.slices, contents.pods):
            for value in objects:
                self.objects[kind_of_object(value), value.namespace, value.name] = value
        self.rules.update({(rule.namespace, rule.service): rule for rule in contents.rules})
        self.candidates.update({(pod.namespace, pod.name): pod for pod in contents.candidates})
        self.declared |= contents.declared
        self.mentioned |= contents.mentioned
        self.sliced |= contents.sliced
        self.complaints += contents.complaints
        self.unaddressed += contents.unaddressed
        self.known += contents.known


class ManifestSource:
    """Feeds an Index from a file, or from the .yaml, .yml and .json files of a folder and the folders in it.

    Where two files hold the same object, the later one by path counts. `log` gets a line for each thing that an
    operator should know; `unusable` counts the objects left out.
    """

    def __init__(
        self, path: str | os.PathLike[str], index: Index, log: Callable[[str], None], filters: Filters | None = None
    ) -> None:
        self.path = os.fspath(path)
        self.unusable = 0
        self._index = index
        self._log = log
        self._filters = filters or Filters()
        self._files: dict[str, _File] = {}
        self._error = ""

    def load(self) -> None:
        """Read everything once, in one go; raises ManifestError at the first file that can't be read."""
        for path in list_files(self.path):
            file = self._files[path] = _File()
            for contents in self._contents(path, file):
                file.add(contents)
            self._tell(path, file)
        for _ in self._reconciling():
            pass
        self._index.mark_synced()
        self._tell_if_empty()

    async def start(self) -> None:
        """Do as load, but a slice at a time and large files in a child process, while something else is served."""
        for path in list_files(self.path):
            self._files[path] = await self._read(path)
            self._tell(path, self._files[path])
        await in_slices(self._reconciling())
        self._index.mark_synced()
        self._tell_if_empty()

    async def watch(self) -> None:
        """Follow the files until cancelled; whatever is wrong with them is logged, once for each state of a file."""
        while True:
            await asyncio.sleep(POLL)
            try:
                changed = await self._follow()
            except (ManifestError, OSError) as error:
                if str(error) != self._error:
                    self._log(f"{error}; {_KEPT}")
                self._error = str(error)
                continue
            self._error = ""
            if changed:
                await in_slices(self._reconciling())
                # Where the first reading failed, this is when all has been read.
                if not self._index.synced and not any(file.error for file in self._files.values()):
                    self._index.mark_synced()

    async def _follow(self) -> bool:
        """Read what changed, forget what is gone; tell whether there was anything of the sort."""
        paths = list_files(self.path)
        gone = self._files.keys() - set(paths)
        for path in gone:
            del self._files[path]
        changed = bool(gone)
        for path in paths:
            known = self._files.get(path)
            signature = _signature(path)
            if known is not None and known.signature == signature:
                continue
            if signature is not None and 0 <= time.time() - signature[3] / 1e9 < SETTLED:
                continue
            if await self._read_again(path, known, signature):
                changed = True
        return changed

    async def _read_again(self, path: str, known: _File | None, signature: Signature | None) -> bool:
        """Put a file's new contents in place of the old; tell whether that was possible."""
        try:
            if known is not None and known.known and signature is not None and signature[2] == 0:
                raise ManifestError(f"{path}: empty")
            file = await self._read(path)
        except (ManifestError, OSError) as error:
            text = str(error) if isinstance(error, ManifestError) else f"{path}: {error.strerror}"
            if known is None:
                known = self._files[path] = _File()
            if text != known.error or signature != known.signature:
                self._log(f"{text}; {_KEPT}")
            known.error, known.signature = text, signature
            return False
        self._files[path] = file
        self._tell(path, file, known)
        return True

    async def _read(self, path: str) -> _File:
        """Return a file's contents, read in this process or in a child, whichever suits its size."""
        file = _File()
        if _is_small(path):
            await in_slices(_adding(file, self._contents(path, file)))
        else:
            signature = file.signature = _signature(path)
            size = (signature[2] if signature else 0) >> 20
            seconds = max(1, round(size * (JSON_PACE if path.endswith(".json") else YAML_PACE)))
            self._log(f"{path}: {size} MB take about {seconds} s to read; until then, {_KEPT}")
            async with contextlib.aclosing(read_in_child(path, self._filters)) as parts:  # cancelled, it ends the child
                async for contents in parts:
                    await in_slices(_adding(file, (contents,)))
        return file

    def _contents(self, path: str, file: _File) -> Iterator[Contents]:
        try:
            text, state = read_octets(path)
        except OSError as error:
            raise ManifestError(f"{path}: {error.strerror}") from None
        # A change within the clock tick of the last one would leave no trace: read such a file once more.
        ticking = time.time_ns() - state.st_mtime_ns < SETTLED * 1e9
        file.signature = None if ticking else _signature_of(state)
        yield from batches(text, path, self._filters)

    def _tell(self, path: str, file: _File, before: _File | None = None) -> None:
        """Log what an operator should know about a file's objects, unless it is what it was before."""
        if before is not None and (file.complaints, file.unaddressed) == (before.complaints, before.unaddressed):
            return
        self.unusable += len(file.complaints)
        for text in file.complaints[:_COMPLAINTS_SHOWN]:
            self._log(f"{text}; the object is left out")
        if len(file.complaints) > _COMPLAINTS_SHOWN:
            self._log(f"{path}: {len(file.complaints) - _COMPLAINTS_SHOWN} more objects are left out")
        if file.unaddressed:
            count, first = len(file.unaddressed), file.unaddressed[0]
            self._log(f"{path}: no cluster IP is written for {count} Services ({first} first): write spec.clusterIP")

    def _tell_if_empty(self) -> None:
        if not any(file.known for file in self._files.values()):
            self._log(f"{self.path}: no Namespace, Service, EndpointSlice or Pod in it")

    def _reconciling(self) -> Iterator[None]:
        """Bring the index to what the files hold, an object a step; what did not change touches nothing."""
        wanted: dict[ObjectKey, Object] = {}
        for path in sorted(self._files):
            wanted.update(self._files[path].objects)
            yield
        declared = {name for file in self._files.values() for name in file.declared}
        mentioned = {name for file in self._files.values() for name in file.mentioned}
        for name in mentioned - declared:
            implied = implied_namespace(name, self._filters)
            if implied is not None:
                wanted["Namespace", "", name] = implied
        yield from self._deriving(wanted)
        for value in wanted.values():
            self._index.upsert(value)
            yield
        for kind in _KINDS:
            for namespace, name in self._index.keys(kind):
                if (kind, namespace, name) not in wanted:
                    self._index.remove(kind, namespace, name)
                    yield

    def _deriving(self, wanted: dict[ObjectKey, Object]) -> Iterator[None]:
        """Add the EndpointSlices of the Services that have none in the files."""
        files = [self._files[path] for path in sorted(self._files)]
        sliced = {key for file in files for key in file.sliced}
        rules = {key: rule for file in files for key, rule in file.rules.items() if key not in sliced}
        if not rules:
            return
        candidates = {key: pod for file in files for key, pod in file.candidates.items()}
        pods = Candidates()
        for pod in candidates.values():
            pods.add(pod)
            yield
        for rule in rules.values():
            for derived in derive_slices(rule, pods, targets=self._filters.targets):
                wanted["EndpointSlice", derived.namespace, derived.name] = derived
            yield


def _adding(file: _File, parts: Iterable[Contents]) -> Iterator[None]:
    for contents in parts:
        file.add(contents)
        yield


def list_files(path: str) -> list[str]:
    """Return the manifests at a path, in order; hidden files and folders are passed over.

    Raises ManifestError where there is nothing to read, or too much.
    """
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISREG(mode):
            return [path]
        if not stat.S_ISDIR(mode):
            raise ManifestError(f"{path}: neither a file nor a folder")
        found = sorted(_files_below(path, DEEPEST_FOLDER))
    except OSError as error:
        raise ManifestError(f"{error.filename or path}: {error.strerror}") from None
    if len(found) > MOST_FILES:
        raise ManifestError(f"{path}: {len(found)} manifests are more than the {MOST_FILES} that are read")
    return found


def _files_below(folder: str, deepest: int) -> Iterator[str]:
    """Yield a folder's manifests; links are followed, as a ConfigMap's files are links, so depth has a bound."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if deepest:
                    yield from _files_below(entry.path, deepest - 1)
            elif entry.name.endswith(SUFFIXES) and entry.is_file():
                yield entry.path


def _signature(path: str) -> Signature | None:
    """Return what changes whenever a file does, None where the file is gone."""
    try:
        return _signature_of(Path(path).stat())
    except OSError:
        return None


def _signature_of(state: os.stat_result) -> Signature:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _is_small(path: str) -> bool:
    """Tell whether a file is soon enough read in this process; one that can't be read is left to find out."""
    try:
        with Path(path).open("rb") as file:
            size, start = os.fstat(file.fileno()).st_size, file.read(512)
    except OSError:
        return True
    return size <= LARGEST_YAML or (size <= LARGEST_JSON and is_json(path, start))
