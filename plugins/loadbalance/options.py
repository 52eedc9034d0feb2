"""The options of the loadbalance directive, checked word by word."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kubedns.corefile import readers
from kubedns.corefile.errors import CorefileError, CorefileErrors, Kind
from kubedns.corefile.numbers import quote
from kubedns.corefile.suggest import nearest

if TYPE_CHECKING:
    from kubedns.corefile.values import Directive, Property, Use, Word
    from kubedns.plugin.contract import ServerBlock

ROUND_ROBIN, WEIGHTED = "round_robin", "weighted"
DEFAULT_RELOAD = 30.0


class Network(NamedTuple):
    """Addresses of `octets` octets of which the bits of `mask` are those of `bits`."""

    octets: int
    mask: int
    bits: int

    def holds(self, packed: bytes) -> bool:
        """Tell whether a packed address is inside."""
        return len(packed) == self.octets and int.from_bytes(packed, "big") & self.mask == self.bits


@dataclass(frozen=True, slots=True)
class Options:
    """The policy of the last line, with the networks of all: `weights` is the file of `weighted`, else None.

    `reload` is in seconds; 0: the file is read once.
    """

    networks: tuple[Network, ...] = ()
    weights: Path | None = None
    reload: float = DEFAULT_RELOAD


def read_options(directive: Directive, block: ServerBlock) -> Options:
    """Return the options of all lines together; raise CorefileErrors with all that is wrong in them."""
    networks: list[Network] = []
    options = Options()
    errors: list[CorefileError] = []
    for use in directive.uses:
        try:
            options = _read_use(use, block, networks)
        except CorefileError as error:
            errors += error.errors
    if errors:
        raise errors[0] if len(errors) == 1 else CorefileErrors(errors)
    return Options(tuple(networks), options.weights, options.reload)


def _read_use(use: Use, block: ServerBlock, networks: list[Network]) -> Options:
    policy, *rest = use.arguments or (use.name.with_text(ROUND_ROBIN),)
    if policy.text == ROUND_ROBIN:
        if rest:
            raise rest[0].error("unknown property for round_robin", "leave this word out")
        readers.read_properties(use, {"prefer": lambda line: networks.extend(map(_network, line.arguments))})
        return Options()
    if policy.text != WEIGHTED:
        cure = nearest(policy.text, (ROUND_ROBIN, WEIGHTED)) or f"write {ROUND_ROBIN}, or {WEIGHTED} and a file"
        raise policy.error(f"unknown policy: {policy.text}", cure, Kind.BARE)
    if not rest:
        raise policy.error("missing weight file argument", "name the file that has the weights")
    if len(rest) > 1:
        raise rest[1].error("unexpected argument(s)", "weighted takes one file")
    reload = DEFAULT_RELOAD

    def read_reload(line: Property) -> None:
        nonlocal reload
        reload = _reload(line)

    readers.read_properties(use, {"reload": read_reload})
    return Options(weights=block.root / rest[0].text, reload=reload)


def _reload(line: Property) -> float:
    if not line.arguments:
        raise line.name.error("reload duration value is missing", "write one duration: reload 30s")
    if len(line.arguments) > 1:
        raise line.arguments[1].error("unexpected argument", "write one duration: reload 30s")
    word = line.arguments[0]
    try:
        seconds = readers.duration(word)
    except CorefileError:
        seconds = -1.0
    if seconds < 0:
        raise word.error(f"invalid reload duration '{word.text}'", readers.DURATION_CURE)
    return seconds


def _network(word: Word) -> Network:
    address, slash, prefix = word.text.partition("/")
    try:
        if not slash or "%" in address or not (prefix.isascii() and prefix.isdigit()):
            raise ValueError
        network = ipaddress.ip_network(word.text, strict=False)
    except ValueError:
        cure = "write a network with the length of its prefix, as in 10.0.0.0/8"
        raise word.error(f"invalid CIDR {quote(word.text)}: invalid CIDR address: {word.text}", cure) from None
    return Network(network.max_prefixlen // 8, int(network.netmask), int(network.network_address))
