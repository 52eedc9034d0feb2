"""cache [TTL] [ZONES...] { ... }: keep replies and give them again (docs/plugins/cache.md)."""

from __future__ import annotations

import time
from array import array
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING

from kubedns.plugin.straight import Straight, Suspends
from kubedns.plugin.zones import Zones
from kubedns.slices import in_slices
from kubedns.wire.edns import DO
from kubedns.wire.name import ROOT, is_within, text
from kubedns.wire.numbers import AA, AD, CD, Rcode
from kubedns.wire.packed import pack
from kubedns.wire.validity import NEVER
from plugins.cache import counters
from plugins.cache.aging import SLOTS, Aging
from plugins.cache.anew import Anew
from plugins.cache.judging import Verdict, judge
from plugins.cache.listener import Listener
from plugins.cache.options import SUCCESS, read_options
from plugins.cache.renewing import Renewing
from plugins.cache.store import OVERHEAD, UNKNOWN, Entry, Store, renewal_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubedns.corefile.values import Directive
    from kubedns.plugin.contract import Next, ServerBlock
    from kubedns.wire.query import Query
    from kubedns.wire.reply import Reply
    from plugins.cache.options import Options

MOST_ANEW = 1024  # kinds of replies that may begin anew: by number of records, TTL, and listener
OCTETS_OF_RECORD = 32  # on the average, compressed
KEY_FLAGS = (b"\0", b"\1", b"\2", b"\3")  # CD, and DO beside it


def setup(directive: Directive, block: ServerBlock) -> Cache:
    """Read the options, and take over what a configuration before this one kept if it would say the same now."""
    options = read_options(directive, block)
    store = block.shared.keep(
        ("cache", block.servers, block.zones, block.root, _below(directive, block)),
        lambda: Store(options.success.entries, options.denial.entries),
    )
    return Cache(options, store, block.servers)


def _below(directive: Directive, block: ServerBlock) -> tuple[object, ...]:
    """Return, to be compared, what this directive and those of the plugins behind it say."""
    names = [one.name for one in block.directives]
    own = names.index(directive.name) if directive.name in names else len(names)
    return tuple(_said(one) for one in (directive, *block.directives[own + 1 :]))


def _said(directive: Directive) -> tuple[object, ...]:
    return directive.name, *(
        (
            use.name.text,
            tuple(word.text for word in use.arguments),
            tuple((line.name.text, *(word.text for word in line.arguments)) for line in use.properties),
        )
        for use in directive.uses
    )


class Cache(Straight):
    """The plugin: an entry answers, or else the plugins behind it, whose reply may then become one."""

    cacheable = heeds_denials = True

    def __init__(
        self,
        options: Options,
        store: Store,
        servers: tuple[str, ...] = (),
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`store` may hold entries already. `clock` is in monotonic seconds, `wall` in seconds since 1970."""
        self.options = options
        self.store = store
        self.clock = clock
        self.wall = wall
        self._zones = Zones((zone, zone) for zone in options.zones)
        self._takes_all = ROOT in options.zones
        self._disabled = {kind: Zones((zone, zone) for zone in zones) for kind, zones in options.disabled.items()}
        zones = ",".join(text(zone) for zone in options.zones)
        self.listeners = [Listener(server, zones) for server in servers or ("dns://:53",)]
        self._only = self.listeners[0] if len(self.listeners) == 1 else None
        self._by_place = {_place(listener.labels.server): listener for listener in self.listeners}
        self._renewing = Renewing(self)
        self._slots: array[float] | None = None
        self._anew = lru_cache(MOST_ANEW)(Anew)

    def begin(self) -> None:
        """Show, as a metric, what this store holds."""
        for listener in self.listeners:
            counters.shown[listener.labels] = self

    async def stop(self) -> None:
        """Renew nothing any more, and hold nothing; a cache of the configuration after this one may have the store."""
        for listener in self.listeners:
            if counters.shown.get(listener.labels) is self:
                del counters.shown[listener.labels]
            await in_slices(listener.emptying())
        self._slots = None
        self._anew.cache_clear()
        await in_slices(self.store.success.leaving(self), self.store.denial.leaving(self))
        await self._renewing.stop()

    def before(self, query: Query) -> Reply | None:
        """Return an entry's reply; raises Suspends for one that may have to be renewed."""
        if not self._takes_all and self._zones.longest(query.name) is None:
            return None
        key, store = _key(query), self.store
        if key not in store.success.entries and key not in store.denial.entries:
            self._miss(query)  # sooner, as this is what most of those that come so far are
            return None
        now = self.clock()
        entry = self.find(key, now)
        if entry is None:
            self._miss(query)
            return None
        if entry.remaining(now) <= 0 or (self.options.prefetch.amount and entry.home is None):
            raise Suspends
        listener = self._listener(query)
        self._hit(entry, listener)
        if entry.reply is UNKNOWN:
            query.adds |= AD  # as for a miss
            return None
        return self._ready(entry, query, listener, now)

    def after(self, query: Query, reply: Reply) -> Reply:
        """Return what comes from behind with all its TTLs made one."""
        if not self._takes_all and self._zones.longest(query.name) is None:
            return self._without_ours(reply)
        return self.take(query, reply, self._only or self._listener(query), self.clock())

    async def resolve(self, query: Query, pass_on: Next) -> Reply:
        """As both, and renew what has little time left, or none."""
        try:
            reply = self.before(query)
        except Suspends:
            listener, now = self._listener(query), self.clock()
            entry = self.find(_key(query), now)
            if entry is not None:
                self._hit(entry, listener)
                if entry.remaining(now) <= 0:
                    return await self._renewing.stale(entry, query, pass_on, listener)
                self._renewing.before_its_end(entry, query, pass_on, listener, now)
                return self._ready(entry, query, listener, now)
            self._miss(query)
            reply = None
        return self.after(query, await pass_on(query)) if reply is None else reply

    def _miss(self, query: Query) -> None:
        counts = (self._only or self._listener(query)).counters
        counts.requests.value += 1
        counts.misses.value += 1
        query.adds |= AD  # so that an upstream says whether it has checked

    def _hit(self, entry: Entry, listener: Listener) -> None:
        entry.used = True
        listener.counters.requests.value += 1
        listener.counters.hits[entry.kind].value += 1

    def take(self, query: Query, reply: Reply, listener: Listener, now: float) -> Reply:
        """Return a reply from behind as the client gets it, and keep it if it may be.

        One from a source that tells when it changes is an entry until then, and of this configuration alone.
        """
        lasting = reply.lasting
        if lasting is not NEVER and not (lasting.never or reply.flags & AD):
            return self._take_lasting(query, reply, listener, now)
        kind, seconds, answers = judge(query, reply, self.options, self.wall)
        packed = pack(reply, query)
        if kind is not None and self._may_keep(query, kind, seconds):
            entry = Entry(query.key or _key(query), kind, packed, now, seconds)
            entry.answers, entry.validity = answers, lasting
            self.put(entry, packed.size, listener)
        flags = packed.flags & ~(CD if _wants_ad(query) else CD | AD)
        if packed.is_like(seconds, flags) and not query.flags & CD:
            return packed
        return packed.with_ttl(seconds, flags, lasting if lasting.never else NEVER)

    def fresh(self, query: Query, listener: Listener) -> Reply | None:
        """Return the reply of an entry that has not run out."""
        now = self.clock()
        entry = self.find(_key(query), now)
        if entry is None or entry.remaining(now) <= 0:
            return None
        return self._ready(entry, query, listener, now)

    def run_out(self, entry: Entry, query: Query, listener: Listener) -> Reply:
        """Return the reply of an entry that has run out; it is for this query alone."""
        stale = self.options.stale
        listener.counters.served_stale.value += 1
        ttl = entry.duration if self.options.keep_ttl and not stale.ttl else stale.ttl
        return pack(entry.reply, query).with_ttl(ttl, _flags(entry, query))

    def _take_lasting(self, query: Query, reply: Reply, listener: Listener, now: float) -> Reply:
        """Most often such a reply has been looked at before; it becomes octets of its own when an entry is hit."""
        normal = listener.normal.get(reply)
        if normal is None:
            normal = listener.normal_of(reply, Verdict(*judge(query, reply, self.options, self.wall)))
        verdict = normal.verdict
        if verdict.kind is None or not self._may_keep(query, verdict.kind, verdict.seconds):
            return normal.reply
        key = _key(query)
        begun = self._begun(key, verdict.kind, now)
        stored = listener.stored(query, reply, verdict.seconds, now) if begun is None else begun
        siblings = self._siblings(query, reply, listener, verdict.seconds)
        if siblings is not None:
            stored = siblings.entered(query.name[: query.name[0] + 1], now)
        entry = Entry(key, verdict.kind, normal.first, stored, verdict.seconds)
        entry.answers, entry.home = verdict.answers, self
        entry.validity, entry.serial = reply.undated
        self.put(entry, sum(reply.counts) * OCTETS_OF_RECORD, listener)
        if normal.first.flags != _flags(entry, query):
            return normal.first
        entry.recurs = self._recurs(entry, query, reply)
        if begun is not None or reply.denies or siblings is not None:
            ready = self._ready(entry, query, listener, now)
            ready.denies, ready.siblings = reply.denies, siblings
            return ready
        return self._as_a_hit(entry, listener)

    def _recurs(self, entry: Entry, query: Query, reply: Reply) -> bool:
        """Tell whether an entry may begin anew by its key alone: its time and its counts are no other's.

        Names in capitals have other answers now and then.
        """
        alone = query.question.startswith(query.name) and not reply.speaks_for and not reply.tallies
        return alone and entry.validity.until == inf and entry.answers == (entry.kind == SUCCESS)

    def _begun(self, key: bytes, kind: str, now: float) -> float | None:
        """Return the moment at which an entry began anew, for a hit whose reply had to be asked for; else None."""
        entry = self.store.shelf(kind).entries.get(key)
        return entry.stored if entry is not None and entry.reply is UNKNOWN and self._usable(entry, now) else None

    def _siblings(self, query: Query, reply: Reply, listener: Listener, duration: int) -> Aging | None:
        """Return what answers the names beside a reply's, unless they are not all kept as it is."""
        made = reply.siblings
        if made is None or any(is_within(zone, made.parent) for zone in self.options.disabled[SUCCESS]):
            return None
        if self._slots is None:
            self._slots = array("d", (0.0,)) * SLOTS
        kind = _key(query)[len(query.name) :]
        return Aging(made, kind, self._slots, duration, listener, keep=self.options.keep_ttl)

    def _without_ours(self, reply: Reply) -> Reply:
        """Return a reply to a name of other zones, so that it says nothing of names in ours."""
        parent = reply.speaks_for
        if parent and any(is_within(zone, parent) for zone in self.options.zones):
            return reply.alone()
        return reply

    def _may_keep(self, query: Query, kind: str, seconds: int) -> bool:
        return seconds > 0 and self._disabled[kind].longest(query.name) is None

    def put(self, entry: Entry, octets: int, listener: Listener) -> None:
        """Keep an entry of so many octets of records."""
        shelf = self.store.shelf(entry.kind)
        if entry.key in shelf.entries:
            old = shelf.entries[entry.key]
            entry.renewal, entry.used = old.renewal, old.used
            if old.renewal is not None:
                old.renewal.replace()
            if self.options.stale.prefer_positive and entry.kind == SUCCESS and not entry.answers:
                entry.previous = old if old.answers else old.previous
                octets += entry.previous.size if entry.previous is not None else 0
        listener.counters.evictions[entry.kind].value += shelf.put(entry, octets)

    def find(self, key: bytes, now: float) -> Entry | None:
        """Return the entry that answers, one that has run out where such are given too."""
        positive, negative = self.store.success.entries.get(key), self.store.denial.entries.get(key)
        if positive is None and negative is None:
            return None
        stale = self.options.stale
        if stale.prefer_positive and stale.window and positive is not None:
            for entry in (positive, positive.previous):
                if entry is not None and entry.answers and self._usable(entry, now):
                    return entry
        if positive is not None and not self._usable(positive, now):
            positive = None
        if negative is not None and self._usable(negative, now):
            return positive if negative.reply.rcode == Rcode.SERVFAIL and positive is not None else negative
        return positive

    def _usable(self, entry: Entry, now: float) -> bool:
        if entry.home is not None:
            return entry.home is self and entry.remaining(now) > 0 and entry.validity.holds(now)
        return entry.remaining(now) > -self.options.stale.window and not entry.untrue

    def _ready(self, entry: Entry, query: Query, listener: Listener, now: float) -> Reply:
        """Return the same object for as long as its octets hold: up to a second."""
        flags = _flags(entry, query)
        shown = now < entry.until and not entry.dated.stale
        if shown and entry.owner is listener.counters and entry.reply.flags == flags:
            return entry.reply
        remaining = entry.duration if self.options.keep_ttl else entry.remaining(now)
        lasts = entry.duration if self.options.keep_ttl else entry.duration - remaining + 1
        entry.until, entry.owner = entry.stored + lasts, listener.counters
        if entry.home is not None:
            entry.until = min(entry.until, entry.validity.until)
        tallies = listener.tallies[entry.kind]
        if self.options.prefetch.amount:
            tallies = (*tallies, renewal_of(entry).given)
        packed = pack(entry.reply, query)
        entry.reply = packed.with_ttl(remaining, flags, entry.lasting(), tallies)
        self._count_down(entry, listener)
        return entry.reply

    def _as_a_hit(self, entry: Entry, listener: Listener) -> Reply:
        """Return a new entry's reply where a hit on it, within the second, would say the same."""
        entry.until, entry.owner = min(entry.stored + 1, entry.validity.until), listener.counters
        entry.reply = entry.reply.replaced(validity=entry.lasting())
        entry.reply.tallies = listener.tallies[entry.kind]
        self._count_down(entry, listener)
        return entry.reply

    def _count_down(self, entry: Entry, listener: Listener) -> None:
        """Say so, where TTLs are all that changes until the entry runs out, or even then."""
        end = entry.stored + entry.duration
        alone = not (self.options.keep_ttl or self.options.prefetch.amount)
        if alone and (entry.home is None or entry.validity.until >= end):
            entry.reply.expires = end
            if entry.recurs:
                octets = entry.size - len(entry.key) - OVERHEAD
                anew = self._anew(self, listener, entry.kind, entry.key[-1:], octets, entry.duration)
                entry.reply.anew = entry.key[:-1], anew

    def _listener(self, query: Query) -> Listener:
        if self._only is not None:
            return self._only
        host, port = query.client.local()
        return self._by_place.get((host, port)) or self._by_place.get(("", port)) or self.listeners[0]


def _key(query: Query) -> bytes:
    """Return all that a reply depends on: name, type, class, and whether signatures are wanted, or unchecked data."""
    key = query.key
    if not key:
        edns = query.edns
        do = edns is not None and edns.flags & DO
        flags = KEY_FLAGS[(2 if do else 0) | (1 if query.flags & CD else 0)]
        key = query.key = query.name + query.kind + flags
    return key


def _wants_ad(query: Query) -> bool:
    """RFC 6840 §5.7."""
    edns = query.edns  # Query.do, in a third of the time
    return bool(query.flags & AD or (edns is not None and edns.flags & DO))


def _flags(entry: Entry, query: Query) -> int:
    """Return the flags of a reply that was kept: AA always."""
    return entry.flags & ~(CD if _wants_ad(query) else CD | AD) | AA


def _place(server: str) -> tuple[str, int]:
    """Return a listener's host (empty: every address) and port."""
    host, _, port = server.partition("://")[2].rpartition(":")
    return host.strip("[]"), int(port)
