"""The server with the interface addresses that the replies were recorded with: one of IPv4, two of IPv6."""

import ipaddress
import sys

from kubedns.plugin import interfaces

OWN = tuple(ipaddress.ip_address(text).packed for text in ("198.18.0.53", "2001:2::53", "fe80::53"))


def main() -> int:
    """Replace the one function that tells addresses, before any plugin has taken it, and run."""
    interfaces.local_addresses = lambda: list(OWN)
    from kubedns.__main__ import run  # noqa: PLC0415 - only now

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
