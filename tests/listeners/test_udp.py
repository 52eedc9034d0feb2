"""UDP listeners on loopback, with recvmmsg and without."""

import asyncio
import socket
from pathlib import Path

import pytest

from kubedns.libc import BATCH
from kubedns.listeners import ReadyReplies
from kubedns.listeners.counters import UdpCounters
from kubedns.listeners.mmsg import IPV4, IPV6, Sender
from kubedns.listeners.portable import PortableSender
from kubedns.listeners.udp import UdpClient
from kubedns.wire.client import Client
from tests.listeners.running import PATIENCE, UdpAsker, echo, port_of, run, udp
from tests.waiting import until

pytestmark = pytest.mark.parametrize("portable", [False, True], ids=["mmsg", "portable"])

QUERY = bytes(range(40))


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104 - the case at hand
        ("0.0.0.0", "127.0.0.2"),  # noqa: S104 - as above
        ("0.0.0.0", "127.0.0.5"),  # noqa: S104 - as above
        ("::", "127.0.0.5"),
        ("", "127.0.0.1"),
        ("", "127.0.0.5"),
        ("", "::1"),
        ("::1", "::1"),
    ],
)
def test_a_reply_leaves_from_the_address_that_was_asked(host: str, asked: str, *, portable: bool) -> None:
    clients: list[Client] = []

    def answer(message: bytes, client: Client, _now: float) -> bytes:
        clients.append(client)
        return message

    async def main() -> None:
        family = socket.AF_INET6 if ":" in asked else socket.AF_INET
        async with udp(answer, host, portable=portable) as listener:
            with UdpAsker(family) as asker:
                assert await asker.ask(QUERY, asked, port_of(listener)) == (QUERY, (asked, port_of(listener)))
                source = "::1" if ":" in asked else "127.0.0.1"
                assert clients[0].local() == (asked, port_of(listener))
                assert clients[0].remote() == (source, asker.sock.getsockname()[1])
        assert clients[0].transport == "udp"
        assert clients[0].ipv6 == (":" in asked)

    run(main())


def link_local() -> tuple[str, str] | None:
    """Return an address of fe80::/10 and its interface, if this machine has any that is usable."""
    table = Path("/proc/net/if_inet6")
    for line in table.read_text().splitlines() if table.exists() else ():
        octets, _, _, scope, flags, interface = line.split()
        if scope == "20" and int(flags, 16) & 0x40 == 0:
            return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(octets)), interface
    return None


def test_a_reply_to_a_link_local_address_goes_back_over_that_link(*, portable: bool) -> None:
    found = link_local()
    if found is None:
        pytest.skip("no interface has a link-local address")
    address, interface = found

    async def main() -> None:
        async with udp(echo, "", portable=portable) as listener:
            with UdpAsker(socket.AF_INET6) as asker:
                reply, source = await asker.ask(QUERY, f"{address}%{interface}", port_of(listener))
                assert (reply, source[0].partition("%")[0]) == (QUERY, address)

    run(main())


@pytest.mark.parametrize("count", [1, BATCH - 1, BATCH, BATCH + 1, 200])
def test_datagrams_that_come_together_are_all_answered(count: int, *, portable: bool) -> None:
    queries = [i.to_bytes(2, "big") + bytes(i % 500) for i in range(count)]

    async def main() -> None:
        async with udp(portable=portable) as listener:
            with UdpAsker() as asker:
                for query in queries:
                    asker.sock.sendto(query, ("127.0.0.1", port_of(listener)))
                assert [(await asker.reply())[0] for _ in queries] == queries
            assert (listener.counters.received, listener.counters.sent) == (count, count)

    run(main())


@pytest.mark.parametrize(("size", "read"), [(0, 0), (12, 12), (511, 511), (512, 512), (513, 512), (4000, 512)])
def test_a_datagram_is_read_up_to_512_octets(size: int, read: int, *, portable: bool) -> None:
    async def main() -> None:
        async with udp(lambda message, _client, _now: b"%d" % len(message), portable=portable) as listener:
            with UdpAsker() as asker:
                assert (await asker.ask(bytes(size), "127.0.0.1", port_of(listener)))[0] == b"%d" % read

    run(main())


@pytest.mark.parametrize("size", [1, 4096, 4097, 65507])
def test_large_replies_arrive_whole(size: int, *, portable: bool) -> None:
    async def main() -> None:
        async with udp(lambda message, _client, _now: message * size, portable=portable) as listener:
            with UdpAsker() as asker:
                asker.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
                for letter in b"abc":
                    asker.sock.sendto(bytes([letter]), ("127.0.0.1", port_of(listener)))
                assert [(await asker.reply())[0] for _ in "abc"] == [b"a" * size, b"b" * size, b"c" * size]

    run(main())


@pytest.mark.parametrize("size", [65508, 70_000, 300_000])
def test_a_reply_that_no_datagram_can_hold_is_counted_and_the_others_sent(size: int, *, portable: bool) -> None:
    async def main() -> None:
        async with udp(
            lambda message, _client, _now: message if message != b"b" else bytes(size), portable=portable
        ) as listener:
            with UdpAsker() as asker:
                for letter in (b"a", b"b", b"c"):
                    asker.sock.sendto(letter, ("127.0.0.1", port_of(listener)))
                assert [(await asker.reply())[0] for _ in "ac"] == [b"a", b"c"]
            assert (listener.counters.sent, listener.counters.too_large) == (2, 1)

    run(main())


def peer_at(family: socket.AddressFamily, host: str, port: int) -> bytes:
    octets = socket.inet_pton(family, host)
    if family == socket.AF_INET:
        source = b"\x7f\0\0\1"
        return IPV4.struct.pack(
            family, port.to_bytes(2, "big"), octets, IPV4.control_size - 4, 0, 8, 0, source, source, 0
        )
    source = bytes(15) + b"\1"
    return IPV6.struct.pack(
        family, port.to_bytes(2, "big"), bytes(4), octets, 0, IPV6.control_size - 4, 41, 50, source, 0, 0
    )


@pytest.mark.parametrize("bad_at", [(0,), (1,), (4,), (0, 1), (3, 4), (0, 2, 4), (0, 1, 2, 3, 4)])
@pytest.mark.parametrize(
    ("family", "here", "nowhere"),
    [
        pytest.param(socket.AF_INET, "127.0.0.1", ("127.0.0.1", 0), id="port 0"),
        pytest.param(socket.AF_INET, "127.0.0.1", ("255.255.255.255", 9), id="broadcast, not permitted"),
        pytest.param(socket.AF_INET6, "::1", ("::1", 0), id="IPv6, port 0"),
    ],
)
def test_a_datagram_that_the_kernel_refuses_takes_no_other_with_it(
    bad_at: tuple[int, ...], family: socket.AddressFamily, here: str, nowhere: tuple[str, int], *, portable: bool
) -> None:
    counters = UdpCounters()
    with socket.socket(family, socket.SOCK_DGRAM) as server, UdpAsker(family) as asker:
        server.bind((here, 0))
        asker.sock.bind((here, 0))
        good, bad = peer_at(family, here, asker.sock.getsockname()[1]), peer_at(family, *nowhere)
        sender = PortableSender(server, counters) if portable else Sender(server, counters)
        sender.send([b"%d" % i for i in range(5)], [bad if i in bad_at else good for i in range(5)])
        expected = [b"%d" % i for i in range(5) if i not in bad_at]
        assert [asker.sock.recv(100) for _ in expected] == expected
    assert counters == UdpCounters(sent=len(expected), dropped=len(bad_at))


def test_a_closed_port_at_the_client_harms_nobody_else(*, portable: bool) -> None:
    async def main() -> None:
        async with udp(portable=portable) as listener:
            for _ in range(20):
                with UdpAsker() as gone:
                    gone.sock.sendto(QUERY, ("127.0.0.1", port_of(listener)))
            with UdpAsker() as asker:
                assert (await asker.ask(QUERY, "127.0.0.1", port_of(listener)))[0] == QUERY

    run(main())


def test_silence_and_exceptions_leave_the_other_datagrams_their_replies(
    capsys: pytest.CaptureFixture[str], *, portable: bool
) -> None:
    def answer(message: bytes, _client: Client, _now: float) -> bytes | None:
        if message == b"raise":
            raise ValueError(message)
        return None if message == b"silence" else message

    async def main() -> None:
        async with udp(answer, portable=portable) as listener:
            with UdpAsker() as asker:
                for query in (b"raise", b"1", b"silence", b"2", b"silence", b"raise", b"3"):
                    asker.sock.sendto(query, ("127.0.0.1", port_of(listener)))
                assert [(await asker.reply())[0] for _ in "123"] == [b"1", b"2", b"3"]
            assert listener.counters == UdpCounters(received=7, sent=3, failed=2)

    run(main())
    assert capsys.readouterr().out.count("[ERROR] <function") == 2


def test_what_is_ready_may_fail_too(capsys: pytest.CaptureFixture[str], *, portable: bool) -> None:
    def ready(message: bytes, _now: float) -> bytes | None:
        if message == b"raise":
            raise IndexError(message)
        return None

    async def main() -> None:
        async with udp(portable=portable) as listener:
            listener.ready = ReadyReplies(ready, ready)
            with UdpAsker() as asker:
                for query in (b"1", b"raise", b"2"):
                    asker.sock.sendto(query, ("127.0.0.1", port_of(listener)))
                assert [(await asker.reply())[0] for _ in "12"] == [b"1", b"2"]
            assert listener.counters == UdpCounters(received=3, sent=2, failed=1)

    run(main())
    assert capsys.readouterr().out.count("IndexError: b'raise'") == 1


class Futures:
    """An `answer` whose replies wait: for those that begin with "now", no longer than the next turn of the loop."""

    def __init__(self) -> None:
        self.futures: dict[bytes, asyncio.Future[bytes | None]] = {}
        self.clients: dict[bytes, Client] = {}

    def __call__(self, message: bytes, client: Client, _now: float) -> "bytes | asyncio.Future[bytes | None]":
        if message.startswith(b"now"):
            return message
        self.clients[message] = client
        return self.futures.setdefault(message, asyncio.get_running_loop().create_future())


def test_late_replies_go_to_their_own_clients(*, portable: bool) -> None:
    answer = Futures()

    async def main() -> None:
        async with udp(answer, "", portable=portable) as listener:
            port = port_of(listener)
            with UdpAsker() as four, UdpAsker(socket.AF_INET6) as six:
                four.sock.sendto(b"a", ("127.0.0.5", port))
                six.sock.sendto(b"b", ("::1", port))
                six.sock.sendto(b"never", ("::1", port))
                assert (await four.ask(b"now", "127.0.0.1", port))[0] == b"now"
                assert listener.pending == 3
                answer.futures[b"never"].set_result(None)
                answer.futures[b"b"].set_result(b"B")
                answer.futures[b"a"].set_result(b"A")
                assert await four.reply() == (b"A", ("127.0.0.5", port))
                assert await six.reply() == (b"B", ("::1", port))
                assert answer.clients[b"b"].remote() == ("::1", six.sock.getsockname()[1])
            assert (listener.pending, listener.counters.sent) == (0, 3)

    run(main())


def test_more_late_replies_at_once_than_a_batch_has(*, portable: bool) -> None:
    answer = Futures()
    queries = [b"%d" % i for i in range(3 * BATCH + 1)]

    async def main() -> None:
        async with udp(answer, portable=portable, most_pending=1000) as listener:
            with UdpAsker() as asker:
                for query in queries:
                    asker.sock.sendto(query, ("127.0.0.1", port_of(listener)))
                await asker.ask(b"now", "127.0.0.1", port_of(listener))
                for query in queries:
                    answer.futures[query].set_result(query)
                assert [(await asker.reply())[0] for _ in queries] == queries

    run(main())


def test_too_many_waiting_queries_cost_the_newest_their_reply(*, portable: bool) -> None:
    answer = Futures()

    async def main() -> None:
        async with udp(answer, portable=portable, most_pending=2) as listener:
            with UdpAsker() as asker:
                for query in (b"a", b"b", b"c"):
                    asker.sock.sendto(query, ("127.0.0.1", port_of(listener)))
                await asker.ask(b"now", "127.0.0.1", port_of(listener))
                assert (listener.pending, listener.counters.rejected) == (2, 1)
                assert answer.futures[b"c"].cancelled()
                answer.futures[b"b"].set_result(b"B")
                assert (await asker.reply())[0] == b"B"

    run(main())


def test_another_answer_takes_over_between_two_datagrams(*, portable: bool) -> None:
    answer = Futures()

    async def main() -> None:
        async with udp(answer, portable=portable) as listener:
            with UdpAsker() as asker:
                asker.sock.sendto(b"old", ("127.0.0.1", port_of(listener)))
                await asker.ask(b"now", "127.0.0.1", port_of(listener))
                listener.answer = lambda message, _client, _now: b"new " + message
                assert (await asker.ask(b"now", "127.0.0.1", port_of(listener)))[0] == b"new now"
                answer.futures[b"old"].set_result(b"old")
                assert (await asker.reply())[0] == b"old"

    run(main())


def test_draining_answers_what_has_come_and_waits_for_what_is_in_flight(*, portable: bool) -> None:
    answer = Futures()

    async def main() -> None:
        async with udp(answer, portable=portable) as listener:
            with UdpAsker() as asker:
                asker.sock.sendto(b"a", ("127.0.0.1", port_of(listener)))
                asker.sock.sendto(b"now", ("127.0.0.1", port_of(listener)))
                draining = asyncio.create_task(listener.drain(PATIENCE))
                assert (await asker.reply())[0] == b"now"
                answer.futures[b"a"].set_result(b"A")
                assert await draining
                listener.close()
                assert (await asker.reply())[0] == b"A"

    run(main())


def test_draining_reads_on_until_nothing_waits_and_then_refuses(*, portable: bool) -> None:
    """What comes while a reply is awaited is answered; a socket that is open and not read would swallow it."""
    answer = Futures()

    async def main() -> None:
        async with udp(answer, portable=portable) as listener:
            address = ("127.0.0.1", port_of(listener))
            with UdpAsker() as asker:
                asker.sock.connect(address)
                asker.sock.send(b"a")
                draining = asyncio.create_task(listener.drain(PATIENCE))
                await until(lambda: b"a" in answer.futures)
                for _ in range(300):  # more than one wake-up reads, less than the kernel's buffer holds
                    asker.sock.send(b"now")
                    await asker.reply()
                asker.sock.send(b"b")
                await until(lambda: b"b" in answer.futures)
                answer.futures[b"a"].set_result(b"A")
                assert (await asker.reply())[0] == b"A"
                assert not draining.done()
                for _ in range(100):
                    asker.sock.send(b"now")
                answer.futures[b"b"].set_result(b"B")
                assert await draining
                assert sorted([(await asker.reply())[0] for _ in range(101)]) == [b"B", *([b"now"] * 100)]
                asker.sock.send(b"late")
                with pytest.raises(ConnectionRefusedError):
                    asker.sock.send(b"late")

    run(main())


def test_draining_ends_at_its_deadline_and_a_reply_after_close_is_dropped(*, portable: bool) -> None:
    answer = Futures()

    async def main() -> None:
        async with udp(answer, portable=portable) as listener:
            with UdpAsker() as asker:
                asker.sock.sendto(b"a", ("127.0.0.1", port_of(listener)))
                assert not await listener.drain(0.05)
            listener.close()
            answer.futures[b"a"].set_result(b"A")
            await asyncio.sleep(0.01)
            assert (listener.pending, listener.counters.sent) == (0, 0)

    run(main())


@pytest.mark.parametrize(
    ("family", "host", "text"),
    [
        (socket.AF_INET, "10.1.2.3", "10.1.2.3"),
        (socket.AF_INET6, "2001:db8::1", "2001:db8::1"),
    ],
)
def test_a_client_is_decoded_from_its_peer(
    family: socket.AddressFamily, host: str, text: str, *, portable: bool
) -> None:
    del portable  # both roads give the same octets
    client = UdpClient(peer_at(family, host, 4711))
    assert client.remote() == (text, 4711)
    assert client.ipv6 == (":" in text)
