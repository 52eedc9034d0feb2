"""What the fuzzer calls with any octets, and what must hold whatever they are."""

import atexit
import contextlib
import functools
from collections.abc import Callable

import dns.exception
import dns.message

from kubedns import metrics
from kubedns.wire.client import Peer
from kubedns.wire.edns import Edns, echoed_options
from kubedns.wire.errors import QueryError, WireError
from kubedns.wire.name import labels
from kubedns.wire.numbers import HEADER_SIZE, Rcode
from kubedns.wire.packed import read_packed
from kubedns.wire.parse import parse_reply
from kubedns.wire.query import Query, parse_query
from kubedns.wire.reply import HIGHEST_HEADER_RCODE, Reply
from tests.fuzz.answerer import Answerer

CLIENTS = (
    Peer("udp", ("192.0.2.1", 53000), ("192.0.2.53", 53)),
    Peer("tcp", ("2001:db8::1", 53000), ("2001:db8::53", 53)),
)
QR_BIT = 0x80
SMALLEST_LIMIT = 512


def check_query(datagram: bytes) -> None:
    """Any octets give a Query, whose parts fit together, or a QueryError, which knows its own reply."""
    for client in CLIENTS:
        edns = None
        try:
            query = parse_query(datagram, client)
        except QueryError as error:
            rcode, reply = error.rcode, error.reply_to(datagram)
            assert (rcode is None) == (reply is None)
        else:
            edns = query.edns
            assert query.id == datagram[:2]
            assert query.name == query.spelled.lower()
            assert b"".join(bytes([len(label)]) + label for label in query.labels) + b"\0" == query.name
            assert query.labels == labels(query.name)
            assert len(query.name) <= 255
            assert query.limit >= SMALLEST_LIMIT
            reply = Reply(rcode=Rcode.NXDOMAIN).octets(query)
            assert len(reply) <= query.limit
        check_reply(datagram, reply, edns)


def check_reply(datagram: bytes, reply: bytes | None, edns: Edns | None = None) -> None:
    """A reply bears the query's ID, is a response, and is a message that a resolver can read."""
    if reply is None:
        return
    assert len(reply) >= HEADER_SIZE
    assert reply[:2] == datagram[:2]
    assert reply[2] & QR_BIT
    # Options go back as they came, at the very end, and dnspython looks into some: a cookie may be too short for it.
    options = b"" if edns is None else echoed_options(edns)
    if options and reply.endswith(len(options).to_bytes(2, "big") + options):
        reply = reply[: -len(options) - 2] + b"\0\0"
    try:
        dns.message.from_wire(reply)
    except dns.exception.DNSException as error:
        raise AssertionError(f"{error!r}: {reply.hex()}") from error


def check_answer(datagram: bytes) -> None:
    """Any octets give a listener silence or a reply that fits: no plugin's exception on the way."""
    for client in CLIENTS:
        edns = None
        limit = SMALLEST_LIMIT
        with contextlib.suppress(QueryError):
            query = parse_query(datagram, client)
            edns, limit = query.edns, query.limit
        panics = panicked()
        reply = answerer().answer(datagram, client)
        assert panicked() == panics
        assert reply is None or len(reply) <= limit
        check_reply(datagram, reply, edns)


def check_upstream_reply(octets: bytes) -> None:
    """Any octets are a reply, the same read whole and read record by record, or a WireError; what is read goes out."""
    query = _asked(octets)
    try:
        expected = parse_reply(octets)
    except WireError:
        expected = None
    try:
        reply = read_packed(octets, query)
    except WireError:
        assert expected is None
        return
    assert expected is not None
    assert reply.counts == expected.counts
    found = [rr for section in reply.sections for rr in section]
    for rr, other in zip(found, [rr for section in expected.sections for rr in section], strict=True):
        assert rr.owner.lower() == other.owner.lower()
        assert (rr[1:4], rr.rdata.lower()) == (other[1:4], other.rdata.lower())
    if reply.rcode <= HIGHEST_HEADER_RCODE:
        sent = reply.octets(query)
        assert len(sent) <= query.limit
        assert parse_reply(sent).counts <= reply.counts


def _asked(octets: bytes) -> Query:
    """Return the query whose question a message repeats, or one that nothing repeats."""
    start = octets[:2] + b"\1\0\0\1\0\0\0\0\0\0"
    with contextlib.suppress(QueryError):
        return parse_query(start + octets[HEADER_SIZE:], CLIENTS[0])
    return parse_query(b"\0\1\1\0\0\1\0\0\0\0\0\0\3www\7example\0\0\1\0\1", CLIENTS[0])


def panicked() -> float:
    """Return how many exceptions of plugins the server has turned into SERVFAIL."""
    return metrics.registry.get_sample_value("coredns_panics_total") or 0.0


@functools.cache
def answerer() -> Answerer:
    """Return the one that serves for the whole run."""
    one = Answerer()
    atexit.register(one.close)
    return one


TARGETS: dict[str, Callable[[bytes], None]] = {
    "query": check_query,
    "answer": check_answer,
    "reply": check_upstream_reply,
}
