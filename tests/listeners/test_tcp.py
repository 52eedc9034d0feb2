"""TCP listeners on loopback: pipelines, clients that are slow, silent or gone, and too many of them."""

import asyncio
import socket
import struct
import time

import pytest

from kubedns.listeners.counters import TcpCounters
from kubedns.listeners.tcp import MESSAGES_A_TURN, ConnectionLimit, TcpSettings
from kubedns.wire.client import Client
from tests.listeners.running import PATIENCE, connection, framed, port_of, run, tcp
from tests.waiting import until

A, B, C = b"a" * 12, b"b" * 20, b"c" * 600
COARSE = 0.75  # seconds that a deadline may be late: two ticks of the sweep, and a busy machine


class Futures:
    """An `answer` whose replies are ready when the test says so."""

    def __init__(self) -> None:
        self.futures: dict[bytes, asyncio.Future[bytes | None]] = {}
        self.asked = asyncio.Event()

    def __call__(self, message: bytes, _client: Client, _now: float) -> "asyncio.Future[bytes | None]":
        self.asked.set()
        return self.futures.setdefault(message, asyncio.get_running_loop().create_future())

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.futures) < count:
                self.asked.clear()
                await self.asked.wait()


@pytest.mark.parametrize(
    ("host", "asked", "seen"),
    [("127.0.0.1", "127.0.0.1", "127.0.0.1"), ("", "127.0.0.1", "127.0.0.1"), ("", "::1", "::1")],
)
def test_a_client_is_known_by_its_addresses(host: str, asked: str, seen: str) -> None:
    clients: list[Client] = []

    def answer(message: bytes, client: Client, _now: float) -> bytes:
        clients.append(client)
        return message

    async def main() -> None:
        async with tcp(answer, host=host) as listener, connection(listener, asked) as asker:
            asker.send(A)
            assert await asker.reply() == A
            assert clients[0].transport == "tcp"
            assert clients[0].remote() == (seen, asker.writer.get_extra_info("sockname")[1])
            assert clients[0].local() == (seen, port_of(listener))
            assert clients[0].ipv6 == (":" in seen)

    run(main())


def test_replies_in_a_pipeline_come_as_they_are_ready() -> None:
    answer = Futures()

    async def main() -> None:
        async with tcp(answer) as listener, connection(listener) as asker:
            asker.send(A, B, C)
            await answer.wait_for(3)
            for message in (C, A, B):
                answer.futures[message].set_result(message)
                assert await asker.reply() == message

    run(main())


def test_a_long_pipeline_takes_turns_with_everything_else() -> None:
    count = 20 * MESSAGES_A_TURN
    answered = turns = 0

    def answer(message: bytes, _client: Client, _now: float) -> bytes:
        nonlocal answered
        answered += 1
        return message

    async def main() -> None:
        nonlocal turns
        async with tcp(answer) as listener, connection(listener) as asker:
            asker.send(*[A] * count)
            while answered < count:
                before = answered
                await asyncio.sleep(0)
                turns += 1
                assert answered - before <= 2 * MESSAGES_A_TURN  # what was put off, and a turn of new octets
            for _ in range(count):
                assert await asker.reply() == A

    run(main())
    assert turns >= count // (2 * MESSAGES_A_TURN)


def test_short_messages_silence_and_exceptions_leave_the_connection_open(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(message: bytes, _client: Client, _now: float) -> bytes | None:
        if message == A:
            raise ValueError(message)
        return None if message == B else message

    async def main() -> None:
        async with tcp(answer) as listener, connection(listener) as asker:
            asker.send(b"", A, b"short", B, C)
            assert await asker.reply() == C
            assert (listener.counters.received, listener.counters.sent, listener.counters.failed) == (3, 1, 1)

    run(main())
    assert capsys.readouterr().out.count("failed on a message") == 1


def test_a_reply_of_65535_octets_is_sent_and_a_longer_one_is_not() -> None:
    async def main() -> None:
        sizes = {A: 65535, B: 65536, C: 1}
        async with tcp(lambda message, _client, _now: bytes(sizes[message])) as listener:
            async with connection(listener) as asker:
                asker.send(A, B, C)
                assert [len(await asker.reply()) for _ in "ac"] == [65535, 1]
            assert listener.counters.too_large == 1

    run(main())


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        pytest.param(b"", 0.3, id="silent since connecting"),
        pytest.param(framed(A)[:-1], 0.3, id="no whole message yet"),
        pytest.param(framed(A), 0.9, id="idle after a message"),
        pytest.param(framed(A) + framed(B)[:5], 0.9, id="idle after one and a half"),
        pytest.param(framed(b"short"), 0.9, id="idle after a short one"),
    ],
)
def test_time_is_up(sent: bytes, seconds: float) -> None:
    async def main() -> None:
        async with tcp(settings=TcpSettings(read=0.3, idle=0.9)) as listener, connection(listener) as asker:
            asker.writer.write(sent)
            begin = time.monotonic()
            await asker.rest()
            assert seconds <= time.monotonic() - begin <= seconds + COARSE
            assert listener.counters.expired == 1

    run(main())


def test_a_client_that_drips_octets_does_not_keep_its_connection() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        for octet in framed(bytes(1000)):
            writer.write(bytes([octet]))
            await asyncio.sleep(0.02)

    async def main() -> None:
        async with tcp(settings=TcpSettings(read=0.5, idle=0.5)) as listener, connection(listener) as asker:
            asker.send(A)
            assert await asker.reply() == A
            dripping, begin = asyncio.create_task(drip(asker.writer)), time.monotonic()
            await asker.rest()
            dripping.cancel()
            assert time.monotonic() - begin <= 0.5 + COARSE

    run(main())


def test_a_busy_connection_outlives_the_idle_time_until_its_reply() -> None:
    answer = Futures()

    async def main() -> None:
        async with tcp(answer, TcpSettings(read=0.1, idle=0.1)) as listener, connection(listener) as asker:
            asker.send(A)
            await asyncio.sleep(0.9)
            answer.futures[A].set_result(A)
            assert await asker.reply() == A
            assert await asker.rest() == b""

    run(main())


def test_whoever_asks_again_in_time_stays() -> None:
    async def main() -> None:
        async with tcp(settings=TcpSettings(read=0.4, idle=0.4)) as listener, connection(listener) as asker:
            for _ in range(6):
                asker.send(A)
                assert await asker.reply() == A
                await asyncio.sleep(0.25)

    run(main())


def test_a_client_that_has_sent_all_gets_all_its_replies() -> None:
    answer = Futures()

    async def main() -> None:
        async with tcp(answer) as listener, connection(listener) as asker:
            asker.send(A, B)
            asker.writer.write_eof()
            await answer.wait_for(2)
            await asyncio.sleep(0.01)
            answer.futures[B].set_result(B)
            assert await asker.reply() == B
            answer.futures[A].set_result(C)
            assert await asker.rest() == framed(C)
            await asyncio.sleep(0.01)
            assert listener.counters.open == 0

    run(main())


def test_the_end_of_a_client_with_more_queries_than_may_be_in_flight() -> None:
    answer = Futures()
    queries = [bytes([i]) * 12 for i in range(10)]

    async def main() -> None:
        async with tcp(answer, TcpSettings(most_in_flight=3)) as listener, connection(listener) as asker:
            asker.send(*queries)
            asker.writer.write_eof()
            for i, query in enumerate(queries):
                await answer.wait_for(min(i + 3, 10))
                assert len(answer.futures) == min(i + 3, 10)
                answer.futures[query].set_result(query)
                assert await asker.reply() == query
            assert await asker.rest() == b""

    run(main())


@pytest.mark.parametrize("ends", [True, False], ids=["client closes", "client stays"])
def test_after_its_last_query_a_connection_is_closed(*, ends: bool) -> None:
    async def main() -> None:
        settings = TcpSettings(most_queries=3, linger=0.3)
        async with tcp(settings=settings) as listener, connection(listener) as asker:
            asker.send(A, B, b"short", C, A, B)
            assert await asker.rest() == framed(A, B, C)
            if ends:
                asker.writer.write_eof()
            await asyncio.sleep(0.1 if ends else 0.3 + COARSE)
            assert listener.counters.open == 0

    run(main())


@pytest.mark.parametrize("late", [True, False], ids=["late replies", "replies at once"])
def test_a_client_that_reads_no_replies_is_held_up_then_closed(*, late: bool) -> None:
    """It sends without end; the server reads little of it, keeps little, and waits no longer than the write time."""
    reply = bytes(60_000)

    def answer(_message: bytes, _client: Client, _now: float) -> "bytes | asyncio.Future[bytes | None]":
        if not late:
            return reply
        future: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, reply)
        return future

    async def main() -> None:
        async with tcp(answer, TcpSettings(write=0.5, most_in_flight=4)) as listener:
            async with connection(listener) as asker:
                begin = time.monotonic()
                asker.send(*[A] * 2000)
                await asyncio.sleep(0.2)
                (served,) = listener.connections
                assert served.transport.get_write_buffer_size() < 65536 + 5 * 60_002
                assert served.queries < 1000
                while listener.connections:
                    await asyncio.sleep(0.02)
                    assert time.monotonic() - begin < 0.5 + 2 * COARSE
            assert listener.counters.expired == 1

    run(main())


def test_a_client_that_reads_slowly_gets_everything() -> None:
    async def main() -> None:
        async with tcp(lambda _message, _client, _now: bytes(60_000)) as listener, connection(listener) as asker:
            asker.send(*[A] * 300)
            await asyncio.sleep(0.3)
            for _ in range(300):
                assert len(await asker.reply()) == 60_000

    run(main())


def test_another_answer_takes_over_on_open_connections() -> None:
    async def main() -> None:
        async with tcp() as listener, connection(listener) as asker:
            asker.send(A)
            assert await asker.reply() == A
            listener.answer = lambda _message, _client, _now: C
            asker.send(A)
            assert await asker.reply() == C

    run(main())


def test_when_there_are_too_many_the_one_idle_longest_makes_room() -> None:
    async def main() -> None:
        settings = TcpSettings(most_connections=2)
        async with tcp(settings=settings) as listener, connection(listener) as first, connection(listener) as second:
            for asker in (first, second):
                asker.send(A)
                await asker.reply()
                await asyncio.sleep(0.3)
            first.send(B)
            assert await first.reply() == B
            async with connection(listener) as third:
                third.send(C)
                assert await third.reply() == C
                assert await second.rest() == b""
                first.send(A)
                assert await first.reply() == A
            assert listener.counters.evicted == 1

    run(main())


def test_when_all_are_busy_a_new_one_is_refused() -> None:
    answer = Futures()

    async def main() -> None:
        limit = ConnectionLimit(2)
        async with tcp(answer, limit=limit) as listener, tcp(limit=limit) as other:
            async with connection(listener) as first, connection(listener) as second:
                first.send(A)
                second.send(B)
                await answer.wait_for(2)
                for full in (listener, other):
                    async with connection(full) as third:
                        assert await third.rest() == b""
                    assert full.counters.refused == 1
                answer.futures[A].set_result(A)
                assert await first.reply() == A
                answer.futures[B].set_result(None)
            await until(lambda: limit.open == 0)
            async with connection(other) as fourth:
                fourth.send(C)
                assert await fourth.reply() == C

    run(main())


def test_resets_in_every_state_leave_nothing_behind() -> None:
    """A third of the clients reset at once, a third with half a message sent, a third with queries in flight."""
    futures: list[asyncio.Future[bytes | None]] = []

    def answer(message: bytes, _client: Client, _now: float) -> "bytes | asyncio.Future[bytes | None]":
        if message == C:
            return message
        futures.append(asyncio.get_running_loop().create_future())
        return futures[-1]

    async def main() -> None:
        async with tcp(answer) as listener:
            for i in range(300):
                with socket.create_connection(("127.0.0.1", port_of(listener))) as client:
                    client.sendall((b"", framed(A)[:7], framed(A, B))[i % 3])
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    await asyncio.sleep(0)
            async with connection(listener) as asker:
                asker.send(C)
                assert await asker.reply() == C
            for future in futures:
                future.set_result(B)
            await until(lambda: not listener.connections)
            assert (listener.counters.open, listener.limit.open) == (0, 0)
            assert listener.wheel.expired(time.monotonic() + 99) == []

    run(main())


def test_draining_answers_what_has_come_and_closes_the_idle() -> None:
    answer = Futures()

    async def main() -> None:
        async with tcp(answer) as listener, connection(listener) as busy, connection(listener) as idle:
            busy.send(A, B)
            await answer.wait_for(2)
            draining = asyncio.create_task(listener.drain(PATIENCE))
            assert await idle.rest() == b""
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", busy.writer.get_extra_info("peername")[1])
            busy.send(C)  # before its connection is closed
            await answer.wait_for(3)
            for message in (A, B, C):
                answer.futures[message].set_result(message)
            assert await busy.rest() == framed(A, B, C)
            busy.writer.close()
            assert await draining

    run(main())


def test_draining_answers_what_only_the_kernel_knows_of() -> None:
    async def main() -> None:
        async with tcp() as listener:
            with socket.socket() as known, socket.socket() as unknown:
                known.connect(("127.0.0.1", port_of(listener)))
                await until(lambda: len(listener.connections) == 1)
                unknown.connect(("127.0.0.1", port_of(listener)))
                known.sendall(framed(A, B))
                unknown.sendall(framed(C))
                draining = asyncio.create_task(listener.drain(PATIENCE))
                for sock, expected in ((known, framed(A, B)), (unknown, framed(C))):
                    sock.setblocking(False)
                    received = b""
                    async with asyncio.timeout(PATIENCE):
                        while octets := await asyncio.get_running_loop().sock_recv(sock, 65535):
                            received += octets
                    assert received == expected
                    sock.close()
                assert await draining

    run(main())


def test_draining_ends_at_its_deadline() -> None:
    answer = Futures()

    async def main() -> None:
        async with tcp(answer) as listener, connection(listener) as asker:
            asker.send(A)
            await answer.wait_for(1)
            assert not await listener.drain(0.05)
            assert await asker.rest() == b""
            answer.futures[A].set_result(A)
            await asyncio.sleep(0.01)
            assert listener.counters == TcpCounters(accepted=1, received=1)

    run(main())
