"""What is asked: classes of questions, each a file of `NAME TYPE` lines as dnsperf reads them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from itertools import count, islice
from typing import TYPE_CHECKING

from bench import cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CLUSTER_IP = [number for number in range(cluster.SERVICES) if not cluster.headless(number)]
HEADLESS = [number for number in range(cluster.SERVICES) if cluster.headless(number)]
HOT = 1_000  # Services in the working set
HEADLESS_ASKED = 500
PTR_ASKED = 100_000
MISSED = 2_000  # external names that the search path turns into cluster names
MOST_OF_OTHERS = 200_000  # lines
FORWARDED = 1_000  # names elsewhere that a cache holds
KEPT = "name"  # how names begin that the upstream answers with a record
FASTEST = 250_000  # questions that a class without repeats needs for each second
SEED = 3  # every run of the benchmark asks the same
SPREAD = 982_451_653  # a prime: multiples of it are all different modulo 10^9


def hot(chance: random.Random) -> Iterator[str]:
    for number in chance.sample(CLUSTER_IP, HOT):
        yield f"{cluster.domain_name(number)} A"
        yield f"{cluster.domain_name(number)} AAAA"


def headless(chance: random.Random) -> Iterator[str]:
    for number in chance.sample(HEADLESS, HEADLESS_ASKED):
        yield f"{cluster.domain_name(number)} A"


def srv(chance: random.Random) -> Iterator[str]:
    for number in chance.sample(HEADLESS, HEADLESS_ASKED):
        yield f"_http._tcp.{cluster.domain_name(number)} SRV"


def nxdomain(chance: random.Random) -> Iterator[str]:
    """Yield a thousand million names, none twice."""
    for place in count(chance.randrange(10**9)):
        yield f"host{place * SPREAD % 10**9}.example.com.ns-{place % cluster.NAMESPACES}.svc.{cluster.ZONE} A"


def ptr(chance: random.Random) -> Iterator[str]:
    for place in chance.sample(range(cluster.SERVICES * cluster.ENDPOINTS), PTR_ASKED):
        yield f"{(cluster.FIRST_ENDPOINT + place).reverse_pointer} PTR"


def pod(chance: random.Random) -> Iterator[str]:
    for place in range(MOST_OF_OTHERS):
        dashed = "-".join(str(chance.randrange(256)) for _ in range(3))
        yield f"10-{dashed}.ns-{place % cluster.NAMESPACES}.pod.{cluster.ZONE} A"


def mix(chance: random.Random) -> Iterator[str]:
    """Yield what clusters send: 60 % Services, few of them often; 30 % misses of the search path; 10 % other."""
    for place in range(MOST_OF_OTHERS):
        which = chance.random()
        rrtype = "A" if place % 2 else "AAAA"
        if which < 0.6:
            number = CLUSTER_IP[int(len(CLUSTER_IP) * chance.random() ** 3)]
            yield f"{cluster.domain_name(number)} {rrtype}"
        elif which < 0.9:
            search = chance.choice((f"ns-{place % cluster.NAMESPACES}.svc.", "svc.", ""))
            yield f"api{chance.randrange(MISSED)}.example.com.{search}{cluster.ZONE} {rrtype}"
        elif which < 0.95:
            yield f"{cluster.domain_name(chance.choice(HEADLESS))} A"
        else:
            yield f"_http._tcp.{cluster.domain_name(chance.choice(CLUSTER_IP))} SRV"


def forwarded_cached(_: random.Random) -> Iterator[str]:
    for number in range(FORWARDED):
        yield f"{KEPT}{number}.example.net A"


def forwarded(chance: random.Random) -> Iterator[str]:
    """Yield names that nobody has kept, so that each question goes upstream; none begins as KEPT does."""
    for place in count(chance.randrange(10**9)):
        yield f"host{place * SPREAD % 10**9}.example.net A"


def flood(chance: random.Random) -> Iterator[str]:
    """Yield a hot question and a name that no one has asked for, by turns."""
    warm = list(hot(_chance()))
    for place, line in enumerate(nxdomain(chance)):
        yield warm[place % len(warm)]
        yield line


class Needs(Enum):
    """What a server must be able to, to be asked."""

    RECORDS = "the cluster's records"
    PODS = "names of pods, made up when they are asked for"
    UPSTREAM = "an upstream to forward to"


@dataclass(frozen=True, slots=True)
class Kind:
    """A class of questions. `rcodes` are those that right answers have; `fresh`: every run needs names of its own."""

    name: str
    about: str
    lines: Callable[[random.Random], Iterator[str]]
    rcodes: frozenset[str] = frozenset({"NOERROR"})
    edns: bool = False
    fresh: bool = False
    tcp: bool = False
    needs: Needs = Needs.RECORDS


KINDS = {
    kind.name: kind
    for kind in (
        Kind("hot", "1,000 ClusterIP Services, A and AAAA", hot),
        Kind("headless", "500 headless Services, 18 addresses in a reply", headless),
        Kind("srv-edns", "SRV of those with EDNS: 18 targets and their addresses", srv, edns=True),
        Kind("srv", "SRV of those, no EDNS: cut to 512 octets, TC set", srv),
        Kind(
            "nxdomain", "search-path misses, never the same name twice", nxdomain, frozenset({"NXDOMAIN"}), fresh=True
        ),
        Kind("ptr", "PTR of 100,000 different endpoints", ptr),
        Kind("pod", "A of pod names, the address in the name", pod, needs=Needs.PODS),
        Kind("mix", "60 % Services, 30 % misses, 10 % headless and SRV", mix, frozenset({"NOERROR", "NXDOMAIN"})),
        Kind("forwarded-cached", "1,000 names elsewhere, kept by the cache", forwarded_cached, needs=Needs.UPSTREAM),
        Kind("forwarded", "names elsewhere, each asked upstream", forwarded, fresh=True, needs=Needs.UPSTREAM),
        Kind("tcp", "hot, over 20 kept TCP connections, 20 in flight", hot, tcp=True),
    )
}
FLOOD = Kind(
    "flood",
    "hot questions and random names by turns",
    flood,
    frozenset({"NOERROR", "NXDOMAIN"}),
    fresh=True,
)


class Files:
    """Question files in a folder: one for each class, written anew for each round where no name may come twice."""

    def __init__(self, folder: Path) -> None:
        """The folder is there."""
        self._folder = folder
        self._written: set[str] = set()
        self._fresh: dict[str, Iterator[str]] = {}

    def file(self, kind: Kind) -> Path:
        """Return the class's file; a class without repeats must have been renewed before."""
        path = self._folder / f"{kind.lines.__name__}.txt"
        if not kind.fresh and path.name not in self._written:
            self._written.add(path.name)
            _write(path, kind.lines(_chance()))
        return path

    def renew(self, kind: Kind, seconds: float) -> None:
        """Let the class's next questions be new ones, if they must be, and enough for runs of so many seconds.

        One file for all rounds, as the names of all would be gigabytes; in a round each server sees a name once.
        """
        if kind.fresh:
            lines = self._fresh.setdefault(kind.name, kind.lines(_chance()))
            _write(self.file(kind), islice(lines, int(seconds * FASTEST)))


def _chance() -> random.Random:
    return random.Random(SEED)


def _write(path: Path, lines: Iterator[str]) -> None:
    with path.open("w", encoding="ascii") as file:
        file.writelines(f"{line}\n" for line in lines)
