"""bufsize: the size in a query's OPT record is lowered, in its reply's too."""

from __future__ import annotations

import dns.message
import pytest

from kubedns.corefile.errors import CorefileError
from kubedns.plugin.contract import ServerBlock
from kubedns.wire.numbers import RRType
from kubedns.wire.records import RR
from kubedns.wire.reply import Reply
from plugins import bufsize
from tests.plugins.helpers import answering, directive, placed, query, run

BLOCK = ServerBlock((".",))
LONG = Reply([RR(b"\7example\3org\0", RRType.TXT, 1, 60, b"\xff" + b"x" * 255)] * 4)


@pytest.mark.parametrize(
    ("text", "asked", "told"),
    [
        ("bufsize", 4096, 1232),
        ("bufsize 600", 4096, 600),
        ("bufsize 600\nbufsize 512", 4096, 512),
        ("bufsize 4096", 1232, 1232),
        ("bufsize 600", 600, 600),
        ("bufsize 600", 100, 100),
    ],
)
def test_size(text: str, asked: int, told: int) -> None:
    plugin = bufsize.setup(directive(text), BLOCK)
    question = query(edns=asked, do=True)
    reply = run(plugin.resolve(question, answering(LONG)))
    octets = reply.octets(question)
    message = dns.message.from_wire(octets)
    assert (message.payload, bool(message.ednsflags & 0x8000)) == (told, True)
    assert len(octets) <= max(told, 512)
    assert bool(octets[2] & 2) == (told < 1100)


def test_without_edns() -> None:
    question = query()
    assert run(bufsize.setup(directive("bufsize 600"), BLOCK).resolve(question, answering(LONG))) is LONG
    assert question.edns is None


REFUSED = [
    ("bufsize 511", "511", "2:9"),
    ("bufsize 4097", "4097", "2:9"),
    ("bufsize x", "x", "2:9"),
    ("bufsize 600 700", "700", "2:13"),
    ("bufsize 600\nbufsize 1", "1", "3:9"),
]


@pytest.mark.parametrize(("text", "word", "place"), REFUSED)
def test_refused(text: str, word: str, place: str) -> None:
    with pytest.raises(CorefileError) as raised:
        bufsize.setup(directive(text), BLOCK)
    line = place[0]
    text = f"plugin/bufsize: Corefile:{line} - Error during parsing: "
    assert str(raised.value) == f"{text}Wrong argument count or unexpected line ending after '{word}'"
    assert placed(raised.value) == place
