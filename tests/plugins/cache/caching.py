"""A cache with a clock that is turned by hand, and behind it a backend that says what it is told to."""

from __future__ import annotations

import asyncio
import itertools
import struct
from typing import TYPE_CHECKING, NamedTuple

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from kubedns.plugin.contract import ResolveError, ServerBlock
from kubedns.wire.client import Peer
from kubedns.wire.packed import read_packed
from kubedns.wire.query import Query, parse_query
from kubedns.wire.reply import Reply
from plugins.cache import Cache
from plugins.cache.options import read_options
from plugins.cache.store import Store
from tests.plugins.helpers import CLIENT, SERVER, directive
from tests.wire.asking import AA, AD, QR, RA, TC, opt, record, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from plugins.cache.counters import Counters

NAME = "www.example.org."
SOA = "example.org. {} SOA ns.example.org. mail.example.org. 1 2 3 4 60"
TODAY = 1_790_000_000.0  # seconds since 1970, for signatures
FLAGS = {"AA": AA, "TC": TC, "RA": RA, "AD": AD}
ports = itertools.count(10_000)  # each cache under test counts for itself
UNREACHABLE = ResolveError("unreachable")


class Said(NamedTuple):
    """A reply as a client that is not ours reads it: TTLs of all records, in order, and flags as text."""

    rcode: str
    ttls: tuple[int, ...]
    flags: str
    texts: tuple[str, ...] = ()


def message(query: Query, text: str) -> Reply:
    """Return the reply in a message: flags and RCODE, then `/` and records, `+` before those of the authority section.

    Owners are written out; `@` stands for the question's name.
    """
    head, *records = (part.strip() for part in text.split("/"))
    rcode, *flags = head.split()
    name = dns.name.from_wire(query.question, 0)[0].to_text()
    sections: list[list[bytes]] = [[], [], []]
    for one in records:
        section = sections["+*".find(one[0]) + 1]
        section.append(_record(*one.lstrip("+*").replace("@", name).split(maxsplit=3)))
    if query.edns is not None:
        sections[2].append(opt(1232, 0x8000 if query.do else 0))
    value = QR | dns.rcode.from_text(rcode) | sum(FLAGS[flag] for flag in flags)
    counts = (1, *(len(section) for section in sections))
    octets = struct.pack("!2s5H", query.id, value, *counts) + query.question
    return read_packed(octets + b"".join(record for section in sections for record in section), query)


def _record(owner: str, ttl: str, rrtype: str, rdata: str) -> bytes:
    value = dns.rdatatype.from_text(rrtype)
    octets = dns.rdata.from_text(dns.rdataclass.IN, value, rdata).to_wire()
    assert octets is not None
    return record(wire(owner), value, octets, ttl=int(ttl))


class Backend:
    """What is behind the cache: `says` is a text for message(), a Reply, an error, or what makes one of them.

    `asked` are the queries that came, `held` makes it wait.
    """

    def __init__(self, says: str | Reply | Exception | Callable[[Query], Reply]) -> None:
        self.says = says
        self.asked: list[Query] = []
        self.held: asyncio.Event | None = None

    async def __call__(self, query: Query) -> Reply:
        self.asked.append(query)
        if self.held is not None:
            await self.held.wait()
        says = self.says
        if isinstance(says, Exception):
            raise says
        if isinstance(says, str):
            return message(query, says)
        return says if isinstance(says, Reply) else says(query)


def ask(
    name: str = NAME, rrtype: str = "A", *, flags: int = 0x0100, edns: bytes | None = None, transport: str = "udp"
) -> Query:
    """Return a query; `edns` is an OPT record's flags and RDATA."""
    query = dns.message.make_query(name, rrtype, flags=flags, id=77)
    octets = query.to_wire()
    if edns is not None:
        octets = octets[:11] + b"\1" + octets[12:] + b"\0\0\x29\x04\xd0\0\0" + edns[:2]
        octets += len(edns[2:]).to_bytes(2, "big") + edns[2:]
    return parse_query(octets, Peer(transport, CLIENT, SERVER))


DO, NO_DO = b"\x80\0", b"\0\0"


class Caching:
    """A cache set up by a line of a Corefile, its clock at 0 when it is made."""

    def __init__(
        self, line: str, says: str | Reply | Exception | Callable[[Query], Reply], store: Store | None = None
    ) -> None:
        self.now = 0.0
        self.backend = Backend(says)
        options = read_options(directive(line), ServerBlock((".",)))
        store = store or Store(options.success.entries, options.denial.entries)
        servers = (f"dns://:{next(ports)}",)
        self.cache = Cache(options, store, servers, lambda: 1000.0 + self.now, lambda: TODAY + self.now)

    async def reply(self, query: Query | None = None, at: float | None = None) -> Reply:
        """Return the reply to a query at a time."""
        if at is not None:
            self.now = at
        return await self.cache.resolve(query or ask(), self.backend)

    async def said(self, query: Query | None = None, at: float | None = None) -> Said:
        """As reply(), as the client reads it."""
        query = query or ask()
        read = dns.message.from_wire((await self.reply(query, at)).octets(query))
        assert read.question[0].to_text().split()[0] == query_name(query)
        rrsets = [rrset for section in read.sections[1:] for rrset in section]
        return Said(
            dns.rcode.to_text(read.rcode()),
            tuple(rrset.ttl for rrset in rrsets for _ in rrset),
            " ".join(flag for flag in dns.flags.to_text(read.flags).split() if flag not in {"QR", "RD"}),
            tuple(rdata.to_text() for rrset in rrsets for rdata in rrset),
        )

    async def ttl(self, at: float, query: Query | None = None) -> int:
        """Return the one TTL of all records."""
        [ttl] = set((await self.said(query, at)).ttls)
        return ttl

    async def settle(self) -> None:
        """Let what is renewed in the background come to its end, or to where its backend holds it."""
        for _ in range(10):
            await asyncio.sleep(0)

    @property
    def asked(self) -> int:
        """How often the backend was."""
        return len(self.backend.asked)

    @property
    def counters(self) -> Counters:
        return self.cache.listeners[0].counters


def query_name(query: Query) -> str:
    octets = bytes(4) + b"\0\1\0\0\0\0\0\0" + query.question
    return dns.message.from_wire(octets).question[0].name.to_text()
