"""What a Server asks of other processes, if there are any that have to do as it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from kubedns.server.configuration import Address, Configuration

    Bundle = tuple[socket.socket, ...]  # TCP's, then UDP's: one, or one of each family


class Alone:
    """There are none: the way of a process that does all by itself."""

    def sockets(self, _address: Address) -> Bundle | None:
        """Return bound sockets for an address, None for the Server to open some."""
        return None

    def follow(self, new: Configuration) -> None:
        """Get to know a configuration whose parts have not been started yet."""

    async def prepare(self, new: Configuration, own: Mapping[Address, Bundle]) -> None:
        """Return when all others can switch to a configuration; OSError or StartError where one can't.

        `own` are the sockets that this process listens to.
        """

    async def switch(self, new: Configuration) -> None:
        """Have all others switch, and return when the configuration before is done with."""

    async def abandon(self, old: Configuration | None) -> None:
        """Go back behind follow() and prepare(): the old configuration goes on."""

    async def linger(self) -> int:
        """Let the plugins of all others linger; return how many failed at it."""
        return 0

    async def stop(self, *, drain: bool) -> int:
        """End all others, with `drain` once their queries are answered; return how many plugins failed to stop."""
        del drain
        return 0
