"""The supervisor's workers: made for a configuration, taken along to the next, replaced when they die.

Rules of this file:

- A reload keeps the workers that there are, and makes or ends as many as there are to be more or fewer. Only where the
  configuration shares something new, of which they have no replica, is each replaced by another on the same sockets.
- None begins before all are ready; those that are not needed any more end once they have answered what they have read.
- While there is no worker for a slot, its sockets keep what comes, for the one that will take them. Only where
  workers die again and again are they closed, so that the others get all there is.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from kubedns import metrics
from kubedns.log import server_log
from kubedns.plugin.contract import Relays, Role, StartError
from kubedns.server.others import Alone
from kubedns.server.workers.linux import adopt_descendants
from kubedns.server.workers.member import Member, State
from kubedns.server.workers.messages import pickled
from kubedns.server.workers.nursery import Nursery
from kubedns.server.workers.sockets import Pool
from kubedns.server.workers.tally import Tally, own_families, process_families

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from kubedns.server.configuration import Address, Configuration
    from kubedns.server.others import Bundle
    from kubedns.server.workers.launch import Launch
    from kubedns.server.workers.sockets import Slot

ROUND = 1.0  # seconds between two questions to each worker whether it lives
QUICK = 5.0  # seconds: one that lives shorter is replaced with a delay
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0  # seconds
LONG = 1.0  # seconds without a worker that a slot's sockets are kept open
SECRET = 16  # octets
BEGINNING = 5.0  # seconds that a worker that is ready has to begin


class Generation:
    """The workers of one configuration; most were those of the one before."""

    def __init__(self, corefile: bytes, slots: list[Slot]) -> None:
        self.corefile = corefile
        self.secret = secrets.token_bytes(SECRET)
        self.slots = slots
        self.members: dict[int, Member] = {}  # by the number of their slot
        self.deaths: Counter[int] = Counter()  # by slot, in a row, each soon after the one before
        self.replaced: set[int] = set()  # slots for which another worker is being made


class Crew(Alone):
    """All workers of a supervisor."""

    def __init__(self, launch: Launch) -> None:
        """Nothing is started before a configuration wants workers."""
        self._nursery = Nursery(launch, self._tell)
        self._pool = Pool()
        self._members: dict[int, Member] = {}  # all there are, of both generations in a reload
        self._kept = False  # whether a reload that is under way keeps them
        self._numbers = 0
        self._current = Generation(b"", [])
        self._next: Generation | None = None
        self._retired = Tally()
        self._busy: set[asyncio.Task[Any]] = set()
        self._rounds: asyncio.Task[None] | None = None
        self._stopping = False
        self._failed = 0
        self._replaced = 0
        self._registered = False

    # As a Server has it

    def sockets(self, address: Address) -> Bundle | None:
        return self._pool.first(address)

    def follow(self, new: Configuration) -> None:
        """Start what makes workers, and relay to it what the configuration shares, from before that is started."""
        if new.role is not Role.SUPERVISOR:
            return
        if not self._registered:
            self._registered = True
            adopt_descendants()
            metrics.registry.register(metrics.Folded(self._families))
            metrics.exposition.gather = self.gather
        self._nursery.start()
        relayed = [(key, value) for key, value in new.shared.kept.items() if isinstance(value, Relays)]
        followed = [self._nursery.follow(key, value) for key, value in relayed]
        self._kept = True not in followed

    async def prepare(self, new: Configuration, own: Mapping[Address, Bundle]) -> None:
        """Have a worker for each slot, and wait until all are ready."""
        generation = self._next = Generation(b"", [])
        if new.role is not Role.SUPERVISOR:
            return
        generation.corefile = pickled(new.corefile)
        held = self._current.slots
        generation.slots = self._pool.open(new.groups, new.sockets, own, held)
        for number, slot in enumerate(generation.slots):
            member = self._current.members.get(number) if self._kept else None
            if member is None or not member.settled:
                await self._make(generation, number)
            else:
                generation.members[number] = member
                member.configure(generation.corefile, generation.secret, slot, held[number])
        await asyncio.gather(*(member.ready for member in generation.members.values()))
        if self._rounds is None:
            self._rounds = asyncio.get_running_loop().create_task(self._look_after())

    async def switch(self, new: Configuration) -> None:
        """Have the new workers begin, then the old ones end."""
        assert self._next is not None  # noqa: S101 - prepare() has made it
        old, self._current, self._next = self._current, self._next, None
        begun = [member for member in self._current.members.values() if not self._replaced_if_gone(member)]
        # What nobody listens to any more goes with the workers' own: here it would take what they have stopped to read.
        self._pool.close_all(but=new.groups)
        for member in begun:
            member.serve()
        if begun:
            await asyncio.wait([member.serving for member in begun], timeout=BEGINNING)
        here = new.role is not Role.SUPERVISOR
        surplus = self._pool.retain([self._pool.firsts(new.groups)] if here else self._current.slots)
        await asyncio.gather(*(self._end(member, drain=True) for member in _only_in(old, self._current)))
        self._pool.drop(surplus)
        self._nursery.keep([] if here else list(new.shared.kept.values()))
        if here:
            self._pool.close_all()  # this process has the first ones, too
            self._nursery.stop()

    async def abandon(self, old: Configuration | None) -> None:
        """End the workers of a configuration that is not to be, but for those that serve another."""
        failed, self._next = self._next, None
        if failed is not None:
            made = _only_in(failed, self._current)
            kept = [member for member in failed.members.values() if member not in made]
            await asyncio.gather(
                *(self._end(member, drain=False) for member in made), *(member.abandon() for member in kept)
            )
            self._pool.undo()
        if old is None or old.role is not Role.SUPERVISOR:
            self._nursery.stop()
        else:
            self._nursery.keep(list(old.shared.kept.values()))

    async def linger(self) -> int:
        serving = [one for one in self._members.values() if one.state is State.SERVING]
        return sum(await asyncio.gather(*(member.linger() for member in serving)))

    async def stop(self, *, drain: bool) -> int:
        self._stopping = True
        if self._rounds is not None:
            self._rounds.cancel()
        await asyncio.gather(*(self._end(member, drain=drain) for member in list(self._members.values())))
        self._pool.close_all()
        self._nursery.stop()
        return self._failed

    # As plugins have it

    async def unready(self) -> frozenset[str]:
        serving = [one for one in self._members.values() if one.state is State.SERVING]
        if not serving:
            return frozenset({"multisocket"})
        await asyncio.gather(*(member.inspect() for member in serving))
        return frozenset().union(*(member.unready for member in serving))

    async def gather(self) -> Iterable[Metric]:
        """Return the metrics of all processes together."""
        total, own, zygote = Tally(), Tally(), Tally()
        async for families in own_families():
            own.update(families)
        if self._nursery.pid:
            zygote.update(await process_families(self._nursery.pid))
        await asyncio.gather(*(member.collect() for member in self._members.values()))
        for tally in (own, zygote, *(member.tally for member in self._members.values())):
            total.add(tally)
            await asyncio.sleep(0)
        total.add(self._retired)
        return total.metrics()

    def _families(self) -> Iterator[Metric]:
        serving = sum(member.state is State.SERVING for member in self._members.values())
        yield GaugeMetricFamily("kubedns_workers", "Processes that answer queries.", value=serving)
        text = "Processes that answered queries, and were replaced because they died."
        yield CounterMetricFamily("kubedns_workers_replaced", text, value=self._replaced)

    # Workers come and go

    async def _make(self, generation: Generation, number: int) -> Member:
        """Make a worker for a slot; StartError where that can't be."""
        self._numbers += 1
        member = Member(self._numbers, self._died)
        generation.members[number] = self._members[member.number] = member
        await self._nursery.fork(member)
        member.configure(generation.corefile, generation.secret, generation.slots[number], {})
        return member

    def _died(self, member: Member) -> None:
        """Replace a worker that ended by itself; one that was not to begin yet is missed when it is."""
        self._forget(member)
        self._replaced_if_gone(member)

    def _replaced_if_gone(self, member: Member) -> bool:
        """Replace a worker of this generation that has ended; tell whether it has."""
        if member.state is not State.GONE:
            return False
        generation = self._current
        for number, one in generation.members.items():
            if one is member and number not in generation.replaced:
                generation.replaced.add(number)
                self._spawn(self._replace(generation, number, member))
        return True

    async def _replace(self, generation: Generation, number: int, died: Member) -> None:
        while self._goes_on(generation):
            self._replaced += not died.missed
            quick = time.monotonic() - died.born < QUICK
            deaths = generation.deaths[number] = generation.deaths[number] + 1 if quick else 0
            delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (deaths - 1)) if deaths else 0.0
            when = f" in {delay:.1f} s" if delay else ""
            if not died.missed:
                server_log.error(f"worker {died.pid} {died.end()}: another takes its place{when}")
            died.missed = True
            await self._wait(generation, number, delay)
            if not self._goes_on(generation):
                return
            try:
                self._pool.reopen(generation.slots[number])
                died = await self._make(generation, number)
                await died.ready
            except (OSError, StartError) as error:
                died = generation.members[number]
                server_log.error(str(error))
                if died.state is not State.GONE:
                    await self._end(died, drain=False)
                continue
            died.serve()
            await died.serving
            if died.state is State.GONE:
                continue
            if self._goes_on(generation):
                self._pool.activate(generation.slots[number])
            break
        generation.replaced.discard(number)

    def _goes_on(self, generation: Generation) -> bool:
        return not self._stopping and generation is self._current

    async def _wait(self, generation: Generation, number: int, delay: float) -> None:
        """Wait before a worker is made; others have the queries if that will take long."""
        if (delay >= LONG or not self._nursery.ready) and self._next is None:
            for address, bundle in generation.slots[number].items():
                self._pool.close(address, bundle)
        await asyncio.sleep(delay)

    async def _end(self, member: Member, *, drain: bool) -> None:
        self._failed += await member.stop(drain=drain)
        self._forget(member)

    def _forget(self, member: Member) -> None:
        if self._members.pop(member.number, None) is not None:
            self._retired.add(member.tally, growing=True)

    def _tell(self, told: bytes) -> None:
        for member in list(self._members.values()):
            member.take(told)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(ROUND)
            for member in list(self._members.values()):
                if member.pid and member.state in {State.READY, State.SERVING, State.STARTING}:
                    self._spawn(member.inspect())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)


def _only_in(generation: Generation, other: Generation) -> list[Member]:
    """Return the members of a generation that are not another's, too."""
    others = {member.number for member in other.members.values()}
    return [member for member in generation.members.values() if member.number not in others]
