"""Messages and descriptors from one process to another: whole, in order, however much and however slowly."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
import uvloop

from kubedns.server.workers.channel import HEADER, Channel, Framer, WaitingChannel
from kubedns.server.workers.messages import Fork, Forked, Inspect, Ready, Samples, Take, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from kubedns.server.workers.messages import Message, Told

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Ends:
    """Two ends, and what has come to the second."""

    def __init__(self) -> None:
        one, other = socket.socketpair()
        self.taken: list[tuple[Told, list[int]]] = []
        self.lost: list[str] = []
        self.one = Channel(one, lambda *_: None, lambda: self.lost.append("one"))
        self.other = Channel(other, lambda message, beside: self.taken.append((message, beside)), self._other_lost)

    def _other_lost(self) -> None:
        self.lost.append("other")

    async def until(self, holds: Callable[[], object]) -> None:
        end = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < end
            await asyncio.sleep(0.001)


def run(work: Coroutine[None, None, None], loop: str = "uvloop") -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(work)


@pytest.mark.parametrize("loop", LOOPS)
def test_messages_come_whole_and_in_order(loop: str) -> None:
    async def main() -> None:
        ends = Ends()
        messages: list[Message] = [Ready(), *(Take(n, bytes([n % 256]) * n * 50) for n in range(1000)), Inspect(7)]
        for message in messages:
            ends.one.send(message)
        assert ends.one.waiting > 1 << 20  # more than a socket's buffer holds
        await ends.until(lambda: len(ends.taken) == len(messages))
        assert [message for message, _ in ends.taken] == messages
        assert ends.one.waiting == 0
        await ends.one.flush()
        ends.one.close()
        await ends.until(lambda: ends.lost == ["other"])
        ends.other.close()

    run(main(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_descriptors_stay_with_their_messages(loop: str) -> None:
    async def main() -> None:
        ends = Ends()
        pairs = [socket.socketpair() for _ in range(40)]
        for number, (mine, theirs) in enumerate(pairs):
            ends.one.send(Take(number, bytes(10_000)))
            ends.one.send(Fork(number), theirs)
            mine.send(f"{number}".encode())
        await ends.until(lambda: len(ends.taken) == 80)
        assert all(theirs.fileno() < 0 for _, theirs in pairs)  # closed, once on their way
        for message, beside in ends.taken:
            if isinstance(message, Fork):
                with socket.socket(fileno=beside[0]) as got:
                    assert got.recv(10) == f"{message.number}".encode()
                    assert not os.get_inheritable(got.fileno())
            else:
                assert beside == []
        for mine, _ in pairs:
            mine.close()
        ends.one.close()
        ends.other.close()

    run(main(), loop)


def test_what_is_left_when_an_end_closes_is_closed_too() -> None:
    async def main() -> None:
        ends = Ends()
        mine, theirs = socket.socketpair()
        for _ in range(100):
            ends.one.send(Take(1, bytes(100_000)))
        ends.one.send(Fork(1), theirs)
        ends.one.close()
        assert theirs.fileno() < 0
        ends.one.send(Ready())  # to nobody
        await ends.one.flush()
        await ends.until(lambda: ends.lost)
        assert ends.lost == ["other"]
        mine.close()
        ends.other.close()

    run(main())


def test_an_end_that_closes_while_one_writes_is_lost_once() -> None:
    async def main() -> None:
        ends = Ends()
        for _ in range(100):
            ends.one.send(Take(1, bytes(100_000)))
        flushing = asyncio.ensure_future(ends.one.flush())
        await asyncio.sleep(0)
        ends.other.close()
        await flushing
        await ends.until(lambda: ends.lost)
        assert ends.lost == ["one"]

    run(main())


def test_drain_takes_all_that_was_sent() -> None:
    async def main() -> None:
        ends = Ends()
        for number in range(200):
            ends.one.send(Forked(number, 1))
        ends.one.close()
        ends.other.drain()
        assert [message.number for message, _ in ends.taken if isinstance(message, Forked)] == list(range(200))
        assert ends.lost == ["other"]

    run(main())


def test_a_process_without_a_loop() -> None:
    one, other = (WaitingChannel(sock) for sock in socket.socketpair())
    messages: list[Message] = [Take(n, bytes(n * 100)) for n in range(300)]

    def send() -> None:
        for message in messages:
            one.send(message)
        one.close()

    sender = threading.Thread(target=send)
    sender.start()
    received = []
    while (taken := other.receive()) is not None:
        received.append(taken[0])
    sender.join()
    assert received == messages
    other.send(Ready())  # to nobody
    other.close()


def test_octet_by_octet() -> None:
    messages: list[Message] = [Ready(), Samples(3, []), Take(5, b"\0\1\2")]
    octets = b"".join(HEADER.pack(len(encode(one)), 0) + encode(one) for one in messages)
    framer = Framer()
    assert [one for octet in octets for one, _ in framer.feed(bytes([octet]), [])] == messages
