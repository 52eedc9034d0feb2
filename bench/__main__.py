"""make bench: what kubedns costs for each query, beside an echo in C on the same machine (see README.md)."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from time import monotonic

from bench import cluster, machine, peers, scale, workers
from bench.following import measure_scenarios
from bench.load import Asker
from bench.measure import (
    CACHED,
    ECHO,
    KUBEADM,
    LIVE,
    WARM_UP,
    Plan,
    Results,
    measure_class,
    measure_flood,
    measure_rate,
)
from bench.ours import CACHED_FORM, KUBEADM_FORM, Form, Kubedns, corefile, only, start_echo
from bench.pace import Pacer
from bench.picture import draw
from bench.processes import BenchError, Server
from bench.programs import Programs, prepare
from bench.questions import CLUSTER_IP, FLOOD, KINDS, Files
from bench.report import render
from tests.fakes.apiserver import APIServer

HERE = Path(__file__).parent
FOLDER = HERE.parent / ".bench"
RATES = (1_000, 5_000, 20_000)
FIRST = CLUSTER_IP[0]
SECTIONS = {"scale": scale.section, "workers": workers.section}  # parts that start all they need themselves
TOGETHER = ("load", "rates", "flood", "latency")
PARTS = (*TOGETHER, *SECTIONS)


def main() -> int:
    """Return the exit status: 1 where something could not be measured."""
    chosen = _arguments()
    about = machine.description()
    bench = Bench(chosen)
    try:
        with ExitStack() as stack:
            bench.run(stack)
        for part, measure in SECTIONS.items():
            if part in chosen.parts:
                bench.results.sections.append(measure(say))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    about += [(peer.name, peer.about()) for peer in bench.peers]
    about.append(("the benchmark took", f"{monotonic() - STARTED:.0f} s"))
    text = render(bench.results, about, bench.corefile)
    print(f"\n{text}")
    whole = not chosen.kinds and set(chosen.parts) == set(PARTS) and not chosen.only
    output = chosen.output or (HERE if whole else None)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        (output / "results.md").write_text(text, encoding="utf-8")
        (output / "results.svg").write_text(draw(bench.results), encoding="utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "kinds", nargs="*", metavar="CLASS", help=f"of: {' '.join(KINDS)}; all of them if none is named"
    )
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS, help="of the benchmark (default: all)")
    parser.add_argument("--seconds", type=float, default=1.6, help="of each run at full load (default 1.6)")
    parser.add_argument("--rounds", type=int, default=3, help="of each class; the cheapest counts (default 3)")
    parser.add_argument("--paced-seconds", type=float, default=1.0, help="of each run at a low rate (default 1)")
    parser.add_argument("--no-peers", action="store_true", help="leave other servers out even where they are installed")
    parser.add_argument("--only", help="directives of the Corefile, with commas (default: all of kubeadm's)")
    parser.add_argument(
        "--output", type=Path, help="folder for results.md and results.svg (default: bench, if all ran)"
    )
    chosen = parser.parse_args()
    for kind in chosen.kinds:
        if kind not in KINDS:
            parser.error(f"there is no class {kind}; choose of: {' '.join(KINDS)}")
    return chosen


@dataclass(slots=True)
class Started:
    """What runs during the whole benchmark."""

    programs: Programs
    api: APIServer
    kubeconfig: Path
    upstream: int  # its port
    ours: list[Server]
    others: list[Server]


class Bench:
    """One run of the benchmark: the first core is the servers', the second asks."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.results = Results()
        self.peers = [] if chosen.no_peers else peers.installed()
        self.corefile = ""
        self._chosen = chosen
        self._form = only(KUBEADM_FORM, frozenset(chosen.only.split(",")) if chosen.only else None)
        self._plan = Plan(chosen.seconds, chosen.rounds, chosen.paced_seconds)
        self._files = Files(FOLDER)

    def run(self, stack: ExitStack) -> None:
        FOLDER.mkdir(exist_ok=True)
        programs = prepare(FOLDER)
        if not set(TOGETHER) & set(self._chosen.parts):
            return
        self._core, asking = sorted(os.sched_getaffinity(0))[:2]
        started = self._start(stack, programs, asking)
        asker, pacer = Asker(asking, self._files), Pacer(programs.latency, asking, self._files)
        parts = self._chosen.parts
        if "load" in parts:
            self._measure_classes([*started.ours, *started.others], asker)
        echo, kubeadm = started.ours[0], started.ours[1]
        if "rates" in parts:
            pacer.run(kubeadm, KINDS["hot"], RATES[-1], WARM_UP)  # no name is asked for the first time below
            for rate in RATES:
                paced = measure_rate(KINDS["hot"], [echo, kubeadm], pacer, self._plan, rate)
                self.results.rates.append((rate, paced))
                say(f"{rate} q/s: " + ", ".join(f"{name} {one.microseconds:.1f} us" for name, one in paced.items()))
        if "flood" in parts:
            alone = KINDS["hot"], KINDS["nxdomain"]
            self.results.flood = measure_flood(FLOOD, alone, kubeadm, asker, self._plan)
        for server in (*started.ours, *started.others):
            self.results.memory[server.name] = (self.results.memory[server.name][0], server.memory())
        if "latency" in parts:
            self._measure_latency(started, pacer)

    def _start(self, stack: ExitStack, programs: Programs, asking: int) -> Started:
        say(f"Writing the cluster: {cluster.SERVICES} Services, {cluster.SERVICES * cluster.ENDPOINTS} endpoints")
        cluster.write_manifests(FOLDER / "cluster.json")
        api = stack.enter_context(APIServer(FOLDER / "apiserver"))
        api.load(FOLDER / "cluster.json")
        kubeconfig = api.kubeconfig(FOLDER / "kubeconfig")
        upstream = stack.enter_context(start_echo("upstream", programs.echo, FOLDER, asking, upstream=True))
        echo = stack.enter_context(start_echo(ECHO, programs.echo, FOLDER, self._core))
        self._await(echo, echo=True)
        ours = [
            self._start_kubedns(stack, name, form, upstream.port)
            for name, form in ((KUBEADM, self._form), (CACHED, only(CACHED_FORM, self._form.only)))
        ]
        self.corefile = corefile(self._form, ours[0].ports)
        others = []
        for peer in self.peers:
            server = stack.enter_context(peer.start(FOLDER, self._core, upstream.port, kubeconfig))
            self._await(server)
            others.append(server)
        return Started(programs, api, kubeconfig, upstream.port, [echo, *ours], others)

    def _start_kubedns(self, stack: ExitStack, name: str, form: Form, upstream: int) -> Kubedns:
        server = stack.enter_context(Kubedns(name, self._core, form, upstream, FOLDER))
        self._await(server)
        return server

    def _await(self, server: Server, *, echo: bool = False) -> None:
        """Wait for the address of a Service; the echo gives the question back."""
        holding = b"\0\1\0\1" if echo else IPv4Address(cluster.cluster_ip(FIRST)).packed
        seconds = server.await_answer(cluster.domain_name(FIRST), holding)
        self.results.started[server.name] = seconds
        self.results.memory[server.name] = (server.memory(), server.memory())
        say(f"{server.name} answers after {seconds:.2f} s")

    def _measure_classes(self, servers: list[Server], asker: Asker) -> None:
        for name in self._chosen.kinds or KINDS:
            row = measure_class(KINDS[name], servers, asker, self._plan, say)
            self.results.rows.append(row)
            say(f"{name}: " + ", ".join(f"{server} {row.cost(server):.1f} us" for server in row.runs))

    def _measure_latency(self, started: Started, pacer: Pacer) -> None:
        with ExitStack() as stack:
            form = Form(kubeconfig=started.kubeconfig, only=self._form.only)
            live = self._start_kubedns(stack, LIVE, form, started.upstream)
            self.results.scenarios = measure_scenarios(pacer, started.ours[0], live, started.api, say)
            self.results.memory[live.name] = (self.results.memory[live.name][0], live.memory())


def say(text: str) -> None:
    """Tell how far the benchmark is."""
    print(f"{monotonic() - STARTED:5.0f} s  {text}", flush=True)


STARTED = monotonic()

if __name__ == "__main__":
    sys.exit(main())
