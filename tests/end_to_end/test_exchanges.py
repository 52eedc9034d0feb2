"""Messages as they come, good and bad, and what must come back: rules of acceptance, flags, EDNS, sizes, times."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import dns.flags
import dns.opcode
import dns.rcode
import pytest

from tests.end_to_end.client import (
    AD,
    CD,
    DO,
    HEADER,
    LOOPBACK,
    RD,
    Stream,
    ask_tcp,
    compose,
    compose_opt,
    compose_question,
    framed,
    parse,
    wire_name,
)
from tests.end_to_end.server import Ports, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

QR, AA, TC, RA, Z = 0x8000, 0x0400, 0x0200, 0x0080, 0x0040
NAME = "example.org"
QUESTION = compose_question(NAME)
ASKED = compose(NAME)
ANSWERED = "NOERROR QR AA RD 0/0/2"  # whoami: the client's address and port, both in additional
HEADER_ONLY = 12
READ, IDLE = 3.0, 10.0  # seconds: TCP's time for a first message, and for every later one
SLACK = 1.5  # seconds that a close may come late on a busy machine
COOKIE = bytes.fromhex("000a0008 0102030405060708")
COREFILE = """
example.org:{port} {{
    whoami
}}
sub.example.org:{port} {{
    kubernetes cluster.local
}}
noplug.org:{port} {{
}}
kubernetes.test:{port} {{
    errors
    kubernetes cluster.local
}}
"""


def message(flags: int = RD, counts: tuple[int, int, int, int] = (1, 0, 0, 0), rest: bytes = QUESTION) -> bytes:
    return HEADER.pack(4711, flags, *counts) + rest


def option(code: int, data: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data


def asked_with(size: int = 1232, *, name: str = NAME, rrclass: str = "IN", flags: int = 0, version: int = 0,
               extended: int = 0, options: bytes = b"") -> bytes:  # fmt: skip
    opt = compose_opt(size, flags=flags, version=version, extended=extended, options=options)
    return compose(name, rrclass=rrclass, opt=opt)


def padded(size: int) -> bytes:
    """Return a question of that size: a padding option (RFC 7830) fills it."""
    return asked_with(options=option(12, bytes(size - len(asked_with()) - 4)))


def told(octets: bytes) -> str:
    """Return a reply in one line: RCODE, opcode, flags, question, counts, OPT; `hdr` is a header and nothing else."""
    _, flags, *counts = HEADER.unpack_from(octets)
    words = [dns.flags.to_text(flags) + (" Z" if flags & Z else "")]
    if flags & 0x7800:
        words.insert(0, dns.opcode.to_text(dns.opcode.from_flags(flags)))
    if len(octets) == HEADER_ONLY:
        return " ".join([dns.rcode.to_text(dns.rcode.Rcode(flags & 0xF)), *words, "hdr"])
    reply = parse(octets)
    words.insert(0, dns.rcode.to_text(reply.rcode()))
    asked = reply.question[0]
    if (text := asked.to_text()) != f"{NAME}. IN A":
        words.append(f"<{text}>")
    words.append("/".join(map(str, (*counts[1:3], len(reply.additional)))))
    if reply.edns >= 0:
        words.append(f"OPT{reply.edns} {reply.payload} {reply.ednsflags & 0xFFFF:04x}")
        words += [f"{one.otype.value}={one.to_wire().hex()}" for one in reply.options]
    return " ".join(words)


CLOSED = {
    "41 silence": (b"", READ),
    "half a length": (b"\0", READ),
    "a message cut short": (b"\0\x1d" + ASKED[:-4], READ),
    "42 five octets": (framed(bytes(5)), IDLE),
    "nothing, thrice": (framed(b"") * 3, IDLE),
    "a reply": (framed(message(QR)), IDLE),
    "40 five queries": (framed(ASKED) * 5, IDLE),
}
ROWS: dict[str, tuple[bytes, str | None]] = {
    "1 plain": (ASKED, ANSWERED),
    "2 without RD": (message(0), "NOERROR QR AA 0/0/2"),
    "3 every flag": (message(AA | TC | RA | Z | AD | CD | RD), "NOERROR QR AA RD CD 0/0/2"),
    "4 RCODE in the query": (message(RD | 5), ANSWERED),
    "5 letter case": (compose("ExAmPle.oRg"), "NOERROR QR AA RD <ExAmPle.oRg. IN A> 0/0/2"),
    "6 a reply": (message(QR | RD), None),
    "7 UPDATE": (message(5 << 11 | RD | AD | CD), "NOTIMP UPDATE QR RD AD CD hdr"),
    "7 opcode 15": (message(15 << 11 | RD), "NOTIMP 15 QR RD hdr"),
    "8 NOTIFY": (
        message(4 << 11 | RD | CD, rest=compose_question(NAME, "SOA")),
        "NOERROR NOTIFY QR AA <example.org. IN SOA> 0/0/2",
    ),
    "9 no question": (message(TC | RD | RA | Z | AD | CD | AA, (0, 0, 0, 0), b""), "FORMERR QR TC RD RA AD CD hdr"),
    "10 two questions": (message(counts=(2, 0, 0, 0), rest=QUESTION * 2), "FORMERR QR RD hdr"),
    "11 nothing follows": (message(rest=b""), "SERVFAIL QR RD hdr"),
    "12 eleven octets": (message(rest=b"")[:11], None),
    "13 label of 255": (message(rest=b"\xff" + QUESTION), "FORMERR QR RD hdr"),
    "14 name alone": (message(rest=wire_name(NAME)), "REFUSED QR RD <example.org. RESERVED0 TYPE0> 0/0/0"),
    "15 a record missing": (message(counts=(1, 1, 0, 0)), ANSWERED),
    "16 two answers": (message(counts=(1, 2, 0, 0)), "FORMERR QR RD hdr"),
    "16 two authorities": (message(counts=(1, 0, 2, 0)), "FORMERR QR RD hdr"),
    "16 three additional": (message(counts=(1, 0, 0, 3)), "FORMERR QR RD hdr"),
    "17 junk behind": (ASKED + b"\1\2\3\4\5\6", ANSWERED),
    "18 version.bind": (compose("version.bind", "TXT", "CH"), "REFUSED QR RD <version.bind. CH TXT> 0/0/0"),
    "19 class ANY": (compose(NAME, rrclass="ANY"), "REFUSED QR RD <example.org. ANY A> 0/0/0"),
    "19 class HS": (compose(NAME, rrclass="HS"), "REFUSED QR RD <example.org. HS A> 0/0/0"),
    "19 class NONE": (compose(NAME, rrclass="NONE"), "REFUSED QR RD <example.org. NONE A> 0/0/0"),
    "19 class 0": (compose(NAME, rrclass="CLASS0"), "REFUSED QR RD <example.org. RESERVED0 A> 0/0/0"),
    "20 another zone": (compose("example.net"), "REFUSED QR RD <example.net. IN A> 0/0/0"),
    "20 not below": (compose("notexample.org"), "REFUSED QR RD <notexample.org. IN A> 0/0/0"),
    "21 another zone, OPT": (
        asked_with(4096, name="example.net", flags=DO),
        "REFUSED QR RD <example.net. IN A> 0/0/0 OPT0 4096 8000",
    ),
    "22 no plugins": (compose("noplug.org"), "REFUSED QR RD <noplug.org. IN A> 0/0/0"),
    "23 the root": (compose(".", "NS"), "REFUSED QR RD <. IN NS> 0/0/0"),
    "24 OPT": (asked_with(1232), f"{ANSWERED} OPT0 1232 0000"),
    "25 OPT of 100": (asked_with(100), f"{ANSWERED} OPT0 100 0000"),
    "25 OPT of 0": (asked_with(0), f"{ANSWERED} OPT0 0 0000"),
    "25 OPT of 65535": (asked_with(65535), f"{ANSWERED} OPT0 65535 0000"),
    "26 OPT's flags": (asked_with(flags=0xFFFF), f"{ANSWERED} OPT0 1232 ff00"),
    "27 EDNS 1": (asked_with(version=1, flags=DO), "BADVERS QR RD 0/0/0 OPT0 0 0000"),
    "28 EDNS 1, another zone": (
        asked_with(version=1, name="example.net"),
        "BADVERS QR RD <example.net. IN A> 0/0/0 OPT0 0 0000",
    ),
    "29 EDNS 1, class CH": (
        asked_with(version=1, rrclass="CH"),
        "REFUSED QR RD <example.org. CH A> 0/0/0 OPT0 1232 0000",
    ),
    "30 extended RCODE": (asked_with(extended=7), f"{ANSWERED} OPT0 1232 0000"),
    "31 NSID, empty": (asked_with(options=option(3)), f"{ANSWERED} OPT0 1232 0000 3="),
    "31 NSID": (asked_with(options=option(3, b"ab")), f"{ANSWERED} OPT0 1232 0000 3=6162"),
    "32 COOKIE": (asked_with(options=COOKIE), f"{ANSWERED} OPT0 1232 0000 10=0102030405060708"),
    "33 EXPIRE": (asked_with(options=option(9)), f"{ANSWERED} OPT0 1232 0000 9="),
    "33 KEEPALIVE": (asked_with(options=option(11)), f"{ANSWERED} OPT0 1232 0000 11="),
    "33 PADDING": (asked_with(options=option(12, b"\0\0")), f"{ANSWERED} OPT0 1232 0000 12=0000"),
    "34 ECS": (asked_with(options=option(8, bytes.fromhex("000118000a0000"))), f"{ANSWERED} OPT0 1232 0000"),
    "34 EDE": (asked_with(options=option(15, b"\0\1")), f"{ANSWERED} OPT0 1232 0000"),
    "34 DAU": (asked_with(options=option(5, b"\x08")), f"{ANSWERED} OPT0 1232 0000"),
    "34 UL": (asked_with(options=option(2, bytes(4))), f"{ANSWERED} OPT0 1232 0000"),
    "34 local": (asked_with(options=option(65001, b"x")), f"{ANSWERED} OPT0 1232 0000"),
    "35 LLQ, empty": (asked_with(options=option(1)), "FORMERR QR RD 0/0/0"),
    "36 two OPTs": (
        message(counts=(1, 0, 0, 2), rest=QUESTION + compose_opt(1232) + compose_opt(4096, flags=DO)),
        f"{ANSWERED} OPT0 4096 8000",
    ),
    "44 the longest zone": (compose("x.sub.example.org"), "SERVFAIL QR RD <x.sub.example.org. IN A> 0/0/0"),
    "45 DS": (compose("sub.example.org", "DS"), "NOERROR QR AA RD <sub.example.org. IN DS> 0/0/2"),
    "45 DS further below": (compose("x.sub.example.org", "DS"), "NOERROR QR AA RD <x.sub.example.org. IN DS> 0/0/2"),
    "46 the chain's end": (compose("a.kubernetes.test"), "SERVFAIL QR RD <a.kubernetes.test. IN A> 0/0/0"),
}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("exchanges")
    (folder / "cluster").mkdir()
    with Ports() as ports:
        port = ports.take()
        with serving(folder, COREFILE.format(port=port), "--manifests", "cluster"):
            yield port


def after(port: int, datagram: bytes) -> bytes | None:
    """Return the reply to a datagram, None where a question sent behind it is what is answered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect((LOOPBACK, port))
        client.send(datagram)
        client.send(compose(NAME, ident=1))
        first = client.recv(65535)
        return None if first[:2] == b"\0\1" else first


@pytest.mark.parametrize("row", ROWS)
def test_a_datagram(row: str, port: int) -> None:
    datagram, expected = ROWS[row]
    reply = after(port, datagram)
    assert (None if reply is None else told(reply)) == expected
    assert reply is None or reply[:2] == datagram[:2]


@pytest.mark.parametrize("row", [row for row, (_, expected) in ROWS.items() if expected])
def test_the_same_over_tcp(row: str, port: int) -> None:
    octets, expected = ROWS[row]
    reply = ask_tcp(port, octets)
    assert reply is not None
    assert told(reply) == expected


@pytest.mark.parametrize("cookie", [b"\1\2\3", bytes(41)], ids=len)
def test_32_a_cookie_of_no_legal_size_is_echoed(cookie: bytes, port: int) -> None:
    reply = after(port, asked_with(options=option(10, cookie)))
    assert reply is not None
    assert reply.endswith(compose_opt(options=option(10, cookie)))


def test_whoami_tells_the_address_and_port_that_asked(port: int) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("::1", port))
        client.send(compose("Example.org"))
        reply, here = parse(client.recv(65535)), client.getsockname()[1]
    assert sorted(rrset.to_text() for rrset in reply.additional) == [
        "Example.org. 0 IN AAAA ::1",
        f"_udp.Example.org. 0 IN SRV 0 0 {here} .",
    ]


def test_a_reply_leaves_from_the_address_that_was_asked(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(ASKED, ("127.0.0.5", port))
        assert client.recvfrom(65535)[1] == ("127.0.0.5", port)


@pytest.mark.parametrize(("size", "expected"), [(512, f"{ANSWERED} OPT0 1232 0000"), (513, "FORMERR QR RD 0/0/0")])
def test_37_38_a_datagram_is_read_up_to_512_octets(size: int, expected: str, port: int) -> None:
    datagram = padded(size)
    assert len(datagram) == size
    reply = after(port, datagram)
    assert reply is not None
    assert told(reply).partition(" 12=")[0] == expected


@pytest.mark.parametrize("size", [2000, 65000])
def test_39_a_large_message_over_tcp(size: int, port: int) -> None:
    reply = ask_tcp(port, padded(size))
    assert reply is not None
    assert told(reply).startswith(f"{ANSWERED} OPT0 1232 0000 12=00")


def test_40_five_queries_in_one_segment(port: int) -> None:
    """Replies come as they are ready (RFC 7766 §7)."""
    with Stream(port) as stream:
        stream.send(*(compose(NAME, ident=ident) for ident in range(5)))
        replies = [stream.receive() for _ in range(5)]
    assert {int.from_bytes(reply[:2], "big") for reply in replies if reply} == set(range(5))


def test_connections_are_closed_in_time_without_a_word(port: int) -> None:
    """All at once, since each takes as long as its time."""
    with ThreadPoolExecutor(len(CLOSED)) as pool:
        seconds = dict(zip(CLOSED, pool.map(lambda sent: until_closed(port, *sent), CLOSED.values()), strict=True))
    wrong = {
        name: found
        for name, found in seconds.items()
        if not CLOSED[name][1] - 0.5 <= found <= CLOSED[name][1] + SLACK  # deadlines are looked at now and then
    }
    assert wrong == {}


def until_closed(port: int, octets: bytes, limit: float) -> float:
    """Return the seconds from the last octet, sent or received, to the server's close; replies must be ours."""
    with Stream(port, timeout=limit + SLACK + 1) as stream:
        stream.socket.sendall(octets)
        start = time.monotonic()
        while (reply := stream.receive()) is not None:
            assert told(reply) == ANSWERED
            start = time.monotonic()
        return time.monotonic() - start


def test_a_message_too_short_costs_the_next_nothing(port: int) -> None:
    with Stream(port) as stream:
        stream.send(b"", bytes(5), bytes(11), ASKED)
        reply = stream.receive()
    assert reply is not None
    assert told(reply) == ANSWERED


def test_a_message_octet_by_octet(port: int) -> None:
    with Stream(port) as stream:
        stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in framed(ASKED) * 2:
            stream.socket.send(bytes((octet,)))
        assert [told(reply) for reply in (stream.receive(), stream.receive()) if reply] == [ANSWERED] * 2


def test_half_closed_connections_get_their_replies(port: int) -> None:
    with Stream(port) as stream:
        stream.send(*(compose(NAME, ident=ident) for ident in range(100)))
        stream.socket.shutdown(socket.SHUT_WR)
        replies = []
        while (reply := stream.receive()) is not None:
            replies.append(reply)
    assert len(replies) == 100


def test_many_clients_at_once(port: int) -> None:
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda ident: ask_tcp(port, compose(NAME, ident=ident)), range(200)))
    assert [int.from_bytes(reply[:2], "big") for reply in replies if reply] == list(range(200))
