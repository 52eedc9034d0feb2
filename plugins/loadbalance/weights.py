"""The file of `weighted`: for each name, how often an address comes first."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from kubedns.cluster.addresses import pack_address
from kubedns.corefile.numbers import format_duration, quote
from kubedns.log import plugin_log
from kubedns.plugin.contract import StartError
from kubedns.watch import FileWatch, Following
from kubedns.wire.errors import WireError
from kubedns.wire.name import spelled_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HIGHEST = 255
LONGEST = 20  # digits that are converted at all
UNREADABLE = "weight file open error"
log = plugin_log("loadbalance")

Table = dict[tuple[bytes, bytes], int]  # by owner (wire octets as spelled) and packed address


class WeightError(Exception):
    """A weight file that is none; the text says which line and why."""


def parse_weights(content: bytes, path: Path) -> Table:
    """Return the weights of a file's lines: a name alone, below it `ADDRESS WEIGHT` each. Raises WeightError."""
    weights: Table = {}
    owner = None
    for line in content.decode("utf-8", "replace").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        match words:
            case [word]:
                owner = _owner(word, path)
            case [address, weight]:
                if owner is None:
                    raise WeightError(f"missing domain name in weight file {path}")
                weights.setdefault((owner, _address(address, path)), _weight(weight, path))
            case _:
                raise WeightError(f"could not parse weight line:{quote(line)} in weight file {path}")
    return weights


def _owner(word: str, path: Path) -> bytes:
    text = f"wrong domain name:{quote(word)} in weight file {path}"
    if pack_address(word) is not None:
        raise WeightError(f"{text}. (Maybe a missing weight value?)")
    try:
        return spelled_name(word)
    except WireError as error:
        raise WeightError(f"{text}: {error}") from None


def _address(word: str, path: Path) -> bytes:
    packed = pack_address(word)
    if packed is None:
        raise WeightError(f"wrong IP address:{quote(word)} in weight file {path}")
    return packed


def _weight(word: str, path: Path) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= LONGEST and 1 <= int(word) <= HIGHEST):
        raise WeightError(f"wrong weight value:{quote(word)} in weight file {path}")
    return int(word)


class Weights:
    """What the weight file held when it was last right; `changed` is called when that is something else."""

    def __init__(self, path: Path, interval: float, changed: Callable[[], None]) -> None:
        """`interval` is in seconds; 0: the file is read at the start alone."""
        self.table: Table = {}
        self._path = path
        self._interval = interval
        self._changed = changed
        self._watch = FileWatch(path)
        self._digest = b""
        self._following = Following(interval)

    async def start(self) -> None:
        """Raises StartError for a file that is wrong; one that is missing may come later, if it is looked for."""
        try:
            self._read()
        except WeightError as error:
            raise StartError(f"plugin/loadbalance: {error}") from None
        except OSError:
            if not self._interval:
                raise StartError(f"plugin/loadbalance: {UNREADABLE}") from None
            again = format_duration(self._interval)
            log.warning(f"Failed to open weight file:{UNREADABLE}. Will try again in {again}")
        self._following.start(self._look)

    async def stop(self) -> None:
        """Follow the file no longer."""
        await self._following.stop()

    async def _look(self) -> None:
        try:
            if await self._watch.settled_change():
                self._read()
        except WeightError as error:
            log.error(str(error))
        except OSError:
            log.error(UNREADABLE)

    def _read(self) -> None:
        """Take the file's content unless it is what was read last; raises WeightError and OSError."""
        file, _ = self._watch.open()
        with file:
            content = file.read()
        digest = hashlib.sha256(content).digest()
        if digest == self._digest:
            return
        self._digest = digest
        self.table = parse_weights(content, self._path)
        self._changed()
        log.info(f"Successfully reloaded weight file {self._path}")
