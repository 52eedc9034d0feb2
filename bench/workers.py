"""python -m bench.workers: what each further worker of `multisocket` costs in memory, and what a query costs in it.

All processes of the server have the first core, who asks has the second. Two cores can't tell how much faster several
workers are together, but they can tell what a query costs in one that has a core to itself: questions come from one
port, and so all go to the same worker (see README.md).
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from bench import cluster, machine
from bench.live import api_server, domain_name, service
from bench.load import Asker
from bench.measure import Section
from bench.ours import KUBEADM_FORM, Kubedns
from bench.processes import HOST, BenchError, encode_query, free_ports
from bench.questions import CLUSTER_IP, KINDS, Files

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parent.parent / ".bench"
MEBIBYTE = 1 << 20
CLASSES = ("hot", "headless", "mix")
NAMES = ("kubedns-zygote", "kubedns-worker")  # comm of proc(5)
PATIENCE = 20.0  # seconds
CLIENTS, CHANGES = 16, 50
UPSTREAM = 9  # the port of discard: nothing here is forwarded


@dataclass(slots=True)
class Figures:
    """Of a number of workers. Memory is each process's share of what it uses (Pss of proc(5)), in octets, by comm."""

    workers: int
    started: float  # seconds from the start to the first right answer
    fresh: dict[str, list[int]]
    used: dict[str, list[int]] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)  # microseconds by class
    replaced: float = 0.0  # seconds from a worker's death to the next one's loop


def main() -> int:
    """Return the exit status: 1 where something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("numbers", nargs="*", type=int, default=[1, 2, 4], help="of workers (default: 1 2 4)")
    parser.add_argument("--seconds", type=float, default=1.6, help="of each run at full load (default 1.6)")
    parser.add_argument("--rounds", type=int, default=3, help="of each class; the cheapest counts (default 3)")
    chosen = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    cluster.write_manifests(FOLDER / "cluster.json")
    about = machine.description()
    try:
        found = measure(chosen.numbers, chosen.seconds, chosen.rounds)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join([*(f"- {name}: {value}" for name, value in about), "", *report(found)]))
    for number in chosen.numbers:
        firsts, lasts = (sorted(seconds) for seconds in measure_changes(number))
        middle, high = CHANGES // 2, CHANGES * 9 // 10
        print(
            f"\n{number} workers, a change at the API server: the first answers by it after"
            f" {firsts[middle] * 1000:.1f} ms (median; 90 %: {firsts[high] * 1000:.1f}),"
            f" the last after {lasts[middle] * 1000:.1f} (90 %: {lasts[high] * 1000:.1f})."
        )
    return 0


def section(say: Callable[[str], None]) -> Section:
    """Return what `make bench` reports of it: a second worker beside the first; raises BenchError."""
    say("Servers with one worker and with two, asked by turns")
    return Section("Several workers", "\n".join(report(measure([1, 2], 1.6, 3))) + "\n")


def measure(numbers: list[int], seconds: float, rounds: int) -> list[Figures]:
    """Start servers on the large cluster, ask them all classes by turns, kill a worker of each."""
    core, asking = sorted(os.sched_getaffinity(0))[:2]
    asker = Asker(asking, Files(FOLDER), clients=1, from_port=free_ports(1)[0])
    found: list[Figures] = []
    with ExitStack() as stack:
        servers = []
        for workers in numbers:
            form = replace(KUBEADM_FORM, workers=workers)
            server = stack.enter_context(Kubedns(f"workers {workers}", core, form, UPSTREAM, FOLDER))
            number, packed = CLUSTER_IP[0], cluster.cluster_ip(CLUSTER_IP[0])
            started = server.await_answer(cluster.domain_name(number), bytes(map(int, packed.split("."))))
            time.sleep(1.0)  # the manifests' reader and what it needed are gone
            servers.append(server)
            found.append(Figures(workers, started, shares(server)))
        for name in CLASSES:
            for number in range(rounds + 1):
                asker.files.renew(KINDS[name], seconds)
                for one, server in zip(found, servers, strict=True):
                    run = asker.full_load(server, KINDS[name], seconds)
                    if run.wrong:
                        raise BenchError(f"{server.name}: wrong replies ({name})")
                    if number:  # the first is to warm up
                        one.costs[name] = min(one.costs.get(name, run.microseconds), run.microseconds)
        for one, server in zip(found, servers, strict=True):
            one.used = shares(server)
            one.replaced = kill_one(server) if one.workers > 1 else 0.0
    return found


def measure_changes(workers: int) -> tuple[list[float], list[float]]:
    """Change a Service; return, of each change, the seconds until a worker answered by it, and until all did."""
    core, asking = sorted(os.sched_getaffinity(0))[:2]
    firsts, lasts = [], []
    with ExitStack() as stack:
        api = stack.enter_context(api_server(FOLDER, asking))
        form = replace(KUBEADM_FORM, workers=workers, kubeconfig=api.kubeconfig(FOLDER / "kubeconfig"))
        api.put(service("changing", "10.99.0.1"))
        server = stack.enter_context(Kubedns(f"changes {workers}", core, form, UPSTREAM, FOLDER))
        server.await_answer(domain_name("changing"), bytes((10, 99, 0, 1)))
        clients = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(CLIENTS)]
        for client in clients:
            client.connect((HOST, server.port))
            client.settimeout(PATIENCE)
        for number in range(2, CHANGES + 2):
            api.put(service("changing", f"10.99.0.{number}"))
            start, behind, first = time.monotonic(), clients, 0.0
            while behind:
                behind = [client for client in behind if bytes((10, 99, 0, number)) not in asked(client)]
                first = first or (time.monotonic() - start if len(behind) < len(clients) else 0.0)
            firsts.append(first)
            lasts.append(time.monotonic() - start)
    return firsts, lasts


def asked(client: socket.socket) -> bytes:
    client.send(encode_query(domain_name("changing"), 1))
    return client.recv(4096)


def shares(server: Kubedns) -> dict[str, list[int]]:
    """Return the share of memory of each process, by its name: `supervisor` is the first."""
    found: dict[str, list[int]] = {}
    for place, pid in enumerate(server.pids()):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        share = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
        name = "supervisor" if place == 0 else Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()
        found.setdefault(name, []).append(int(share[1]) * 1024 if share else 0)
    return found


def kill_one(server: Kubedns) -> float:
    """Return the seconds from a worker's death until there are as many as before."""
    before = {pid for pid in server.pids() if Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip() == NAMES[1]}
    victim, start = min(before), time.monotonic()
    os.kill(victim, signal.SIGKILL)
    while time.monotonic() < start + PATIENCE:
        now = {pid for pid in server.pids() if is_worker(pid)}
        if victim not in now and len(now) == len(before):
            return time.monotonic() - start
        time.sleep(0.001)
    raise BenchError("a worker that was killed was not replaced")


def is_worker(pid: int) -> bool:
    """Tell whether a process is a worker that has opened a loop: it waits in epoll."""
    try:
        folder = Path(f"/proc/{pid}")
        if folder.joinpath("comm").read_text(encoding="ascii").strip() != NAMES[1]:
            return False
        return any("[eventpoll]" in str(one.readlink()) for one in folder.joinpath("fd").iterdir())
    except OSError:
        return False


def report(found: list[Figures]) -> list[str]:
    """Return the lines of the tables."""
    lines = [
        "Memory in MiB: each process's share (Pss), after the start and after all load.",
        "",
        "| workers | start, s | supervisor | zygote | a worker | all | all, after load | replaced after, ms |",
        "| ------: | -------: | ---------: | -----: | -------: | --: | --------------: | -----------------: |",
    ]
    for one in found:
        zygote, workers = (one.fresh.get(name, [0]) for name in NAMES)
        cells = [
            f"{one.started:.2f}",
            mebibytes(one.fresh["supervisor"]),
            mebibytes(zygote),
            mebibytes([sum(workers) // len(workers)]),
            mebibytes([total(one.fresh)]),
            mebibytes([total(one.used)]),
            f"{one.replaced * 1000:.0f}",
        ]
        lines.append(f"| {one.workers} | {' | '.join(cells)} |")
    pairs = [(one, other) for one, other in pairwise(found) if one.workers > 1]
    for one, other in pairs:
        more = other.workers - one.workers
        fresh, used = ((total(there) - total(here)) / more / MEBIBYTE for here, there in pairs_of(one, other))
        lines.append(
            f"\nEach worker from {one.workers} to {other.workers}: {fresh:.1f} MiB, after all load {used:.1f} MiB."
        )
    lines += [
        "",
        "CPU of all processes for each query, in microseconds, while one worker has them all:",
        "",
        f"| workers | {' | '.join(CLASSES)} |",
    ]
    lines.append(f"| ------: {'| --: ' * len(CLASSES)}|")
    lines += [f"| {one.workers} | {' | '.join(f'{one.costs[name]:.2f}' for name in CLASSES)} |" for one in found]
    return lines


def pairs_of(one: Figures, other: Figures) -> list[tuple[dict[str, list[int]], dict[str, list[int]]]]:
    return [(one.fresh, other.fresh), (one.used, other.used)]


def total(shared: dict[str, list[int]]) -> int:
    return sum(sum(held) for held in shared.values())


def mebibytes(octets: list[int]) -> str:
    return f"{sum(octets) / MEBIBYTE:.1f}"


if __name__ == "__main__":
    sys.exit(main())
