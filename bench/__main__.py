"""make bench: what kubedns costs for each query, beside an echo in C on the same machine (see README.md)."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path
from time import monotonic

from bench import cluster, machine, peers
from bench.load import Asker
from bench.measure import Results, measure_class, measure_pace
from bench.processes import BenchError, Server
from bench.questions import CLUSTER_IP, KINDS, Files
from bench.report import render

HERE = Path(__file__).parent
FOLDER = HERE.parent / ".bench"
PACED_SECONDS = 3.0
FIRST = CLUSTER_IP[0]


def main() -> int:
    """Return the exit status: 1 where something could not be measured."""
    chosen = _arguments()
    about = machine.description()
    try:
        results, corefile = _measure(chosen)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    text = render(results, about, corefile)
    print(f"\n{text}")
    output = chosen.output or (None if chosen.kinds else HERE / "results.md")
    if output:
        output.write_text(text, encoding="utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python bench", description=__doc__)
    parser.add_argument(
        "kinds", nargs="*", metavar="CLASS", help=f"of: {' '.join(KINDS)}; all of them if none is named"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run (default 2)")
    parser.add_argument("--rounds", type=int, default=3, help="of each class; the cheapest counts (default 3)")
    parser.add_argument(
        "--rates", type=int, nargs="*", default=[1_000, 5_000, 20_000], help="queries a second for the latency table"
    )
    parser.add_argument("--no-peers", action="store_true", help="leave NSD out even where it is installed")
    parser.add_argument("--only", help="directives of the Corefile, with commas (default: all of kubeadm's that work)")
    parser.add_argument("--output", type=Path, help="the report (default: bench/results.md if all classes are run)")
    chosen = parser.parse_args()
    for kind in chosen.kinds:
        if kind not in KINDS:
            parser.error(f"there is no class {kind}; choose of: {' '.join(KINDS)}")
    return chosen


def _measure(chosen: argparse.Namespace) -> tuple[Results, str]:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchError("The benchmark needs two cores: one for the server, one for who asks.")
    if shutil.which("dnsperf") is None:
        raise BenchError("The benchmark asks with dnsperf, which is not here (Debian: apt-get install dnsperf).")
    FOLDER.mkdir(exist_ok=True)
    only = frozenset(chosen.only.split(",")) if chosen.only else None
    corefile = peers.corefile(peers.supported_directives(), only=only)
    echo = peers.compile_echo(HERE / "echo.c", FOLDER)
    _say(f"Writing the cluster: {cluster.SERVICES} Services, {cluster.SERVICES * cluster.ENDPOINTS} endpoints")
    cluster.write_manifests(FOLDER / "cluster.json")
    results = Results()
    with ExitStack() as stack:
        servers = [stack.enter_context(peers.start_echo(echo, FOLDER, cores[0]))]
        _await(results, servers[-1], echo=True)
        servers.append(stack.enter_context(peers.start_kubedns(FOLDER, cores[0], corefile)))
        _await(results, servers[-1])
        nsd = None if chosen.no_peers else peers.find_nsd()
        if nsd:
            servers.append(stack.enter_context(peers.start_nsd(nsd, FOLDER, cores[0])))
            _await(results, servers[-1])
        elif not chosen.no_peers:
            _say("NSD is not installed: measured without it")
        _run(chosen, servers, results, cores[1])
    return results, corefile


def _await(results: Results, server: Server, *, echo: bool = False) -> None:
    """Wait for the address of a Service; the echo gives the question back."""
    holding = b"\0\1\0\1" if echo else IPv4Address(cluster.cluster_ip(FIRST)).packed
    results.started[server.name] = server.await_answer(cluster.domain_name(FIRST), holding)
    memory = server.memory()
    results.memory[server.name] = (memory, memory)
    _say(f"{server.name} answers after {results.started[server.name]:.2f} s")


def _run(chosen: argparse.Namespace, servers: list[Server], results: Results, core: int) -> None:
    asker = Asker(core, Files(FOLDER))
    for name in chosen.kinds or KINDS:
        row = measure_class(KINDS[name], servers, asker, chosen.seconds, chosen.rounds)
        results.rows.append(row)
        costs = ((server, min(run.microseconds for run in runs)) for server, runs in row.runs.items())
        _say(f"{name}: " + ", ".join(f"{server} {cost:.1f} us" for server, cost in costs))
    for rate in chosen.rates:
        results.paces.append((rate, measure_pace(KINDS["hot"], servers[:2], asker, PACED_SECONDS, rate)))
    for server in servers:
        results.memory[server.name] = (results.memory[server.name][0], server.memory())


def _say(text: str) -> None:
    print(f"{monotonic() - STARTED:5.0f} s  {text}", flush=True)


STARTED = monotonic()

if __name__ == "__main__":
    sys.exit(main())
