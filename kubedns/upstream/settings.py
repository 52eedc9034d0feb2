"""How a name server is asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from kubedns.wire.name import ROOT
from kubedns.wire.numbers import RD, RRClass, RRType


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """What is asked to see whether it is well, and how often: `interval` in seconds; `name` is wire octets."""

    interval: float = 0.5
    recursion_desired: bool = True
    name: bytes = ROOT

    @property
    def message(self) -> bytes:
        """The query behind its ID: NS of the name."""
        flags = RD if self.recursion_desired else 0
        return b"".join((flags.to_bytes(2, "big"), b"\0\1\0\0\0\0\0\0", self.name, NS_IN))


@dataclass(frozen=True, slots=True)
class Settings:
    """Times are in seconds.

    A socket or connection is left once it was idle for `expire`, or is older than `max_age` (0: any age will do);
    `most_idle` 0 keeps as many as there are. `source` is the address to ask from, empty: the kernel's choice.
    """

    read_timeout: float = 2.0
    expire: float = 10.0
    max_age: float = 0.0
    most_idle: int = 0
    source: str = ""
    check: HealthCheck = field(default_factory=HealthCheck)
    check_by_tcp: bool = False
    http_method: str = "POST"

    def over(self, opened: float, used: float, now: float) -> bool:
        """Tell whether what was opened and last used then is to be left."""
        return now - used > self.expire or bool(self.max_age and now - opened > self.max_age)


NS_IN = RRType.NS.to_bytes(2, "big") + RRClass.IN.to_bytes(2, "big")
