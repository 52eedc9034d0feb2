"""python -m tests.soak.changes: a large cluster that never stands still, while queries run.

Endpoints come and go, Services are made and deleted, a hundred times a second; whatever is asked meanwhile must not be
older than a second. Ends with 1 where an answer was, where memory grew, or where a query was not answered.
"""

from __future__ import annotations

import argparse
import os
import random
import socket
import sys
import tempfile
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import dns.message

from bench import cluster
from bench.live import NAMESPACE, Client, Lived, api_server, domain_name, following, load, service
from bench.probe import Probe, percentile, slowest, within
from bench.processes import BenchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.probe import Sample

A, PTR = 1, 12
OLDEST = 1.0  # seconds that an answer may be old
# Octets that memory may grow between the run's second quarter and its last, with full caches. What replaces the objects
# of the first list lies between what stays: once each slice has been replaced, that is 7 MB more, and then no more.
GROWTH = 8 << 20
PROBE_RATE = 1_000.0  # queries a second about names that are always there
LOOKED_BACK = 3  # questions about older changes, after each change
QUIET = 10.0  # seconds without changes, to tell what they cost
COMPACTED = 60.0  # seconds; an API server forgets too
SLOW = 0.02  # seconds: answers that took longer are told of
SEED = 5
MEBIBYTE = 1 << 20


class Question(NamedTuple):
    """A name without its last dot, and a type."""

    name: str
    rrtype: int


class Expected(NamedTuple):
    """What a question is to be answered with from a moment on: RDATA as text, nothing for NXDOMAIN; and before."""

    since: float
    answer: frozenset[str]
    before: frozenset[str]


class Look(NamedTuple):
    """Seconds: when, by the monotonic clock; the CPU that the server has had, and its wait for a core, until then."""

    at: float
    cpu: float
    waited: float


@dataclass(slots=True)
class Figures:
    """What was seen: seconds, octets, counts."""

    changes: int = 0
    asked: int = 0
    ages: list[float] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    seconds: float = 0.0
    idle_cpu: float = 0.0  # of a second
    busy_cpu: float = 0.0  # of a second


class Changes:
    """Makes one change after the other, and knows what every question about them is to be answered with."""

    def __init__(self, lived: Lived, chance: random.Random) -> None:
        self._api = lived.api
        self._chance = chance
        self._absent: dict[int, int] = {}  # by Service: the endpoint that is away
        self._order: deque[int] = deque()
        self._made: deque[int] = deque()
        self._number = 0
        self.expected: dict[Question, Expected] = {}

    def change(self) -> list[Question]:
        """Change something; return the questions that are answered differently from now on."""
        self._number += 1
        turn = self._number % 10
        if turn == 0:
            return self._make()
        if turn == 5 and len(self._made) > 5:
            return self._delete()
        return self._toggle()

    def _make(self) -> list[Question]:
        number = self._number
        address = _address(number)
        self._api.put(service(f"made-{number}", address))
        self._made.append(number)
        name = domain_name(f"made-{number}")
        return [self._expect(Question(name, A), {address}, set()), self._expect(_reverse(address), {name}, set())]

    def _delete(self) -> list[Question]:
        number = self._made.popleft()
        address = _address(number)
        self._api.delete("services", f"made-{number}", NAMESPACE)
        name = domain_name(f"made-{number}")
        return [self._expect(Question(name, A), set(), {address}), self._expect(_reverse(address), set(), {name})]

    def _toggle(self) -> list[Question]:
        """Let an endpoint go, or come back: each Service in its turn, so that none changes twice within a minute."""
        if not self._order:
            self._order.extend(self._chance.sample(range(cluster.SERVICES), cluster.SERVICES))
        number = self._order.popleft()
        value = cluster.endpoint_slice(number)
        addresses = [str(address) for address in cluster.endpoints(number)]
        back = number in self._absent
        place = self._absent.pop(number) if back else self._chance.randrange(cluster.ENDPOINTS)
        if not back:
            self._absent[number] = place
            del value["endpoints"][place]
        self._api.put(value)
        name, address = cluster.domain_name(number), addresses[place]
        own = f"{address.replace('.', '-')}.{name}"
        sides = [({address}, {own}, set(addresses)), (set(), set(), set(addresses) - {address})]
        now, before = sides if back else reversed(sides)
        questions = [Question(own, A), _reverse(address), Question(name, A)][: 3 if cluster.headless(number) else 2]
        return [self._expect(*each) for each in zip(questions, now, before, strict=False)]

    def _expect(self, question: Question, answer: set[str], before: set[str]) -> Question:
        self.expected[question] = Expected(time.monotonic(), frozenset(answer), frozenset(before))
        return question


class Checker:
    """Asks, and compares with what is expected."""

    def __init__(self, port: int, expected: dict[Question, Expected], figures: Figures) -> None:
        self._client = Client(port)
        self._expected = expected
        self._figures = figures

    def check(self, question: Question) -> bool:
        """Ask once; return whether the answer is the newest. One that is older than may be is taken down."""
        asked = time.monotonic()
        found = self._answer(question)
        since, answer, before = self._expected[question]
        self._figures.asked += 1
        if found == answer:
            return True
        age = asked - since
        if found != before or age > OLDEST:
            told = f"{question.name} {question.rrtype}: {sorted(found or ['no reply'])} {age:.3f} s after its change"
            self._figures.stale.append(told)
        return False

    def _answer(self, question: Question) -> frozenset[str] | None:
        octets = self._client.ask(question.name, question.rrtype)
        if not octets:
            return None
        message = dns.message.from_wire(octets)
        return frozenset(rdata.to_text().rstrip(".") for rrset in message.answer for rdata in rrset)


def run(lived: Lived, seconds: float, rate: float, cores: Sequence[int]) -> tuple[Figures, list[Sample]]:
    """Change so many things a second for so long; return what was seen, and what the probe saw."""
    figures, chance = Figures(), random.Random(SEED)
    changes = Changes(lived, chance)
    checker = Checker(lived.server.port, changes.expected, figures)
    with Probe(lived.server.port, cores[-1], _steady(), PROBE_RATE) as probe:
        time.sleep(1.0)
        figures.idle_cpu = _cpu_of(lived, QUIET)
        used, begin = lived.server.cpu(), time.monotonic()
        _change(lived, changes, checker, figures, chance, seconds, rate)
        figures.seconds = time.monotonic() - begin
        figures.busy_cpu = (lived.server.cpu() - used) / figures.seconds
        samples = probe.stop()
    time.sleep(OLDEST)
    for question in changes.expected:
        checker.check(question)
    return figures, samples


def _change(
    lived: Lived,
    changes: Changes,
    checker: Checker,
    figures: Figures,
    chance: random.Random,
    seconds: float,
    rate: float,
) -> None:
    begin = compacted = looked = time.monotonic()
    pending: deque[Question] = deque()
    known: list[Question] = []
    while (now := time.monotonic()) < begin + seconds:
        if figures.changes < (now - begin) * rate:
            changed = changes.change()
            figures.changes += 1
            known += changed
            pending.extend(question for question in changed if not _fresh(checker, question, changes, figures))
            for question in chance.sample(known, min(LOOKED_BACK, len(known))):
                checker.check(question)
        for _ in range(len(pending)):
            question = pending.popleft()
            if not _fresh(checker, question, changes, figures):
                pending.append(question)
        if now >= looked:
            figures.memory.append(lived.server.memory().now)
            figures.looks.append(Look(now, lived.server.cpu(), lived.server.waited()))
            looked += 1.0
        if now >= compacted + COMPACTED:
            lived.api.compact()
            compacted = now
        time.sleep(max(0.0, min(0.001, begin + figures.changes / rate - time.monotonic())))


def _fresh(checker: Checker, question: Question, changes: Changes, figures: Figures) -> bool:
    since = changes.expected[question].since
    fresh = checker.check(question)
    if fresh:
        figures.ages.append(time.monotonic() - since)
    return fresh


def _steady() -> Iterator[str]:
    """Yield questions about names that no change touches."""
    for number in random.Random(SEED).sample(range(cluster.SERVICES), 500):
        if not cluster.headless(number):
            yield f"{cluster.domain_name(number)} A"


def _cpu_of(lived: Lived, seconds: float) -> float:
    used, begin = lived.server.cpu(), time.monotonic()
    time.sleep(seconds)
    return (lived.server.cpu() - used) / (time.monotonic() - begin)


def _address(number: int) -> str:
    """Return the cluster IP of a Service that is made; the order of numbers is that of addresses, which come again."""
    return f"10.112.{number // 250 % 250}.{number % 250 + 1}"


def _reverse(address: str) -> Question:
    return Question(".".join([*reversed(address.split(".")), "in-addr", "arpa"]), PTR)


def report(figures: Figures, samples: Sequence[Sample]) -> tuple[str, list[str]]:
    """Return the figures as text, and what is wrong with them."""
    took = [sample.took for sample in samples]
    quarter = max(1, len(figures.memory) // 4)
    early, late = median(figures.memory[quarter : 2 * quarter + 1]), median(figures.memory[-quarter:])
    most, unanswered = max(figures.memory), sum(one < 0 for one in took)
    each = (figures.busy_cpu - figures.idle_cpu) * figures.seconds / figures.changes * 1000
    wrong = [
        *figures.stale[:20],
        *(["memory grew"] if late - early > GROWTH else []),
        *([f"{unanswered} queries without a right answer"] if unanswered else []),
    ]
    text = (
        f"{figures.changes} changes in {figures.seconds:.0f} s, {figures.changes / figures.seconds:.0f} a second\n"
        f"answers to what has changed: {figures.asked} asked, {len(figures.stale)} wrong or older than {OLDEST:.0f} s; "
        f"new after {percentile(figures.ages, 0.5) * 1000:.2f} ms (median), "
        f"{percentile(figures.ages, 0.99) * 1000:.2f} ms (99 %), {max(figures.ages) * 1000:.2f} ms (slowest)\n"
        f"answers to what has not, {PROBE_RATE:.0f} a second: {percentile(took, 0.5) * 1000:.2f} ms (median), "
        f"{percentile(took, 0.99) * 1000:.2f} ms (99 %), {slowest(samples) * 1000:.2f} ms (slowest) of {len(took)}\n"
        f"{_meanwhile(figures.looks, samples)}"
        f"memory: {early / MEBIBYTE:.1f} MiB in the second quarter, {late / MEBIBYTE:.1f} MiB in the last, "
        f"{most / MEBIBYTE:.1f} MiB at most\n"
        f"CPU: {each:.2f} ms for each change, with the questions that check it\n"
    )
    return text, wrong


def _meanwhile(looks: Sequence[Look], samples: Sequence[Sample]) -> str:
    """Tell what the server did in the seconds of the slowest answers: it may have wanted a core and had none."""
    lines = []
    for before, after in pairwise(looks):
        longest = slowest(within(samples, before.at, after.at))
        if longest > SLOW:
            cpu, waited = after.cpu - before.cpu, after.waited - before.waited
            lines.append(
                f"  {longest * 1000:.0f} ms in second {before.at - looks[0].at:.0f}, in which the server had "
                f"{cpu * 1000:.0f} ms of CPU and waited {waited * 1000:.0f} ms for its core\n"
            )
    return "".join(lines)


def main() -> int:
    """Return 1 where something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.changes", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="(default 60)")
    parser.add_argument("--rate", type=float, default=100.0, help="changes a second (default 100)")
    chosen = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        api = stack.enter_context(api_server(folder, cores[-1]))
        server = stack.enter_context(following(api, folder, cores[0]))
        try:
            server.await_answer(cluster.domain_name(1), socket.inet_aton(cluster.cluster_ip(1)))
            load(server, cores[-1], folder / "questions.txt")
            figures, samples = run(Lived(api, server), chosen.seconds, chosen.rate, cores)
        except BenchError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    text, wrong = report(figures, samples)
    sys.stdout.write(text)
    sys.stderr.write("".join(f"wrong: {each}\n" for each in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
