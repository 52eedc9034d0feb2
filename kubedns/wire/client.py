"""Who asks, and over what: all that the rest of the server knows of a socket."""

from dataclasses import dataclass
from typing import Protocol


class Client(Protocol):
    """What a listener tells of the sender of a query.

    An address is IPv4 or IPv6 text without a scope, and a port; an IPv4 client of a dual-stack socket is IPv4.
    """

    @property
    def transport(self) -> str:
        """Either "udp" or "tcp"."""

    @property
    def ipv6(self) -> bool:
        """Whether the query came over IPv6."""

    def remote(self) -> tuple[str, int]:
        """Return the client's address and port."""

    def local(self) -> tuple[str, int]:
        """Return the address and port that the query was sent to."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A client whose addresses are known from the start: that of a TCP connection."""

    transport: str
    remote_address: tuple[str, int]
    local_address: tuple[str, int]

    @property
    def ipv6(self) -> bool:
        return ":" in self.remote_address[0]

    def remote(self) -> tuple[str, int]:
        return self.remote_address

    def local(self) -> tuple[str, int]:
        return self.local_address
