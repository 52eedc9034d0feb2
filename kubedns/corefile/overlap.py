"""Two blocks that want the same zone in the same place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubedns.corefile.errors import CorefileError, Kind, Step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kubedns.corefile.values import Key

HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Claim:
    """A zone that a block wants to serve at an address (IP text; "" for all); `has_view`: for some queries only."""

    key: Key
    address: str = ""
    has_view: bool = False

    def __str__(self) -> str:
        return f"{self.key} on {self.address}" if self.address else str(self.key)


def check_overlaps(claims: Iterable[Claim]) -> list[CorefileError]:
    """Return an error for each claim, in file order, that an earlier one rules out, then for ports out of range.

    A zone, transport and port may be claimed once per address, and either for all addresses or for some. Blocks with
    a view share them with others.
    """
    errors: list[CorefileError] = []
    ports: list[CorefileError] = []
    taken: dict[str, Claim] = {}
    anywhere: dict[str, Claim] = {}
    for claim in claims:
        zone = str(claim.key)
        if not 0 <= claim.key.port <= HIGHEST_PORT:
            ports.append(_error(claim, f"address {claim.key.port}: invalid port", "a port is a number up to 65535"))
        same, other = taken.get(str(claim)), anywhere.get(zone)
        if claim.address and other is not None:
            other = taken.get(zone)
        if same is not None and not claim.has_view:
            errors.append(_error(claim, f"cannot serve {claim} - it is already defined", _first(same)))
        elif same is None and other is not None:
            text = f"cannot serve {claim} - zone overlap listener capacity with {other}"
            errors.append(_error(claim, text, _first(other)))
        elif same is None and not claim.has_view:
            taken[str(claim)] = claim
            anywhere[zone] = claim
    return errors + ports


def _error(claim: Claim, text: str, cure: str) -> CorefileError:
    return CorefileError(text, claim.key.word, cure, Kind.BARE, Step.SERVERS)


def _first(claim: Claim) -> str:
    return f"the first is at {claim.key.word.location}"
