"""python -m bench.inprocess [CLASS...]: the way to an answer without sockets, from a datagram's octets to its reply's.

The plugins, the chain, the wire cache and the dispatcher are the server's own; only the listener is missing. Time is
this thread's CPU, the least of several passes (the first fill the wire cache), so that a change of a tenth of a
microsecond shows even on a machine with other work.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import socket
import time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from bench import cluster
from bench.ours import Form, Ports, corefile
from bench.processes import BenchError, encode_query, free_ports
from bench.questions import KINDS, Files, Needs
from kubedns.corefile.parse import parse
from kubedns.listeners.mmsg import IPV4
from kubedns.listeners.udp import UdpClient
from kubedns.plugin.contract import Starts
from kubedns.plugin.registry import find_plugins
from kubedns.server.configuration import Setting, configure
from kubedns.server.dispatch import Dispatcher
from kubedns.server.lifecycle import settle_collector
from kubedns.server.stepping import Stepper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.questions import Kind
    from kubedns.server.configuration import Configuration

FOLDER = Path(__file__).parent.parent / ".bench"
QUESTIONS = 100_000
LEAST = 20_000  # in a pass: what turns has all its orders ready
PASSES = 4
SECONDS_FOR_QUESTIONS = 1.0
FUNCTIONS = 25  # shown of a profile
EDNS_SIZE = 4096  # dnsperf says so too
RCODES = {0: "NOERROR", 3: "NXDOMAIN"}
TYPES = {"A": 1, "PTR": 12, "AAAA": 28, "SRV": 33}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.inprocess", description=__doc__)
    parser.add_argument(
        "kinds", nargs="*", metavar="CLASS", help=f"of: {' '.join(KINDS)}; all of them if none is named"
    )
    parser.add_argument("--profile", action="store_true", help="show which functions the time goes to")
    parser.add_argument("--only", help="directives of the Corefile, with commas (default: all of kubeadm's that work)")
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_measure([KINDS[name] for name in chosen.kinds or KINDS], chosen))


async def _measure(kinds: Sequence[Kind], chosen: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    only = frozenset(chosen.only.split(",")) if chosen.only else None
    configuration = _configuration(only)
    before = time.monotonic()
    for part in (*configuration.shared.kept.values(), *(plugin for _, plugin in configuration.plugins)):
        if isinstance(part, Starts):
            await part.start()
    print(f"started in {time.monotonic() - before:.2f} s")
    settle_collector(whole=True, forked=False)
    stepper = Stepper(loop)
    [group] = configuration.groups.values()
    dispatcher = Dispatcher("dns://:53", group.served, stepper, any_class=group.any_class)
    await asyncio.sleep(0)  # the stepper's spares are ready after one turn of the loop
    road = Road(dispatcher, profile=chosen.profile)
    files = Files(FOLDER)
    for kind in kinds:
        if kind.tcp or kind.needs == Needs.UPSTREAM:
            continue
        print(await _called_back(partial(road.measure, kind, files)), flush=True)
    stepper.close()


def _configuration(only: frozenset[str] | None) -> Configuration:
    FOLDER.mkdir(exist_ok=True)
    manifests = FOLDER / "cluster.json"
    if not manifests.exists():
        cluster.write_manifests(manifests)
    registry = find_plugins()
    [upstream] = free_ports(1)  # nobody is asked
    parsed = parse(
        corefile(Form(only=only), Ports.choose(upstream)),
        "Corefile",
        directives=registry.order,
        unsupported=registry.unsupported,
        environment=os.environ,
        path=FOLDER / "Corefile",
        warn=print,
    )
    return configure(parsed, Setting(registry, 53, FOLDER, manifests), {})


class Road:
    """What is measured: a dispatcher, called as the listener for UDP calls it."""

    def __init__(self, dispatcher: Dispatcher, *, profile: bool) -> None:
        """With `profile`, one more pass shows which functions the time goes to."""
        self._ready = dispatcher.ready("udp").ipv4
        self._answer = dispatcher.answer
        self._profiled = profile
        self._client = UdpClient(_peer())

    def measure(self, kind: Kind, files: Files) -> str:
        """Answer all questions several times; return what is to be printed. Call it from a callback of the loop."""
        if kind.fresh:  # no name comes twice, so each pass has its own
            batches = [list(_datagrams(kind, files)) for _ in range(PASSES + 1)]
        else:
            few = list(_datagrams(kind, files))
            batches = [few * max(1, LEAST // len(few))] * (PASSES + 1)
        for datagram in batches[0]:
            reply = self._ready(datagram, time.monotonic()) or self._answer(datagram, self._client, 0.0)
            if not isinstance(reply, bytes) or RCODES.get(reply[3] & 15) not in kind.rcodes:
                raise BenchError(f"{kind.name}: {datagram!r} got {reply!r}")
        least = min(map(self._time, batches[1:]))
        text = f"{kind.name:10} {least * 1e6:6.2f} us"
        if not self._profiled:
            return text
        return f"{text}\n{self._profile(list(_datagrams(kind, files)))}"

    def _time(self, datagrams: Sequence[bytes]) -> float:
        """Return the seconds that an answer takes."""
        ready, answer, client = self._ready, self._answer, self._client
        now = time.monotonic()
        before = time.thread_time()
        for datagram in datagrams:
            ready(datagram, now) or answer(datagram, client, now)
        return (time.thread_time() - before) / len(datagrams)

    def _profile(self, datagrams: Sequence[bytes]) -> str:
        profiler = cProfile.Profile()
        profiler.runcall(self._time, datagrams)
        stats: Any = pstats.Stats(profiler)
        lines = []
        micro = 1e6 / len(datagrams)
        for (path, line, function), (_, calls, own, total, _) in stats.stats.items():
            place = f"{'/'.join(Path(path).parts[-2:])}:{line} {function}" if line else function
            shown = (
                f"{calls / len(datagrams):5.2f} calls {own * micro:6.2f} us own {total * micro:6.2f} us with callees"
            )
            lines.append((own, f"  {shown}  {place}"))
        return "\n".join(text for _, text in sorted(lines, reverse=True)[:FUNCTIONS])


async def _called_back(work: Callable[[], str]) -> str:
    """Return what a function returns when the loop calls it, outside any task."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[str] = loop.create_future()

    def call() -> None:
        try:
            done.set_result(work())
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            done.set_exception(error)

    loop.call_soon(call)
    return await done


def _datagrams(kind: Kind, files: Files) -> Iterator[bytes]:
    files.renew(kind, SECONDS_FOR_QUESTIONS)
    with files.file(kind).open(encoding="ascii") as file:
        for line in islice(file, QUESTIONS):
            domain_name, rrtype = line.split()
            yield encode_query(domain_name, TYPES[rrtype], EDNS_SIZE if kind.edns else 0)


def _peer() -> bytes:
    """Return a peer on loopback as recvmmsg leaves it."""
    loopback = socket.inet_aton("127.0.0.1")
    fields = (socket.AF_INET, b"\x80\0", loopback, 28, socket.IPPROTO_IP, 8, 0, loopback, loopback, 53)
    return IPV4.struct.pack(*fields)


if __name__ == "__main__":
    main()
