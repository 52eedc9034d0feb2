"""Our Query is dnslib's, for whatever dnslib writes; and any octets are answered or met with silence."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

import dns.message
import dnslib
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubedns.server.chain import link_chain
from kubedns.server.dispatch import Dispatcher, Served
from kubedns.wire.edns import echoed_options
from kubedns.wire.errors import QueryError
from kubedns.wire.message import message
from kubedns.wire.name import labels
from kubedns.wire.parse import parse_reply
from kubedns.wire.query import Query, parse_query
from kubedns.wire.records import address, soa, srv, txt
from kubedns.wire.reply import Reply
from tests.properties.made import any_names, any_octets, ascii_labels, clients, joined, numbers16, ttls
from tests.server.running import stepping
from tests.wire.asking import UDP, header, opt, option, question, with_opt

if TYPE_CHECKING:
    from kubedns.plugin.contract import Next
    from kubedns.wire.client import Client

# dnslib loses an option without data at the end.
dnslib_options = st.lists(st.tuples(st.integers(16, 0xFFFF), st.binary(min_size=1, max_size=30)), max_size=3)


@given(
    st.lists(ascii_labels, max_size=20), numbers16, numbers16, numbers16, st.integers(0, 0x07F0),
    st.none() | st.tuples(numbers16, numbers16, dnslib_options),
)  # fmt: skip
def test_query_is_dnslib_s(
    parts: list[bytes],
    ident: int,
    rrtype: int,
    rrclass: int,
    flags: int,
    edns: tuple[int, int, list[tuple[int, bytes]]] | None,
) -> None:
    octets = struct.pack("!2H", ident, flags) + header()[4:] + question(joined(parts), rrtype, rrclass)
    if edns is not None:
        size, bits, options = edns
        octets = with_opt(octets, opt(size, bits, b"".join(option(code, data) for code, data in options)))
    seen = dnslib.DNSRecord.parse(octets)
    query = parse_query(octets, UDP)
    assert query.id == struct.pack("!H", seen.header.id)
    assert query.flags == seen.header.bitmap
    assert query.opcode == seen.header.opcode
    assert tuple(labels(query.spelled)) == tuple(seen.q.qname.label)
    assert (query.rrtype, query.rrclass) == (seen.q.qtype, seen.q.qclass)
    if edns is None:
        assert query.edns is None
        return
    assert query.edns is not None
    (record,) = seen.ar
    assert query.edns.size == record.rclass
    assert (query.edns.version, query.edns.flags) == (record.ttl >> 16 & 0xFF, record.ttl & 0xFFFF)
    assert query.edns.options == tuple((one.code, bytes(one.data)) for one in record.rdata)


class Answers:
    """Answers any name with one of some shared replies, or one that is new, with waiting or without."""

    def __init__(self) -> None:
        target = b"\3web\x07default\0"
        glue = [address(target, bytes([10, 0, 0, last]), 5) for last in range(20)]
        negative = soa(b"\0", b"\2ns\0", b"\4root\0", 5, serial=1, times=(1, 1, 1, 1))
        self.shared = [
            Reply((), [negative], rcode=3, suffix=b"\0"),
            Reply(flags=0x0400, suffix=b"\0"),
            Reply([srv(target, target, 5, weight=1, port=1)], (), glue, suffix=b"\0"),
        ]

    async def resolve(self, query: Query, pass_on: Next) -> Reply:
        choice = len(query.name) % 5
        if choice == 4:
            await asyncio.sleep(0)
        if choice < len(self.shared):
            return self.shared[choice]
        return (
            Reply([txt(query.name, "x" * 100, 5) for _ in range(len(query.labels))])
            if choice == 3
            else await pass_on(query)
        )


def check(datagram: bytes, client: Client, reply: bytes | None) -> None:
    """A reply is one to that query, no longer than it may be, and a message to dnslib and dnspython alike."""
    if reply is None:
        assert len(datagram) < 12 or datagram[2] & 0x80
        return
    assert reply[:2] == datagram[:2]
    assert reply[2] & 0x80
    try:
        query = parse_query(datagram, client)
    except QueryError:
        assert len(reply) <= 512
    else:
        assert len(reply) <= query.limit
        assert reply[12:].startswith(query.question)
        echoed = b"" if query.edns is None else echoed_options(query.edns)
        # Options come back as they were, and dnspython looks into some: a cookie may be too short for it.
        if echoed and reply.endswith(struct.pack("!H", len(echoed)) + echoed):
            reply = reply[: -len(echoed) - 2] + b"\0\0"
    seen = dns.message.from_wire(reply, one_rr_per_rrset=True)
    assert len(seen.question) <= 1
    assert parse_reply(reply) is not None
    if not seen.question or b"".join(seen.question[0].name.labels).isascii():  # dnslib reads no others
        message(reply)


@pytest.mark.parametrize("any_class", [False, True], ids=["class IN", "any class"])
def test_any_octets_get_a_reply_or_silence(
    any_class: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with stepping() as stepped:
        blocks = [Served(".", link_chain([("answers", Answers())])), Served("local.", None)]
        dispatcher = Dispatcher("dns://:53", blocks, stepped.stepper, any_class=any_class)

        @given(any_octets, clients)
        @example(header() + b"\xc0\x21\0\1\0\1" + opt(512, 0, option(12, b"\x3f" * 64 * 4))[:-1] + b"\0", UDP)
        def holds(datagram: bytes, client: Client) -> None:
            reply = stepped.call(lambda: dispatcher.answer(datagram, client, 0.0))
            octets = stepped.wait(reply) if isinstance(reply, asyncio.Future) else reply
            assert octets is None or isinstance(octets, bytes)
            check(datagram, client, octets)

        holds()
    assert capsys.readouterr().out == ""


@given(any_octets, clients)
def test_parse_query_raises_nothing_else(octets: bytes, client: Client) -> None:
    try:
        query = parse_query(octets, client)
    except QueryError as refused:
        silent, reply = refused.rcode is None, refused.reply_to(octets)
        assert silent is (reply is None)
    else:
        assert query.labels == labels(query.name)
        assert len(query.name) <= 255


@given(any_names, ttls)
def test_opt_fields_are_the_ttl_s(name: bytes, ttl: int) -> None:
    query = parse_query(with_opt(header() + question(name), opt(1232, ttl)), UDP)
    assert query.edns is not None
    assert query.edns.version << 16 | query.edns.flags == ttl & 0xFFFFFF
