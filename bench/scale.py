"""python -m bench.scale: a cluster at Kubernetes' limits behind an API server, and what following it costs.

The API server and who asks have the second core, the server has the first (see README.md).
"""

from __future__ import annotations

import argparse
import os
import random
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench import cluster, machine
from bench.live import (
    NAMESPACE,
    NOERROR,
    NXDOMAIN,
    SEED,
    Client,
    Lived,
    Relisted,
    api_server,
    domain_name,
    following,
    load,
    relist,
    service,
)
from bench.measure import Section
from bench.probe import Probe, Sample, percentile, slowest, within
from bench.processes import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.processes import Memory

FOLDER = Path(__file__).parent.parent / ".bench"
MEBIBYTE = 1 << 20
PROBED = 500  # names that are known, a fifth of them of 18 addresses
RATE = 1_000.0  # queries a second while lists come in
QUIET = 5.0  # seconds without a list, to compare with
AWAY = 1.0  # seconds that an API server takes to restart
AFTER = 4.0  # seconds from one restart to the next


@dataclass(slots=True)
class Scale:
    """What was measured: memory in octets, all else in seconds.

    `lists` has the queries during each restart, `waited` how long the server had no core then.
    """

    started: float = 0.0
    synced: Memory | None = None
    loaded: Memory | None = None
    most: Memory | None = None
    quiet: list[Sample] = field(default_factory=list)
    lists: list[list[Sample]] = field(default_factory=list)
    relisted: list[Relisted] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    created: list[float] = field(default_factory=list)
    deleted: list[float] = field(default_factory=list)


def main() -> int:
    """Return the exit status: 1 where something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--restarts", type=int, default=3, help="of the API server, each with full lists (default 3)")
    parser.add_argument("--created", type=int, default=500, help="Services made and deleted (default 500)")
    parser.add_argument("--paged", action="store_true", help="the API server knows no streaming lists")
    chosen = parser.parse_args()
    try:
        scale = measure(restarts=chosen.restarts, created=chosen.created, streaming=not chosen.paged, say=_say)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n" + "".join(f"- {name}: {value}\n" for name, value in machine.description()))
    print(render(scale))
    return 0


def section(say: Callable[[str], None]) -> Section:
    """Return what `make bench` reports of it; raises BenchError."""
    return Section("A large cluster behind an API server", render(measure(say=say)))


def measure(*, restarts: int = 3, created: int = 500, streaming: bool = True, say: Callable[[str], None]) -> Scale:
    """Start all there is, and put it through start, load, restarts and changes; raises BenchError."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchError("The scale run needs two cores: one for the server, one for the API server and who asks.")
    FOLDER.mkdir(exist_ok=True)
    scale = Scale()
    say(f"An API server takes {cluster.SERVICES} Services and {cluster.SERVICES * cluster.ENDPOINTS} endpoints")
    with api_server(FOLDER, cores[1], streaming=streaming) as api, following(api, FOLDER, cores[0]) as server:
        known = socket.inet_aton(cluster.cluster_ip(1))
        scale.started = server.await_answer(cluster.domain_name(1), known)
        scale.synced = server.memory()
        say(f"kubedns answers after {scale.started:.2f} s")
        load(server, cores[1], FOLDER / "everything.txt")
        scale.loaded = server.memory()
        say(f"it has {scale.loaded.now / MEBIBYTE:.0f} MiB under load")
        lived = Lived(api, server)
        with Probe(server.port, cores[1], probed(), RATE) as probe:
            _restart(lived, scale, restarts, probe, say)
            _create(lived, scale, created)
        scale.most = server.memory()
    return scale


def probed() -> Iterator[str]:
    """Yield questions about names that are known all the time."""
    for number in random.Random(SEED).sample(range(cluster.SERVICES), PROBED):
        yield f"{cluster.domain_name(number)} A"


def _restart(lived: Lived, scale: Scale, restarts: int, probe: Probe, say: Callable[[str], None]) -> None:
    """Restart the API server some times while the probe asks."""
    time.sleep(1.0)  # the probe begins
    begin, used = time.monotonic(), lived.server.cpu()
    time.sleep(QUIET)
    spans = [(begin, time.monotonic())]
    idle = (lived.server.cpu() - used) / QUIET
    for number in range(1, restarts + 1):
        begin, waited = time.monotonic(), lived.server.waited()
        seconds, cpu = relist(lived, number, AWAY)
        scale.relisted.append(Relisted(seconds, cpu - idle * seconds))
        time.sleep(AFTER)
        spans.append((begin, time.monotonic()))
        scale.waited.append(lived.server.waited() - waited)
        say(f"restart {number}: lists whole after {seconds:.2f} s, {scale.relisted[-1].cpu:.2f} s of CPU")
    samples = probe.stop()
    scale.quiet, *scale.lists = [within(samples, begin, end) for begin, end in spans]


def _create(lived: Lived, scale: Scale, count: int) -> None:
    """Make Services and delete them, with what is asked in every cache, and see when answers follow."""
    client = Client(lived.server.port)
    for number in range(count):
        name, address = f"new-{number}", f"10.112.{number // 250}.{number % 250 + 1}"
        for _ in range(3):
            client.until(domain_name(name), NXDOMAIN)
        begin = time.monotonic()
        lived.api.put(service(name, address))
        scale.created.append(client.until(domain_name(name), NOERROR, socket.inet_aton(address)) - begin)
        begin = time.monotonic()
        lived.api.delete("services", name, NAMESPACE)
        scale.deleted.append(client.until(domain_name(name), NXDOMAIN) - begin)


def render(scale: Scale) -> str:
    """Return the figures as Markdown, each beside what it should be below."""
    rows = [("first right answer after the start", f"{scale.started:.2f} s", "3 s"), *_memories(scale)]
    if scale.quiet:
        rows.append(("slowest answer, no list coming in", _milliseconds(slowest(scale.quiet)), ""))
    for number, (samples, relisted) in enumerate(zip(scale.lists, scale.relisted, strict=True), 1):
        rows.append((f"slowest answer, restart {number}", _milliseconds(slowest(samples)), "20 ms"))
        rows.append((f"whole lists after restart {number}", f"{relisted.seconds:.2f} s", ""))
        rows.append(("... in which others had the server's core for", f"{scale.waited[number - 1]:.2f} s", ""))
        rows.append((f"CPU of restart {number}, questions not counted", f"{relisted.cpu:.2f} s", ""))
    took = [sample.took for samples in scale.lists for sample in samples]
    if took:
        rows.append(("99.9 % of answers during restarts within", _milliseconds(percentile(took, 0.999)), ""))
        rows.append(("unanswered or wrong during restarts", f"{sum(one < 0 for one in took)} of {len(took)}", "1"))
    for what, seconds in (("created", scale.created), ("deleted", scale.deleted)):
        if seconds:
            rows.append((f"Service {what} to answer, median", _milliseconds(percentile(seconds, 0.5)), "2 ms"))
            rows.append((f"Service {what} to answer, 99 %", _milliseconds(percentile(seconds, 0.99)), "5 ms"))
    lines = [("figure", "measured", "to be below"), ("---", "---:", "---:"), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _memories(scale: Scale) -> Iterator[tuple[str, str, str]]:
    if scale.synced and scale.loaded and scale.most:
        yield "memory once it answers", _mebibytes(scale.synced.now), ""
        yield "memory under load", _mebibytes(scale.loaded.now), ""
        yield "memory at its highest, through all", _mebibytes(scale.most.peak), "170 MiB"


def _mebibytes(octets: int) -> str:
    return f"{octets / MEBIBYTE:.0f} MiB"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


STARTED = time.monotonic()


def _say(text: str) -> None:
    print(f"{time.monotonic() - STARTED:5.0f} s  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
