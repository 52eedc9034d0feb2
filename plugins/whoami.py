"""whoami: tell a client its own address, port and transport, whatever it asks (docs/plugins/whoami.md)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from kubedns.corefile import readers
from kubedns.wire.name import MAXIMUM_NAME, ROOT
from kubedns.wire.numbers import AA
from kubedns.wire.records import address, srv
from kubedns.wire.reply import Reply

if TYPE_CHECKING:
    from kubedns.corefile.values import Directive
    from kubedns.plugin.contract import Next, ServerBlock
    from kubedns.wire.query import Query


def setup(directive: Directive, _: ServerBlock) -> Whoami:
    """Raise CorefileError for any argument."""
    for use in directive.uses:
        readers.no_arguments(use)
    return Whoami()


class Whoami:
    """The last of a chain: it answers everything."""

    cacheable = True

    async def resolve(self, query: Query, _: Next) -> Reply:
        """Nothing in the answer section: the client's address and an SRV record of its port come as additional.

        A name with no room for `_udp.` in front of it goes without the SRV record.
        """
        client = query.client
        host, port = client.remote()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        additional = [address(query.spelled, socket.inet_pton(family, host), 0, query.rrclass)]
        owner = (b"\x04_tcp" if client.transport == "tcp" else b"\x04_udp") + query.spelled
        if len(owner) <= MAXIMUM_NAME:
            additional.append(srv(owner, ROOT, 0, weight=0, port=port, rrclass=query.rrclass))
        return Reply((), (), additional, flags=AA)
