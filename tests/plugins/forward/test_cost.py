"""What a forwarded query costs in instructions of bytecode: of the plugin and what it asks by, and of a whole chain."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import kubedns
import plugins
from bench.processes import free_ports
from kubedns import upstream as package
from plugins import forward
from tests.cluster.following import namespace
from tests.fakes.upstream import Upstream, answering
from tests.plugins.forward.forwarding import forwarding, gather, nobody, run
from tests.plugins.helpers import query
from tests.server.costing import serving
from tests.wire.asking import datagram

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, ModuleType

AT_A_TIME = 64  # as a listener reads them
BEFORE = 8  # such batches, after which all sockets are open
MOST = 545  # for each query; a tenth more than it takes
MOST_IN_A_CHAIN = {1: 2580, 4: 3470}  # by the addresses in each reply
COREFILE = """\
.:53 {{
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa
    prometheus 127.0.0.1:{port}
    forward . {upstream}
    cache 30
    loop
    loadbalance
}}
"""


class Count:
    """Counts instructions in some packages."""

    def __init__(self, *packages: ModuleType) -> None:
        self.folders = tuple(str(Path(str(package.__file__)).parent) + "/" for package in packages)
        self.instructions = 0

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(self.folders):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self.instructions += event == "opcode"
        return self.trace

    @contextmanager
    def counting(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            yield
        finally:
            sys.settrace(before)


def names(batch: int) -> list[str]:
    """Return names that nobody has asked for, of the same length in every batch."""
    return [f"n{batch}-{each:02}.test." for each in range(AT_A_TIME)]


def test_instructions_for_a_query() -> None:
    async def work() -> int:
        upstream = Upstream(answering())
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:

            async def ask(batch: int) -> None:
                await gather(*(plugin.resolve(query(name), nobody) for name in names(batch)))

            for batch in range(BEFORE):
                await ask(batch)
            count = Count(package, forward)
            with count.counting():
                await ask(BEFORE)
            assert len(upstream.asked) == (BEFORE + 1) * AT_A_TIME
            return count.instructions // AT_A_TIME

    assert 250 < run(work()) < MOST


@pytest.mark.parametrize(("addresses", "most"), MOST_IN_A_CHAIN.items())
def test_instructions_for_a_query_in_a_chain(tmp_path: Path, addresses: int, most: int) -> None:
    """From its datagram to its reply's, each query another name, all with as many addresses for an answer."""
    manifests = tmp_path / "cluster.json"
    manifests.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [namespace("default")]}))

    async def work() -> int:
        upstream = Upstream(answering(*(f"192.0.2.{last}" for last in range(addresses))))
        [port] = free_ports(1)
        async with (
            upstream.serving(),
            serving(COREFILE.format(upstream=upstream.address, port=port), manifests) as served,
        ):
            for batch in range(BEFORE):
                await served.ask([datagram(name) for name in names(batch)])
            messages = [datagram(name) for name in names(BEFORE)]
            count = Count(kubedns, plugins)
            with count.counting():
                await served.ask(messages)
            assert len(upstream.asked) == (BEFORE + 1) * AT_A_TIME
            return count.instructions // AT_A_TIME

    found = run(work())
    assert 1500 < found < most
