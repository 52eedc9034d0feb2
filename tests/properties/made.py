"""Names, records, queries and odd octets, as Hypothesis makes them."""

import struct

from hypothesis import strategies as st

from kubedns.wire.edns import Edns
from kubedns.wire.query import Query, parse_query
from kubedns.wire.records import RR
from tests.fuzz.seeds import odd, valid
from tests.wire.asking import TCP, UDP, UDP6, header, opt, option, question, with_opt

MOST_OCTETS = 255

clients = st.sampled_from([UDP, UDP6, TCP])
numbers16 = st.integers(0, 0xFFFF)
ttls = st.integers(0, 0xFFFFFFFF)


def joined(labels: list[bytes]) -> bytes:
    """Return labels as a name, as many of the last ones as fit."""
    wire = b"\0"
    for label in reversed(labels):
        longer = bytes([len(label)]) + label + wire
        if len(longer) > MOST_OCTETS:
            break
        wire = longer
    return wire


any_labels = st.binary(min_size=1, max_size=63)
ascii_labels = st.text(st.characters(max_codepoint=127), min_size=1, max_size=63).map(str.encode)
any_names = st.lists(any_labels, max_size=130).map(joined) | st.lists(st.binary(min_size=1, max_size=2)).map(joined)
# Few words, so that names often share a suffix.
words = st.sampled_from([b"web", b"Web", b"default", b"svc", b"SVC", b"cluster", b"local", b"a" * 63])
names = st.lists(words, max_size=6).map(joined)
few_types = st.sampled_from([1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 43, 65, 255, 0, 65535])


@st.composite
def records(draw: st.DrawFn) -> RR:
    """Return a record that is what its type demands."""
    rrtype = draw(st.sampled_from([1, 2, 5, 6, 12, 14, 15, 16, 17, 28, 33, 36, 39, 65280]))
    shapes = {
        1: st.binary(min_size=4, max_size=4),
        6: st.tuples(names, names, st.binary(min_size=20, max_size=20)).map(b"".join),
        14: st.tuples(names, names).map(b"".join),
        15: st.tuples(st.binary(min_size=2, max_size=2), names).map(b"".join),
        16: st.binary(max_size=255).map(lambda text: bytes([len(text)]) + text),
        17: st.tuples(names, names).map(b"".join),
        28: st.binary(min_size=16, max_size=16),
        33: st.tuples(st.binary(min_size=6, max_size=6), names).map(b"".join),
        36: st.tuples(st.binary(min_size=2, max_size=2), names).map(b"".join),
        65280: st.binary(min_size=1, max_size=300),  # dnslib refuses a record without RDATA
    }
    return RR(draw(names), rrtype, 1, draw(ttls), draw(shapes.get(rrtype, names)))


sections = st.tuples(st.lists(records(), max_size=12), st.lists(records(), max_size=3), st.lists(records(), max_size=6))
options = st.lists(st.tuples(st.sampled_from([3, 10, 12, 65001]), st.binary(max_size=40)), max_size=3)
edns = st.builds(Edns, numbers16, st.just(0), numbers16, options.map(tuple))


def spelled(name: bytes, capitals: int) -> bytes:
    """Return a name with those of its letters capital whose bits are set."""
    return bytes(
        octet ^ 0x20 if ord("a") <= octet <= ord("z") and capitals >> place & 1 else octet
        for place, octet in enumerate(name.lower())
    )


capitals = st.integers(0, 2**255 - 1)
spelled_names = st.builds(spelled, names, capitals)


@st.composite
def queries(draw: st.DrawFn, asked: st.SearchStrategy[bytes] = spelled_names) -> Query:
    """Return a query as parse_query reads it, with EDNS or without, over UDP or TCP."""
    message = header(draw(numbers16) & 0x07FF) + question(draw(asked), draw(few_types))
    if draw(st.booleans()):
        data = b"".join(option(code, value) for code, value in draw(options))
        message = with_opt(message, opt(draw(numbers16), draw(numbers16), data))
    return parse_query(message, draw(clients))


@st.composite
def odd_queries(draw: st.DrawFn) -> bytes:
    """Return octets that begin as a query does and go on as they like."""
    counts = draw(st.tuples(*[st.integers(0, 3)] * 4) | st.just((1, 0, 0, 1)) | st.just((1, 0, 0, 0)))
    parts = st.one_of(
        st.binary(max_size=40),
        st.builds(question, any_names | names, numbers16, st.sampled_from([1, 1, 1, 3, 255])),
        st.builds(opt, numbers16, ttls, st.binary(max_size=30)),
        numbers16.map(lambda offset: struct.pack("!H", 0xC000 | offset)),
    )
    flags = draw(numbers16 | st.integers(0, 0x07FF))
    return header(flags, counts) + b"".join(draw(st.lists(parts, max_size=5)))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a message of the fuzzer's seeds with some octets changed, cut or doubled."""
    message = bytearray(draw(st.sampled_from([*valid().values(), *odd().values()])))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(len(message) - 1, 0)))
        change = draw(st.integers(0, 2))
        if change == 0 and message:
            message[place] = draw(st.integers(0, 255))
        elif change == 1:
            del message[place:]
        else:
            message += message[place:]
    return bytes(message[:2000])


any_octets: st.SearchStrategy[bytes] = st.one_of(st.binary(max_size=600), odd_queries(), damaged())
