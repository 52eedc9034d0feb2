"""Latency while the cluster changes, is scraped, or is read anew: kubedns follows an API server, as in a cluster.

The API server is the tests' own (tests/fakes), in its own process and free to use both cores; it holds the whole
cluster. Changes are endpoints that come and go, which is what most changes of a cluster are.
"""

from __future__ import annotations

import random
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench import cluster
from bench.measure import ECHO, KUBEADM, Scenario
from bench.questions import KINDS
from bench.targets import RELIST, STEADY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.ours import Kubedns
    from bench.pace import Pacer
    from bench.processes import Server
    from tests.fakes.apiserver import APIServer

RATE = 20_000
SECONDS = 5.0
RELIST_RATE = 5_000
CHANGES = 100  # a second
SCRAPE_EVERY = 0.25  # seconds; Prometheus asks every 15 to 60
RELIST_SECONDS = 8.0
RELIST_AFTER = 1.0
DOWN = 1.0  # seconds that the API server is away
FOLLOWED = 3  # resources: namespaces, services, endpointslices
RELIST_PATIENCE = 60.0
SEED = 4


@dataclass(slots=True)
class Told:
    """What the work beside the questions has to say of itself."""

    text: str = ""
    failed: list[BaseException] = field(default_factory=list)


@contextmanager
def beside(work: Callable[[threading.Event, Told], None]) -> Iterator[Told]:
    """Let a thread work within the block; it ends when its event is set. What it raised is raised at the end."""
    ending, told = threading.Event(), Told()

    def run() -> None:
        try:
            work(ending, told)
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            told.failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield told
    finally:
        ending.set()
        thread.join()
    if told.failed:
        raise told.failed[0]


def change(api: APIServer) -> Callable[[threading.Event, Told], None]:
    """Return what lets endpoints come and go."""

    def work(ending: threading.Event, told: Told) -> None:
        chance, began, count = random.Random(SEED), time.monotonic(), 0
        while not ending.wait(max(0.0, began + count / CHANGES - time.monotonic())):
            value = cluster.endpoint_slice(chance.randrange(cluster.SERVICES))
            del value["endpoints"][chance.randrange(cluster.ENDPOINTS)]
            api.put(value)
            count += 1
        told.text = f"{count / (time.monotonic() - began):.0f} changes a second arrived"

    return work


def scrape(url: str) -> Callable[[threading.Event, Told], None]:
    """Return what reads /metrics again and again."""

    def work(ending: threading.Event, told: Told) -> None:
        taken, size = [], 0
        while not ending.wait(SCRAPE_EVERY):
            began = time.monotonic()
            with urllib.request.urlopen(url) as response:  # noqa: S310 - our own server's
                size = len(response.read())
            taken.append(time.monotonic() - began)
        told.text = f"{len(taken)} scrapes of {size:,} octets, the slowest took {1e3 * max(taken, default=0):.0f} ms"

    return work


def relist(api: APIServer) -> Callable[[threading.Event, Told], None]:
    """Return what lets the API server go and come back with its history compacted, so that all is listed anew."""

    def work(ending: threading.Event, told: Told) -> None:
        ending.wait(RELIST_AFTER)
        api.restart(compact=True, down=DOWN)
        began = time.monotonic()
        api.wait_for_watches(n=FOLLOWED, timeout=RELIST_PATIENCE)
        told.text = f"followed again {time.monotonic() - began:.1f} s after the API server was back"
        if ending.is_set():
            told.text += ", **after the questions had ended**"

    return work


def measure_scenarios(
    pacer: Pacer, echo: Server, live: Kubedns, api: APIServer, say: Callable[[str], None]
) -> list[Scenario]:
    """Ask the mix, quietly and then while something happens."""
    mix = KINDS["mix"]
    pacer.run(live, mix, RATE, SECONDS)  # answers are compiled
    floor = pacer.run(echo, mix, RATE, SECONDS)
    scenarios = [Scenario("nothing else", RATE, STEADY, {ECHO: floor, KUBEADM: pacer.run(live, mix, RATE, SECONDS)})]
    for about, work in (
        (f"{CHANGES} changes a second", change(api)),
        ("scrapes of /metrics", scrape(live.metrics_url)),
    ):
        with beside(work) as told:
            paced = pacer.run(live, mix, RATE, SECONDS)
        scenarios.append(Scenario(about, RATE, STEADY, {ECHO: floor, KUBEADM: paced}, told.text))
        say(f"{about}: p99 {paced.p99:.2f} ms, {told.text}")
    with beside(relist(api)) as told:
        paced = pacer.run(live, mix, RELIST_RATE, RELIST_SECONDS)
    scenarios.append(Scenario("the API server restarts, full relist", RELIST_RATE, RELIST, {KUBEADM: paced}, told.text))
    say(f"relist: p99 {paced.p99:.2f} ms, {told.text}")
    return scenarios
