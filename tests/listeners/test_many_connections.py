"""Thousands of idle connections, and descriptors that run out: other clients are served meanwhile."""

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kubedns.listeners.tcp import ConnectionLimit, TcpListener, TcpSettings
from tests.listeners.running import UdpAsker, connection, framed, port_of, run, tcp, udp
from tests.waiting import until

MANY = 10_000
QUERY = b"q" * 12
KIB_A_CONNECTION = 12  # of resident memory, at most

CROWD = """
import socket, sys
port, count, first = int(sys.argv[1]), int(sys.argv[2]), bytes.fromhex(sys.argv[3])
crowd = []
for i in range(count):
    crowd.append(socket.create_connection((f"127.0.0.{1 + i % 4}", port)))
    crowd[-1].sendall(first)
print("here", flush=True)
sys.stdin.read()
"""


@contextmanager
def crowd(listener: TcpListener, count: int, first: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """Keep connections open from another process, each with some octets sent."""
    arguments = [sys.executable, "-c", CROWD, str(port_of(listener)), str(count), first.hex()]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def descriptors(soft: int) -> Iterator[None]:
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, old)


def resident() -> int:
    """Return this process's memory in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


async def has_come(process: subprocess.Popen[bytes]) -> bool:
    assert process.stdout is not None
    return await asyncio.get_running_loop().run_in_executor(None, process.stdout.readline) == b"here\n"


async def is_accepted(process: subprocess.Popen[bytes], listener: TcpListener, count: int) -> bool:
    """Wait for what the kernel has still to hand over, too."""
    come = await has_come(process)
    await until(lambda: len(listener.connections) >= count)
    return come


async def slowest_exchange(listener: TcpListener, while_running: "asyncio.Future[bool]") -> float:
    """Return the longest that a query took, over a connection kept and over ever new ones, in seconds."""
    slowest = 0.0
    async with connection(listener) as kept:
        while not while_running.done():
            async with connection(listener) as new:
                for asker in (kept, new):
                    begin = time.monotonic()
                    asker.send(QUERY)
                    assert await asker.reply() == QUERY
                    slowest = max(slowest, time.monotonic() - begin)
            await asyncio.sleep(0.01)
    return slowest


@pytest.mark.parametrize("first", [b"", framed(QUERY)[:5], framed(QUERY)], ids=["silent", "half a message", "answered"])
def test_ten_thousand_idle_connections_harm_nobody(first: bytes) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < MANY + 500:
        pytest.skip("this user may not open so many files")

    async def main() -> None:
        settings = TcpSettings(read=60, idle=60)
        async with tcp(settings=settings, host="", limit=ConnectionLimit(MANY + 100)) as listener:
            before = resident()
            with crowd(listener, MANY, first) as process:
                coming = asyncio.ensure_future(is_accepted(process, listener, MANY))
                assert await slowest_exchange(listener, coming) < 1
                assert coming.result()
                assert resident() - before < MANY * KIB_A_CONNECTION
            await until(lambda: not listener.connections)

    with descriptors(MANY + 500 if hard == resource.RLIM_INFINITY else hard):
        run(main())


def test_a_crowd_over_the_limit_pushes_out_its_own() -> None:
    async def main() -> None:
        async with tcp(host="", limit=ConnectionLimit(100)) as listener:
            with crowd(listener, 1000, b"") as process:
                coming = asyncio.ensure_future(has_come(process))
                assert await slowest_exchange(listener, coming) < 1
                await until(lambda: listener.counters.evicted >= 900)  # the last may wait to be accepted yet
                assert len(listener.connections) <= 100
                assert listener.counters.refused == 0

    run(main())


def test_running_out_of_descriptors_neither_stops_nor_spins() -> None:
    """The limit is set too high for once; UDP goes on, and TCP again as soon as descriptors are free."""

    used = len(list(Path("/proc/self/fd").iterdir()))

    async def main() -> None:
        async with udp() as datagrams, tcp(host="", limit=ConnectionLimit(10_000)) as listener:
            with UdpAsker() as asker, crowd(listener, 400, b"") as process, descriptors(used + 100):
                await asyncio.sleep(0.5)
                spent, begin = time.process_time(), time.monotonic()
                await asyncio.sleep(0.5)
                assert time.process_time() - spent < 0.25 * (time.monotonic() - begin)
                assert (await asker.ask(QUERY, "127.0.0.1", port_of(datagrams)))[0] == QUERY
                assert listener.counters.accepted < 400
                process.kill()
            await until(lambda: not listener.connections)
            async with connection(listener) as late:
                late.send(QUERY)
                assert await late.reply() == QUERY

    run(main())
