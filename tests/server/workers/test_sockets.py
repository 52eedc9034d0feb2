"""The sockets of workers: kept, handed on, and taken away without loss."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

import pytest

from kubedns.listeners.sockets import ALL_IPV4, ListenError
from kubedns.server.configuration import Address
from kubedns.server.workers.sockets import Pool, duplicated
from tests.end_to_end.server import Ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubedns.server.workers.sockets import Slot

HOST = "127.0.0.1"
IN_FLIGHT = 64  # datagrams that the smallest buffer of a socket has room for


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as many as there are


@pytest.fixture
def address() -> Iterator[Address]:
    with Ports() as ports:
        yield Address("dns", HOST, ports.take())


def test_slots_have_sockets_of_their_own_and_keep_them(address: Address) -> None:
    before, pool = descriptors(), Pool()
    first = pool.open([address], 2, {})
    second = pool.open([address], 3, {})
    assert [slot[address] for slot in second][:2] == [slot[address] for slot in first]
    assert len({id(slot[address]) for slot in second}) == 3
    assert {sock.getsockname() for slot in second for sock in slot[address]} == {(HOST, address.port)}
    surplus = pool.retain(second[:1])
    assert [bundle for _, bundle in surplus] == [second[2][address], second[1][address]]
    pool.drop(surplus)
    assert pool.open([address], 1, {}) == second[:1]
    pool.close_all()
    assert descriptors() == before


def test_what_this_process_listens_to_comes_first(address: Address) -> None:
    pool, other = Pool(), Pool()
    own = pool.open([address], 1, {})[0]
    [first, _] = other.open([address], 2, own)
    assert [sock.fileno() for sock in first[address]] != [sock.fileno() for sock in own[address]]
    pool.close_all()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:  # the same socket, by another descriptor
        client.sendto(b"x", (HOST, address.port))
    for sock in other.first(address) or ():
        sock.close()
    other.close_all()
    assert other.first(address) is None


def test_an_address_that_can_not_be_had_opens_nothing(address: Address) -> None:
    before, pool = descriptors(), Pool()
    with pytest.raises(ListenError, match="cannot assign requested address"):
        pool.open([address, Address("dns", "192.0.2.1", address.port)], 3, {})
    assert descriptors() == before
    pool.close_all()
    assert len(pool.open([address], 1, {})) == 1
    pool.close_all()


def test_what_is_left_to_workers_goes_on_until_they_close_it(address: Address) -> None:
    pool, everywhere = Pool(), address._replace(host="")
    [slot] = pool.open([everywhere, address], 1, {})
    pool.retain([slot])
    [_, theirs] = held = duplicated(slot[address])
    pool.close_all(but=[everywhere])
    with Sender(HOST, address.port) as sender:
        sender.send(100)
        assert [drained(theirs), drained(slot[everywhere][2])] == [100, 0]
        for sock in held:
            sock.close()
        sender.send(100)
        assert drained(slot[everywhere][2]) == 100
    pool.close_all()


def test_a_slot_whose_sockets_were_closed_gets_others(address: Address) -> None:
    before, pool = descriptors(), Pool()
    slots = pool.open([address], 3, {})
    closed = slots[0][address]
    pool.close(address, closed)
    assert closed[1].fileno() < 0
    pool.reopen(slots[0])
    pool.reopen(slots[1])
    assert slots[0][address] is not closed
    # The kernel has put the last in the place of what was closed; so has the pool.
    assert [slot[address] for slot in pool.open([address], 3, {})] == [slots[n][address] for n in (2, 1, 0)]
    pool.close_all()
    assert descriptors() == before


class Reader(threading.Thread):
    """Counts what comes to a socket until there has been nothing for a while after it was told to stop."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self.sock = sock
        self.count = 0
        self.stopping = threading.Event()
        self.start()

    def run(self) -> None:
        while True:
            readable, _, _ = select.select([self.sock], [], [], 0.05)
            if readable:
                self.sock.recv(100)
                self.count += 1
            elif self.stopping.is_set():
                return


def test_taking_sockets_away_loses_nothing(address: Address) -> None:
    """A socket that is closed takes with it what the kernel has put there: first, nothing more must come."""
    pool = Pool()
    slots = pool.open([address], 4, {})
    pool.retain(slots)
    readers = [Reader(slot[address][1]) for slot in slots]
    sent, done = 0, threading.Event()

    def send() -> None:
        nonlocal sent
        clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(32)]
        while not done.is_set():
            for client in clients:
                client.sendto(b"x", (HOST, address.port))
                sent += 1
            time.sleep(0.002)
            while sent - sum(reader.count for reader in readers) > IN_FLIGHT and not done.is_set():
                time.sleep(0.001)
        for client in clients:
            client.close()

    sender = threading.Thread(target=send)
    sender.start()
    until = time.monotonic() + 10
    while min(reader.count for reader in readers) < 50:
        assert time.monotonic() < until
        time.sleep(0.01)
    surplus = pool.retain(slots[:1])
    for reader in readers[1:]:
        reader.stopping.set()
        reader.join()  # it has seen nothing more come
    at = [reader.count for reader in readers]
    pool.drop(surplus)
    time.sleep(0.1)
    done.set()
    sender.join()
    readers[0].stopping.set()
    readers[0].join()
    assert sum(reader.count for reader in readers) == sent
    assert [reader.count for reader in readers[1:]] == at[1:]
    pool.close_all()


@pytest.mark.parametrize(
    ("hosts", "to", "place"),
    [
        pytest.param([HOST], HOST, 1, id="one"),
        pytest.param([""], "::1", 1, id="all, IPv6"),
        pytest.param([""], HOST, 2, id="all, IPv4"),
        pytest.param([ALL_IPV4, ""], HOST, 1, id="all of IPv4, beside all of IPv6"),
        pytest.param(["", ALL_IPV4], "::1", 1, id="all of IPv6, beside all of IPv4"),
    ],
)
def test_nothing_comes_to_sockets_that_nobody_reads_yet(
    address: Address, hosts: list[str], to: str, place: int
) -> None:
    addresses = [address._replace(host=host, one_family=len(hosts) > 1) for host in hosts]
    address, pool = addresses[0], Pool()

    def came(slot: Slot) -> int:
        return drained(slot[address][place])

    first = pool.open(addresses, 1, {})
    pool.retain(first)
    with Sender(to, address.port) as sender:
        sender.send(100)
        assert came(first[0]) == 100
        three = pool.open(addresses, 3, {})
        sender.send(100)
        assert [came(slot) for slot in three] == [100, 0, 0]
        pool.close(address, three[1][address])  # the last takes its place, and is as idle as it was
        sender.send(100)
        assert [came(slot) for slot in (three[0], three[2])] == [100, 0]
        pool.reopen(three[1])
        pool.activate(three[1])
        sender.send(200)
        counts = [came(slot) for slot in three]
        assert counts[2] == 0
        assert min(counts[:2]) > 40
        assert sum(counts) == 200
        pool.retain(three)
        sender.send(300)
        counts = [came(slot) for slot in three]
        assert min(counts) > 30
        assert sum(counts) == 300
        pool.drop(pool.retain(three[2:]))
        sender.send(50)
        assert came(three[2]) == 50
    pool.close_all()


class Sender:
    """Sends datagrams from many ports."""

    def __init__(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._clients = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(50)]
        self._address = host, port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()

    def send(self, count: int) -> None:
        for number in range(count):
            self._clients[number % 50].sendto(b"x", self._address)


def drained(sock: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while sock.recv(100):
            count += 1
    return count
