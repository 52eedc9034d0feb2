"""A pod's steady load: `python -m tests.e2e.asker ADDRESS RATE`, queries a second until its standard input ends.

Each query is sent once and counts as failed if it has no good reply within the five seconds that a resolver waits
(resolv.conf(5)), and as late after half of that. What went wrong is printed at the end, as JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import dns.message
import dns.rcode

from tests.end_to_end.client import compose, framed

TIMEOUT = 5.0  # seconds
LATE = 2.5  # seconds, after which musl's resolver asks again
DOMAIN = "svc.cluster.local"
HEADLESS = ["10.244.1.3", "10.244.2.4", "10.244.3.2"]
OUTSIDE = ("www.example.org.", "192.0.2.80")  # what the upstream knows
QUESTIONS: tuple[tuple[str, str, list[str]], ...] = (  # no answer: NXDOMAIN
    (f"superopsmsb-nginx-service.default.{DOMAIN}", "A", ["10.97.135.126"]),
    (f"kubernetes.default.{DOMAIN}", "A", ["10.96.0.1"]),
    (f"superopsmsb-nginx-headless.default.{DOMAIN}", "A", HEADLESS),
    (f"superopsmsb-nginx-service.default.{DOMAIN}.default.{DOMAIN}", "A", []),
    ("10.0.96.10.in-addr.arpa", "PTR", [f"kube-dns.kube-system.{DOMAIN}."]),
    (OUTSIDE[0], "A", [OUTSIDE[1]]),
)


@dataclass(slots=True)
class Trouble:
    """A query that failed, or was late: `sent` in seconds of the machine's monotonic clock."""

    sent: float
    way: str
    name: str
    why: str = ""
    port: int = 0  # the client's, of UDP
    client: str = ""


@dataclass(slots=True)
class Report:
    asked: int = 0
    slowest: float = 0.0  # seconds that a good reply took
    repeated: int = 0  # on another connection, as the kept one ended without a reply (RFC 7766 §6.2.4)
    failed: list[Trouble] = field(default_factory=list)
    late: list[Trouble] = field(default_factory=list)


class Datagrams(asyncio.DatagramProtocol):
    """A connected UDP socket: replies go to whoever waits for their ID, an ICMP error to all."""

    def __init__(self) -> None:
        self.waiting: dict[bytes, asyncio.Future[bytes]] = {}
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    @property
    def port(self) -> int:
        return int(self.transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ARG002 - asyncio's own
        waiter = self.waiting.pop(data[:2], None)
        if waiter is not None and not waiter.done():
            waiter.set_result(data)

    def error_received(self, exc: Exception) -> None:
        for waiter in self.waiting.values():
            if not waiter.done():
                waiter.set_exception(exc)

    async def ask(self, message: bytes) -> bytes:
        waiter: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.waiting[message[:2]] = waiter
        try:
            self.transport.sendto(message)
            return await waiter
        finally:
            self.waiting.pop(message[:2], None)


class Stream:
    """One TCP connection for many queries, one after the other; made anew when the server has ended it."""

    def __init__(self, address: str, report: Report) -> None:
        self._address = address
        self._report = report
        self._turn = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, message: bytes) -> bytes:
        async with self._turn:
            for _ in range(2):
                fresh = self._streams is None
                try:
                    if self._streams is None:
                        self._streams = await asyncio.open_connection(self._address, 53)
                    return await exchange(*self._streams, message)
                except BaseException as error:
                    self.close()
                    if fresh or not isinstance(error, (OSError, EOFError)):
                        raise
                    self._report.repeated += 1
        raise EOFError

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> bytes:
    writer.write(framed(message))
    return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))


class Asker:
    def __init__(self, address: str) -> None:
        self.address = address
        self.report = Report()
        self._kept: Datagrams | None = None
        self._stream = Stream(address, self.report)

    async def ask(self, way: str, name: str, rrtype: str, expected: list[str]) -> None:
        trouble = Trouble(time.monotonic(), way, name)
        self.report.asked += 1
        message = compose(name, rrtype, ident=random.randrange(65536))
        try:
            async with asyncio.timeout(TIMEOUT):
                reply = await getattr(self, f"_{way}")(message, trouble)
            why = _check(reply, expected)
        except (OSError, EOFError) as error:
            why = "no reply" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
        taken = time.monotonic() - trouble.sent
        trouble.why = f"{why} after {taken:.3f} s"
        if why:
            self.report.failed.append(trouble)
            return
        self.report.slowest = max(self.report.slowest, taken)
        if taken > LATE:
            self.report.late.append(trouble)

    async def _fresh(self, message: bytes, trouble: Trouble) -> bytes:
        """Ask from a port of its own, as a resolver does."""
        datagrams = await self._open()
        try:
            trouble.port = datagrams.port
            return await datagrams.ask(message)
        finally:
            datagrams.transport.close()

    async def _kept_open(self, message: bytes, trouble: Trouble) -> bytes:
        """Ask from one and the same port, whose flow conntrack knows."""
        if self._kept is None:
            self._kept = await self._open()
        trouble.port = self._kept.port
        return await self._kept.ask(message)

    async def _tcp(self, message: bytes, _: Trouble) -> bytes:
        reader, writer = await asyncio.open_connection(self.address, 53)
        try:
            return await exchange(reader, writer, message)
        finally:
            writer.close()

    async def _tcp_kept_open(self, message: bytes, _: Trouble) -> bytes:
        return await self._stream.ask(message)

    async def _open(self) -> Datagrams:
        loop = asyncio.get_running_loop()
        _, datagrams = await loop.create_datagram_endpoint(Datagrams, remote_addr=(self.address, 53))
        return datagrams

    def close(self) -> None:
        self._stream.close()
        if self._kept is not None:
            self._kept.transport.close()


WAYS = ("fresh", "fresh", "kept_open", "fresh", "fresh", "tcp", "fresh", "tcp_kept_open", "fresh")


def _check(reply: bytes, expected: list[str]) -> str:
    """Return what is wrong with a reply, if anything is."""
    message = dns.message.from_wire(reply)
    rcode = dns.rcode.NOERROR if expected else dns.rcode.NXDOMAIN
    if message.rcode() != rcode:
        return dns.rcode.to_text(message.rcode())
    answer = sorted(rdata.to_text() for rrset in message.answer for rdata in rrset)
    return "" if answer == expected else f"answer {answer}"


async def main(address: str, rate: float) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)  # nothing is ever written to it
    asker = Asker(address)
    asking: set[asyncio.Task[None]] = set()
    turns = zip(itertools.cycle(WAYS), itertools.cycle(QUESTIONS), strict=False)
    start = time.monotonic()
    for number, (way, (name, rrtype, expected)) in enumerate(turns):
        task = loop.create_task(asker.ask(way, name, rrtype, expected))
        asking.add(task)
        task.add_done_callback(asking.discard)
        if number == 0:
            print("asking", flush=True)  # noqa: T201 - what the test waits for
        await asyncio.sleep(max(0, start + (number + 1) / rate - time.monotonic()))
        if ended.is_set():
            break
    await asyncio.gather(*asking)
    asker.close()
    print(json.dumps(asdict(asker.report)))  # noqa: T201 - as above


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
