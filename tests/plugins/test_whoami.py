"""whoami: the client's own address and port, whatever it asks."""

from __future__ import annotations

import dns.flags
import dns.message
import pytest

from kubedns.corefile.errors import CorefileError
from kubedns.plugin.contract import ResolveError, ServerBlock
from kubedns.wire.numbers import RRClass
from kubedns.wire.reply import Reply
from kubedns.wire.validity import NEVER
from plugins import whoami
from tests.plugins.helpers import ask, directive, failing, placed, query, run

BLOCK = ServerBlock((".",))
LABEL = "x" * 63
LONGEST = f"{LABEL}.{LABEL}.{LABEL}.{'x' * 61}."  # 255 octets
WITH_ROOM = f"{LABEL}.{LABEL}.{LABEL}.{'x' * 56}."  # 250


def tell(name: str, qtype: str, transport: str, remote: tuple[str, int], qclass: int = RRClass.IN) -> list[str]:
    """Return the additional records, as a client that is not ours reads them."""
    asked = query(name, qtype, transport=transport, remote=remote)
    asked.rrclass = qclass
    asked.question = asked.question[:-2] + qclass.to_bytes(2, "big")
    reply = run(ask(whoami.setup(directive("whoami"), BLOCK), asked, failing(ResolveError("never asked"))))
    assert isinstance(reply, Reply)
    assert reply.validity == NEVER
    message = dns.message.from_wire(reply.octets(asked))
    assert not message.answer
    assert not message.authority
    assert dns.flags.to_text(message.flags) == "QR AA RD"
    return [line for rrset in message.additional for line in rrset.to_text().splitlines()]


V4, V6 = ("192.0.2.7", 40212), ("2001:db8::7", 1)
TOLD = [
    (
        "udp",
        "example.org.",
        "A",
        "udp",
        V4,
        ["example.org. 0 IN A 192.0.2.7", "_udp.example.org. 0 IN SRV 0 0 40212 ."],
    ),
    (
        "tcp",
        "example.org.",
        "A",
        "tcp",
        V4,
        ["example.org. 0 IN A 192.0.2.7", "_tcp.example.org. 0 IN SRV 0 0 40212 ."],
    ),
    ("ipv6", "a.test.", "MX", "udp", V6, ["a.test. 0 IN AAAA 2001:db8::7", "_udp.a.test. 0 IN SRV 0 0 1 ."]),
    ("root", ".", "NS", "udp", V4, [". 0 IN A 192.0.2.7", "_udp. 0 IN SRV 0 0 40212 ."]),
    ("case", "A.tEst.", "A", "udp", V4, ["A.tEst. 0 IN A 192.0.2.7", "_udp.A.tEst. 0 IN SRV 0 0 40212 ."]),
    (
        "room-for-udp",
        WITH_ROOM,
        "A",
        "udp",
        V4,
        [f"{WITH_ROOM} 0 IN A 192.0.2.7", f"_udp.{WITH_ROOM} 0 IN SRV 0 0 40212 ."],
    ),
    ("no-room", LONGEST, "A", "udp", V4, [f"{LONGEST} 0 IN A 192.0.2.7"]),
]


@pytest.mark.parametrize(
    ("name", "qtype", "transport", "remote", "told"), [row[1:] for row in TOLD], ids=[row[0] for row in TOLD]
)
def test_additional(name: str, qtype: str, transport: str, remote: tuple[str, int], told: list[str]) -> None:
    assert tell(name, qtype, transport, remote) == told


def test_class_as_asked() -> None:
    assert tell("a.test.", "A", "udp", V4, RRClass.HS)[1].startswith("_udp.a.test. 0 HS SRV ")


REFUSED = [
    ("argument", "whoami x", "Wrong argument count or unexpected line ending after 'x'", "2:8"),
    ("block", "whoami {\n}", "Unexpected token '{', expecting argument", "2:8"),
]


@pytest.mark.parametrize(("text", "message", "place"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(text: str, message: str, place: str) -> None:
    with pytest.raises(CorefileError) as raised:
        whoami.setup(directive(text), BLOCK)
    assert str(raised.value) == f"Corefile:2 - Error during parsing: {message}"
    assert placed(raised.value) == place
