"""kubernetes [ZONES...] { ... }: answer for a cluster's Services, endpoints and pods (docs/plugins/kubernetes.md)."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from kubedns.answers.table import Answers, Table
from kubedns.plugin.interfaces import local_addresses
from kubedns.plugin.straight import Straight, Suspends
from kubedns.plugin.zones import Fallthrough, Zones
from kubedns.slices import in_slices
from kubedns.wire.name import ROOT, is_within, labels
from kubedns.wire.numbers import AA, TC, Rcode, RRClass, RRType
from kubedns.wire.records import RR, cname
from kubedns.wire.reply import Reply
from kubedns.wire.validity import Validity, one_token
from plugins.kubernetes.options import Options, read_options
from plugins.kubernetes.sources import Cluster, open_cluster
from plugins.kubernetes.zone import NODATA, NXDOMAIN, Aliases, Negative, Zone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubedns.corefile.values import Directive
    from kubedns.plugin.contract import Next, ServerBlock
    from kubedns.wire.query import Query
    from plugins.kubernetes.zone import Found

MOST_DENIALS = 8192  # parents right below which nothing is
MOST_ALIASES = 11  # CNAMEs from a name to its addresses
MOST_TARGETS = 1000  # names looked up for one answer: slices of type FQDN may branch at each step
MOST_NESTED = 7  # lookups within lookups, so that Services of two zones can't lead in circles
nested: ContextVar[int] = ContextVar("nested", default=0)
DEFAULT_NAME_SERVER = b"\x02ns\x03dns"
TRANSFERS = (RRType.AXFR, RRType.IXFR)
# Types whose NODATA is remembered; a stranger that asks for all 65,536 fills no memory.
KEPT_TYPES = (RRType.A, RRType.AAAA, RRType.SRV, RRType.PTR, RRType.CNAME, RRType.TXT, RRType.MX, RRType.HTTPS)


def setup(directive: Directive, block: ServerBlock) -> Kubernetes:
    """Read the options, and share the cluster's index with whoever watches the same."""
    options = read_options(directive, block)
    own = () if block.bound else tuple(local_addresses())
    return Kubernetes(options, open_cluster(options, block, directive), own)


class Kubernetes(Straight):
    """The plugin: finds a name's zone, and keeps what has been compiled for it until its data changes."""

    cacheable = heeds_denials = True

    def __init__(self, options: Options, cluster: Cluster, own: Sequence[bytes]) -> None:
        """`own` are the server's own addresses, packed; see Zone."""
        self._cluster = cluster
        self._index = cluster.index
        self._options = options
        self._fallthrough = Fallthrough(options.fallthrough)
        self._zones = Zones((zone, Zone(zone, options, cluster.index, own)) for zone in options.zones)
        self._apart = (*options.zones, *options.fallthrough)  # may be answered otherwise than what is above
        self._table = Table()
        self._denials = Table(MOST_DENIALS)  # by parent

    async def stop(self) -> None:
        """Hold no replies: the plugins of a server block hold each other until the garbage collector comes by."""
        await in_slices(self._table.emptying(), self._denials.emptying())

    def ready(self) -> bool:
        """Tell whether the whole cluster has been read once."""
        return self._index.synced

    def before(self, query: Query) -> Reply | None:
        """Answer from what is compiled, else from the index; names of other zones are the next plugin's."""
        if not query.name.endswith(self._options.zones):
            return None
        answers = self._table.get(query.name)
        if answers is not None:
            reply = answers.replies.get(query.rrtype)
            if reply is not None:
                return reply
        denied = self._denials.get(query.name[query.name[0] + 1 :])
        if denied is not None:
            reply = denied.replies.get(query.rrtype)
            if reply is not None:
                return reply
        zone = self._zones.longest(query.name)
        if zone is None:
            return None
        found = self._look_up(zone, query, answers)
        if isinstance(found, Reply):
            return found
        if isinstance(found, Aliases) or query.name in self._fallthrough:
            raise Suspends
        if not self._index.synced:
            return zone.failure()
        return self._deny(zone, query, found)

    async def resolve(self, query: Query, pass_on: Next) -> Reply:
        """As `before`; ask for what aliases lead to, and leave what falls through to the next plugin."""
        try:
            reply = self.before(query)
        except Suspends:
            zone = self._zones.longest(query.name)
            assert zone is not None  # noqa: S101 - else nothing had been found
            found = self._look_up(zone, query, None)
            if isinstance(found, Reply):
                return found
            if isinstance(found, Aliases):
                return await self._follow(zone, query, found)
            absent = zone.absence(query.labels, found)  # while others are asked, a name may come
            reply = await pass_on(query)
            return reply.replaced(validity=reply.validity.joined(absent))
        return reply if reply is not None else await pass_on(query)

    def _look_up(self, zone: Zone, query: Query, answers: Answers | None) -> Found:
        """Return the reply from the index, kept for the next time where that is safe; Negative: no such name."""
        rrtype = query.rrtype
        if rrtype in TRANSFERS:
            return Reply(rcode=Rcode.REFUSED, suffix=ROOT)
        if answers is not None and rrtype in answers.replies:
            return zone.negative(Negative(Rcode.NOERROR, (answers.token,)))
        found = self._find(zone, query)
        if isinstance(found, Reply):
            self._keep(zone, query, found)
        elif isinstance(found, Negative) and found.rcode == Rcode.NOERROR:
            if answers is not None and rrtype in KEPT_TYPES:
                answers.replies[rrtype] = None
            return zone.negative(found)
        return found

    def _find(self, zone: Zone, query: Query) -> Found:
        """CoreDNS finds its own name and the apex's NS only where the zone is spelled in lower case."""
        if not query.spelled.endswith(zone.origin):
            if query.rrtype == RRType.NS and query.name == zone.origin:
                return NODATA
            if query.name == DEFAULT_NAME_SERVER + zone.origin and query.rrtype != RRType.SOA:
                return NXDOMAIN
        return zone.find(query.name, query.labels, query.rrtype)

    def _keep(self, zone: Zone, query: Query, reply: Reply) -> None:
        """Keep what is of one Service; names that a stranger can make up are not kept."""
        if query.rrtype == RRType.PTR or not zone.holds(query.labels):
            return
        answers = self._table.get(query.name)
        if answers is None:
            answers = Answers(one_token(reply.validity))
            self._table.put(query.name, answers)
        answers.replies[query.rrtype] = reply

    def _deny(self, zone: Zone, query: Query, found: Negative) -> Reply:
        """Return NXDOMAIN, kept for all names right below the same parent where none of them can exist."""
        denial = zone.denial(query.labels) if query.rrtype in KEPT_TYPES else None
        parent = query.name[query.name[0] + 1 :]
        if denial is None or any(is_within(other, parent) for other in self._apart if len(other) > len(parent)):
            return zone.negative(found)
        reply = zone.negative(denial).replaced(denies=parent)
        answers = self._denials.get(parent)
        if answers is None:
            answers = Answers(one_token(reply.validity))
            self._denials.put(parent, answers)
        answers.replies[query.rrtype] = reply
        return reply

    async def _follow(self, zone: Zone, query: Query, aliases: Aliases) -> Reply:
        chase = Chase(zone, query, self._options.ttl)
        answer = await chase.records(query.name, aliases, ())
        if not answer:
            return zone.negative(Negative(Rcode.NOERROR, chase.validity.tokens))
        return Reply(answer, flags=AA | chase.flags, validity=chase.validity)


class Chase:
    """The way from an ExternalName to addresses: inside the zone by the index, elsewhere by asking the whole server."""

    def __init__(self, zone: Zone, query: Query, ttl: int) -> None:
        """Collects, besides records, the TC flag and the validity of all that was asked."""
        self._zone = zone
        self._query = query
        self._ttl = ttl
        self._left = MOST_TARGETS
        self.flags = 0
        self.validity = Validity()

    async def records(self, owner: bytes, aliases: Aliases, passed: tuple[bytes, ...]) -> list[RR]:
        """Return a name's CNAMEs with what they lead to; nothing where the zone itself has no end for them."""
        found = list(aliases.beside)
        self.validity = self.validity.joined(aliases.validity)
        for target in aliases.targets:
            lower = target.lower()
            if is_within(lower, owner.lower()) or lower in passed or len(passed) >= MOST_ALIASES or not self._left:
                continue
            self._left -= 1
            alias = cname(owner, target, self._ttl)
            if is_within(lower, self._zone.origin):
                inner = await self._inside(target, (*passed, lower))
                found += [alias, *inner] if inner else []
            else:
                found += [alias, *await self._elsewhere(target)]
        return found

    async def _inside(self, target: bytes, passed: tuple[bytes, ...]) -> list[RR]:
        lower = target.lower()
        found = self._zone.find(lower, labels(lower), self._query.rrtype)
        if isinstance(found, Aliases):
            return await self.records(target, found, passed)
        if isinstance(found, Reply):
            self.validity = self.validity.joined(found.validity)
            return [rr._replace(owner=target) for rr in found.answer]
        self.validity = self.validity.joined(Validity(tokens=found.tokens))
        return []

    async def _elsewhere(self, target: bytes) -> Sequence[RR]:
        depth = nested.get()
        if self._query.lookup is None or depth >= MOST_NESTED:
            return ()
        token = nested.set(depth + 1)
        try:
            reply = await self._query.lookup(self._query.ask(target, self._query.rrtype, RRClass.IN))
        finally:
            nested.reset(token)
        self.flags |= reply.flags & TC
        self.validity = self.validity.joined(reply.validity)
        return reply.answer
