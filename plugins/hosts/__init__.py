"""hosts [FILE [ZONES...]] { ... }: answer from a hosts file and from lines in the Corefile (docs/plugins/hosts.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubedns.answers.table import Answers, Table
from kubedns.cluster.addresses import IPV4_SIZE, IPV6_SIZE
from kubedns.plugin.contract import ResolveError
from kubedns.plugin.current import Current
from kubedns.plugin.derived import Derived
from kubedns.plugin.reverse import reverse_address
from kubedns.plugin.straight import Straight
from kubedns.plugin.zones import Fallthrough, Zones
from kubedns.slices import in_slices
from kubedns.wire.name import ROOT
from kubedns.wire.numbers import AA, Rcode, RRType
from kubedns.wire.records import address, ptr
from kubedns.wire.reply import Reply
from kubedns.wire.validity import NEVER, UNTIL_RELOAD, Validity
from plugins.hosts.file import HostsFile
from plugins.hosts.metrics import register
from plugins.hosts.options import read_options
from plugins.hosts.table import MOST_RECORDS, HostsTable

if TYPE_CHECKING:
    from kubedns.corefile.values import Directive
    from kubedns.plugin.contract import Next, ServerBlock, Shared
    from kubedns.wire.query import Query
    from plugins.hosts.options import Options

MOST_PASSED = 8192  # replies of plugins behind that are kept with a validity of ours
SIZES = {int(RRType.A): IPV4_SIZE, int(RRType.AAAA): IPV6_SIZE}


def setup(directive: Directive, block: ServerBlock) -> Hosts:
    """Read the options; blocks that read the same file in the same way share it, through reloads too."""
    options = read_options(directive, block)
    key = ("hosts", options.path, options.zones, options.reverse, options.reload)
    return Hosts(options, block.shared.keep(key, lambda: HostsFile(options)), block.shared)


current: Current[Hosts] = Current()
register(current)


class Hosts(Straight):
    """The plugin: the file's records, then those of the Corefile."""

    cacheable = heeds_denials = True

    def __init__(self, options: Options, file: HostsFile, shared: Shared) -> None:
        """`file` is started and stopped by whoever keeps it: it is one of those that are `shared`."""
        self.file = file
        self._shared = shared
        self.inline = HostsTable()
        self._zones = Zones((zone, zone) for zone in options.zones)
        for _ in self.inline.reading((line.encode() for line in options.inline), self._zones, reverse=options.reverse):
            pass
        self._ttl = options.ttl
        self._fallthrough = Fallthrough(options.fallthrough)
        self._unsupported = options.fallthrough_unsupported is not None
        self._changes = options.reload > 0
        self._table = Table()
        self._passed: Derived[Reply] = Derived(MOST_PASSED)
        self._token = file.token
        self._validity = NEVER
        self._no_data = Reply()
        self._renew()

    @property
    def entries(self) -> int:
        """Pairs of name and address, and of address and name, in the file and in the Corefile."""
        return self.file.table.entries + self.inline.entries

    async def start(self) -> None:
        """A new configuration shows the file as it is, whatever the interval."""
        await self.file.read()

    def begin(self) -> None:
        current.begin(self, self._shared)

    async def stop(self) -> None:
        """Be shown no more, and hold no replies."""
        current.stop(self)
        await in_slices(self._table.emptying(), self._passed.emptying())

    def before(self, query: Query) -> Reply | None:
        """Answer from what is compiled, else from the tables; what is not ours is the next plugin's."""
        reply = self._own(query)
        if reply is None:
            query.note(self, self._validity)  # of what was looked at, whatever comes while the next plugin waits
        return reply

    def after(self, query: Query, reply: Reply) -> Reply:
        """Return a reply from behind, valid until the file may have got that name."""
        return self._depending(query, reply, query.noted(self))

    async def resolve(self, query: Query, pass_on: Next) -> Reply:
        """As both; a query that comes here twice at a time has a note of each."""
        reply = self._own(query)
        if reply is not None:
            return reply
        validity = self._validity
        return self._depending(query, await pass_on(query), validity)

    def _own(self, query: Query) -> Reply | None:
        if self._token.stale:
            self._renew()
        answers = self._table.get(query.name)
        if answers is not None:
            ready = answers.replies.get(query.rrtype)
            if ready is not None:
                return ready
        return self._find(query)

    def _renew(self) -> None:
        """Start anew with what the file holds now."""
        self._token = self.file.token
        self._validity = Validity(tokens=(self._token,)) if self._changes else UNTIL_RELOAD
        self._no_data = Reply(flags=AA, validity=self._validity, suffix=ROOT)
        self._passed.clear()

    def _depending(self, query: Query, reply: Reply, validity: Validity) -> Reply:
        """Return a reply from behind, valid until the file may have got that name."""
        alone = self._speaks_for_ours(reply)
        if reply.validity.never:  # also where it is read at reloads alone, which an entry of a cache may outlive
            until = self._until_gained(query, validity)
            upstreams = reply.replaced(validity=until if reply.validity is NEVER else reply.validity.joined(until))
            return upstreams.alone() if alone else upstreams
        if not self._changes and not alone:
            return reply
        made = self._passed.get(reply) if validity is self._validity else None
        if made is None:
            made = reply.replaced(validity=reply.validity.joined(validity))
            made = made.alone() if alone else made
            if validity is self._validity:
                self._passed.put(reply, made)
        return made

    def _until_gained(self, query: Query, validity: Validity) -> Validity:
        """Return how long the file does not have what was asked for: to ask an upstream anew for all else is dear."""
        if validity is not self._validity or self._token.stale:
            return NEVER.joined(validity)  # it changed while the upstream was asked
        packed = reverse_address(query.labels) if query.rrtype == RRType.PTR else None
        return self.file.missing(packed or query.name)

    def _speaks_for_ours(self, reply: Reply) -> bool:
        """Tell whether a reply says something of names or addresses that are in a table."""
        parent = reply.speaks_for
        if not parent:
            return False
        tables = (self.file.table, self.inline)
        return any(table.holds_below(parent) or (reply.siblings and table.has_names) for table in tables)

    def _find(self, query: Query) -> Reply | None:
        """Return None for what is the next plugin's; there is no SOA to say NXDOMAIN with of what is nobody's."""
        wire, rrtype = query.name, query.rrtype
        if rrtype == RRType.PTR:
            return self._reverse(query)
        if self._zones.longest(wire) is None:
            return None
        if not (self.file.table.holds(wire) or self.inline.holds(wire)):
            if wire in self._fallthrough:
                return None
            raise ResolveError("", Rcode.SERVFAIL)
        size = SIZES.get(rrtype)
        if size is None:
            return None if self._unsupported and wire in self._fallthrough else self._no_data
        found, own = self._addresses(wire, size)
        if not found:
            return self._no_data
        reply = Reply([address(wire, packed, self._ttl) for packed in found], flags=AA, validity=self._validity)
        if own:  # a stranger can make up any number of names below a wildcard
            self._keep(query, reply)
        return reply

    def _addresses(self, wire: bytes, size: int) -> tuple[list[bytes], bool]:
        """Return a name's addresses, and whether they are all its own: each table has its wildcards apart."""
        found: list[bytes] = []
        own = True
        for table in (self.file.table, self.inline):
            exact = table.addresses(wire, size)
            if not exact:
                exact = table.wildcard(wire, size)
                own = own and not exact
            found += exact
        return found[:MOST_RECORDS], own

    def _reverse(self, query: Query) -> Reply | None:
        """PTR is answered for any address that is known, also outside of the zones; else it is passed on."""
        packed = reverse_address(query.labels)
        if packed is None:
            return None
        targets = self.file.table.names(packed) + self.inline.names(packed)
        if not targets:
            return None
        answer = [ptr(query.name, target, self._ttl) for target in targets[:MOST_RECORDS]]
        reply = Reply(answer, flags=AA, validity=self._validity)
        self._keep(query, reply)
        return reply

    def _keep(self, query: Query, reply: Reply) -> None:
        answers = self._table.get(query.name)
        if answers is None:
            answers = Answers(self._token)
            self._table.put(query.name, answers)
        answers.replies[query.rrtype] = reply
