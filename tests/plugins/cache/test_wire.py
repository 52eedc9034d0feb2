"""The wire cache in front of a cache: what is given without asking is what would have been given, octet for octet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubedns.plugin.contract import ServerBlock
from kubedns.wire.client import Peer
from kubedns.wire.numbers import AA
from kubedns.wire.records import address
from kubedns.wire.reply import Reply
from kubedns.wire.validity import Validity
from plugins.cache import Cache
from plugins.cache.aging import SLOTS
from plugins.cache.options import read_options
from plugins.cache.store import Store
from tests.plugins.cache.caching import DO, NO_DO, SOA, ask, message, ports
from tests.plugins.cache.wired import Side, beside_the_loop
from tests.plugins.helpers import CLIENT, directive
from tests.wire.asking import header, opt, question, with_opt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kubedns.plugin.contract import Next
    from kubedns.server.stepping import Stepper
    from kubedns.wire.query import Query

NAMES = ("a.example.org.", "b.example.org.", "A.Example.org.", "gone.example.org.")
SAID = {
    b"\1a": "NOERROR RA AD / @ {} A 192.0.2.1",
    b"\1b": "NOERROR / @ 90 CNAME c.example.org. / c.example.org. {} A 192.0.2.2 / c.example.org. 50 A 192.0.2.3",
    b"\4gone": "NXDOMAIN / +" + SOA,
}
PARENT = b"\5hosts\7example\3org\0"


def octets_of(name: bytes) -> bytes:
    return bytes((192, 0, 2, int(name[1 : name[0] + 1])))


class Numbered:
    """Siblings of names that are numbers."""

    parent = PARENT

    def answer(self, label: bytes, _: float) -> bytes | None:
        return b"\xc0\x0c\0\1\0\1\0\0\0\7\0\4" + octets_of(label) if label[1:].isdigit() else None


def apart(labels: Iterable[bytes]) -> list[bytes]:
    """Return labels that don't share a slot, by this process's hashes."""
    return list({hash(label) % SLOTS: label for label in labels}.values())


class Upstream:
    """The plugin behind: TTLs differ from one time to the next."""

    cacheable = heeds_denials = True

    def __init__(self) -> None:
        self.asked = 0

    async def resolve(self, query: Query, _: Next) -> Reply:
        if query.name.endswith(PARENT):
            reply = Reply([address(query.name, octets_of(query.name), 7)], flags=AA, validity=Validity())
            reply.siblings = Numbered()
            return reply
        self.asked += 1
        text = next(text for label, text in SAID.items() if query.name.startswith(label))
        return message(query, text.format(3 + self.asked * 7 % 40))


NUMBERS = apart(b"%c%d" % (len(str(number)), number) for number in range(1, 21))
addresses = st.sampled_from([f"{label[1:].decode()}.hosts.example.org." for label in NUMBERS[:3]])
messages = st.builds(
    lambda name, flags, edns: with_opt(header(0x0100 | flags) + question(name), *edns),
    st.one_of(st.sampled_from(NAMES), addresses),
    st.sampled_from([0, 0, 0, 0x20, 0x10]),
    st.sampled_from([(), (), (opt(),), (opt(1232, 0x8000),)]),
)
steps = st.lists(st.tuples(messages, st.sampled_from([0.0, 0.0, 0.0, 0.3, 0.7, 1.0, 9.0])), max_size=60)


@pytest.mark.parametrize(
    "line", ["cache", "cache 5 {\n keepttl\n}", "cache {\n denial 9984 4\n servfail 0\n}", "cache {\n keepttl\n}"]
)
@given(taken=steps)
@settings(max_examples=60)
def test_both_say_the_same(line: str, taken: list[tuple[bytes, float]]) -> None:
    def compare(plain: Side, wired: Side) -> None:
        for datagram, passed in taken:
            plain.now = wired.now = plain.now + passed
            expected = plain.answer(datagram)
            assert isinstance(expected, bytes)
            given_again = wired.get(datagram, wired.now)
            assert (given_again or wired.answer(datagram)) == expected
        assert wired.counts() == plain.counts()

    both(line, compare)


def test_listeners_count_apart_and_share_what_is_kept() -> None:
    async def told() -> None:
        servers = (f"dns://127.0.0.1:{next(ports)}", f"dns://:{next(ports)}", "dns://[::1]:5300")
        options = read_options(directive("cache"), ServerBlock((".",)))
        cache = Cache(options, Store(1024, 1024), servers)
        upstream = Upstream()

        def pass_on(query: Query) -> object:
            return upstream.resolve(query, pass_on)  # type: ignore[arg-type]

        places = [("127.0.0.1", int(servers[0].rpartition(":")[2])), ("192.0.2.1", int(servers[1].rpartition(":")[2]))]
        for host, port in [*places, ("::1", 5300)]:
            for edns in (None, NO_DO, DO):
                query = ask("a.example.org.", edns=edns)
                query.client = Peer("udp", CLIENT, (host, port))
                reply = await cache.resolve(query, pass_on)  # type: ignore[arg-type]
                if not reply.validity.never:
                    for tally in reply.tallies:
                        tally.value += 10
        seen = [(each.counters.requests.value, each.counters.misses.value) for each in cache.listeners]
        assert seen == [(13, 2), (33, 0), (33, 0)]
        assert upstream.asked == 2

    asyncio.run(told())


def test_given_again_until_it_runs_out() -> None:
    """A forwarded miss is not kept; a hit is, and its TTL counts down by itself."""
    seen: list[object] = []

    def asked(side: Side, _: Side) -> None:
        datagram = header() + question("a.example.org.")
        for passed in (0.0, 0.0, 0.0, 0.0, 0.9, 0.2, 0.0):
            side.now += passed
            seen.append(side.get(datagram, side.now) is not None)
            side.answer(datagram)
        seen.append(side.upstream.asked)

    both("cache", asked)
    assert seen == [False, False, True, True, True, True, True, 1]


def test_a_batch_that_was_held_up_is_older_than_what_was_asked_meanwhile() -> None:
    """Its datagrams have the moment at which they were read: what is asked first then has a later one."""
    seen: list[object] = []

    def asked(side: Side, _: Side) -> None:
        first, other = (header() + question(f"{number}.hosts.example.org.") for number in (1, 2))
        for datagram in (first, first, other):
            side.get(datagram, side.now) or side.answer(datagram)
        seen.extend(side.get(datagram, side.now - 5) == side.get(datagram, side.now) for datagram in (first, other))

    both("cache", asked)
    assert seen == [True, True]


def both(line: str, asked: Callable[[Side, Side], None]) -> None:
    """Call a function with two caches of the same line, beside the loop."""

    def call(stepper: Stepper) -> None:
        asked(Side(line, stepper, Upstream()), Side(line, stepper, Upstream()))

    beside_the_loop(call)
