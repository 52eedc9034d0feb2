"""log: which queries get a line, and what the line says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from kubedns.corefile.errors import CorefileError
from kubedns.plugin.contract import ResolveError, ServerBlock
from kubedns.wire.edns import Edns
from kubedns.wire.name import name
from kubedns.wire.numbers import AA, AD, RA, TC, Opcode, Rcode, RRClass, RRType
from kubedns.wire.records import RR, address, cname, ns, soa, txt
from kubedns.wire.reply import Reply
from plugins import log
from plugins.log.classes import classify
from plugins.log.formats import COMMON as FORMAT
from plugins.log.formats import Exchange, Format, seconds
from tests.plugins.helpers import CLIENT, answering, ask, directive, failing, placed, query, run
from tests.server.costing import count_instructions

if TYPE_CHECKING:
    from kubedns.wire.query import Query

BLOCK = ServerBlock((".",))
NOW = 1_800_000_000
OWNER = name("foo.example.org")
ADDRESS = address(OWNER, b"\xc0\x00\x02\x01", 60)
ALIAS = cname(OWNER, name("gone.example.org"), 60)
SOA = soa(name("example.org"), OWNER, OWNER, 60, serial=1, times=(1, 2, 3, 4))
NS = ns(name("example.org"), OWNER, 60)
POSITIVE = Reply([ADDRESS], flags=RA)
MOST_INSTRUCTIONS = 870


def lines(
    capsys: pytest.CaptureFixture[str], text: str, asked: Query | None = None, found: Reply | ResolveError = POSITIVE
) -> list[str]:
    """Return what a `log` writes for one query; the duration, which no test can know, becomes DURATION."""
    plugin = log.setup(directive(text), BLOCK)
    link = failing(found) if isinstance(found, ResolveError) else answering(found)
    assert run(ask(plugin, asked or query("Foo.Example.ORG."), link)) is found
    return re.sub(r" \d+(\.\d*[1-9])?s\b", " DURATION", capsys.readouterr().out).splitlines()


def rrsig(inception: int, expiration: int) -> RR:
    """Return an RRSIG record of which only the times matter (RFC 4034 §3.1)."""
    times = (expiration % 2**32).to_bytes(4, "big") + (inception % 2**32).to_bytes(4, "big")
    return RR(OWNER, RRType.RRSIG, RRClass.IN, 60, bytes(8) + times + bytes(2) + OWNER)


COMMON = [
    (
        "udp",
        query("Foo.Example.ORG.", remote=("127.0.0.1", 54319), ident=43859),
        POSITIVE,
        '127.0.0.1:54319 - 43859 "A IN foo.example.org. udp 33 false 512" NOERROR qr,rd,ra 64 DURATION',
    ),
    (
        "rcode-that-a-client-without-edns-is-not-told",
        query("Foo.Example.ORG.", remote=("127.0.0.1", 54319), ident=43859),
        Reply(rcode=23, flags=RA),
        '127.0.0.1:54319 - 43859 "A IN foo.example.org. udp 33 false 512" BADCOOKIE qr,rd 33 DURATION',
    ),
    (
        "tcp-with-do-and-an-upstreams-opt",
        query("refused.ok.test.", "AAAA", transport="tcp", remote=("127.0.0.1", 1), edns=1232, do=True, ident=7),
        Reply(rcode=Rcode.REFUSED, flags=RA, edns=Edns(1232, 0, 0x8000, ())),
        '127.0.0.1:1 - 7 "AAAA IN refused.ok.test. tcp 44 true 65535" REFUSED qr,rd,ra 44 DURATION',
    ),
    (
        "ipv6",
        query("foo.example.org.", remote=("::1", 50759), edns=4096, ident=29008),
        Reply([ADDRESS], flags=RA | AD),
        '[::1]:50759 - 29008 "A IN foo.example.org. udp 44 false 4096" NOERROR qr,rd,ra,ad 64 DURATION',
    ),
    (
        "failure",
        query("drop.example.org.", remote=("127.0.0.1", 42626), edns=1232, ident=27867),
        ResolveError("read udp 10.0.0.5:40312->10.0.0.1:53: i/o timeout"),
        '127.0.0.1:42626 - 27867 "A IN drop.example.org. udp 45 false 1232" SERVFAIL qr,rd 34 DURATION',
    ),
    (
        "small-edns",
        query("example.org.", edns=100, ident=0),
        Reply(rcode=Rcode.NXDOMAIN, flags=AA),
        '192.0.2.7:40212 - 0 "A IN example.org. udp 40 false 512" NXDOMAIN qr,aa,rd 29 DURATION',
    ),
    (
        "truncated",
        query("example.org.", ident=1),
        Reply([txt(name("example.org"), "x" * 100, 0)] * 5, flags=RA),
        f'192.0.2.7:40212 - 1 "A IN example.org. udp 29 false 512" NOERROR qr,tc,rd,ra {29 + 5 * 124} DURATION',
    ),
    (
        "upstreams-tc",
        query("example.org.", ident=1),
        Reply(flags=TC),
        '192.0.2.7:40212 - 1 "A IN example.org. udp 29 false 512" NOERROR qr,tc,rd 29 DURATION',
    ),
    (
        "unknown-rcode",
        query("example.org.", edns=1232, ident=1),
        Reply(rcode=4000),
        '192.0.2.7:40212 - 1 "A IN example.org. udp 40 false 1232" 4000 qr,rd 29 DURATION',
    ),
    (
        "percent-and-blank",
        query("100%\\032s.test.", ident=1),
        Reply(rcode=Rcode.NXDOMAIN),
        '192.0.2.7:40212 - 1 "A IN 100%\\ s.test. udp 29 false 512" NXDOMAIN qr,rd 29 DURATION',
    ),
]


@pytest.mark.parametrize(("asked", "found", "line"), [row[1:] for row in COMMON], ids=[row[0] for row in COMMON])
def test_common_format(
    capsys: pytest.CaptureFixture[str], asked: Query, found: Reply | ResolveError, line: str
) -> None:
    assert lines(capsys, "log", asked, found) == [f"[INFO] {line}"]


LINE = '192.0.2.7:40212 - 4711 "A IN foo.example.org. udp 33 false 512" NOERROR qr,rd,ra 64 DURATION'
FORMATS = [
    ("combined", "log . {combined}", f'{LINE} "0"'),
    ("one-argument-is-a-scope", "log {combined}", None),
    ("literals", 'log . "{local} {bogus} {{type}} {type"', "192.0.2.53 {bogus} {A} {type"),
    ("unknown", "log . {when}", "{when}"),
    ("metadata", 'log . "{name} class={/log/class} up={/forward/upstream}"', "foo.example.org. class=- up=-"),
    ("nested-names", 'log . "{common} end"', f"{LINE} end"),
    ("numbers", 'log . "{>id} {>opcode} {>do} {>bufsize} {port}"', "4711 0 false 512 40212"),
    ("last-word-without-brace-is-a-scope", "log a.test example.org", LINE),
    ("words", "log . {type} {name}", "foo.example.org."),
    ("percent", 'log . "100% {rcode} %s"', "100% NOERROR %s"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), [row[1:] for row in FORMATS], ids=[row[0] for row in FORMATS])
def test_format(capsys: pytest.CaptureFixture[str], text: str, line: str | None) -> None:
    assert lines(capsys, text) == ([] if line is None else [f"[INFO] {line}"])


def test_type_and_class_without_a_mnemonic(capsys: pytest.CaptureFixture[str]) -> None:
    asked = query()
    asked.rrtype, asked.rrclass = 999, 77
    assert lines(capsys, 'log . "{type} {class}"', asked) == ["[INFO] TYPE999 CLASS77"]


SCOPES = [
    ("apex", "log example.org", "Example.Org.", True),
    ("below", "log example.org", "a.b.example.org.", True),
    ("letter-case", "log EXAMPLE.org.", "a.example.org.", True),
    ("no-suffix-of-a-label", "log example.org", "notexample.org.", False),
    ("second-scope", "log a.test b.test", "x.b.test.", True),
    ("outside", "log a.test b.test", "c.test.", False),
    ("empty-word-is-the-root", 'log ""', "c.test.", True),
]


@pytest.mark.parametrize(("text", "asked", "logged"), [row[1:] for row in SCOPES], ids=[row[0] for row in SCOPES])
def test_scope(capsys: pytest.CaptureFixture[str], text: str, asked: str, logged: bool) -> None:
    assert len(lines(capsys, text, query(asked))) == logged


def test_a_scope_that_holds_no_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    told, *logged = lines(capsys, "log a..b .")
    assert told.startswith("[WARNING] plugin/log: Corefile:2:5: nothing will be logged for this scope: ")
    assert len(logged) == 1


TWO = 'log a.test {combined}\nlog . "rest {name} {rcode}"'
RULES = [
    ("first-rule", TWO, "q.a.test.", POSITIVE, ['q.a.test. udp 26 false 512" NOERROR']),
    ("second-rule", TWO, "q.b.test.", ResolveError("no next plugin found"), ["rest q.b.test. SERVFAIL"]),
    ("class-of-first-rule-decides", "log a.test {\nclass error\n}\nlog .", "x.a.test.", POSITIVE, []),
    ("refused", "log . {rcode}", "a.test.", ResolveError("too many", Rcode.REFUSED), ["REFUSED"]),
]


@pytest.mark.parametrize(("text", "asked", "found", "parts"), [row[1:] for row in RULES], ids=[row[0] for row in RULES])
def test_first_rule_that_holds_the_name(
    capsys: pytest.CaptureFixture[str], text: str, asked: str, found: Reply | ResolveError, parts: list[str]
) -> None:
    logged = lines(capsys, text, query(asked), found)
    assert len(logged) == len(parts)
    assert all(part in line for part, line in zip(parts, logged, strict=True))


CLASSES = [
    ("positive", Reply([ADDRESS]), "success"),
    ("referral", Reply((), [NS]), "success"),
    ("empty", Reply(), "success"),
    ("additional-only", Reply((), (), [ADDRESS]), "success"),
    ("nodata", Reply((), [SOA]), "denial"),
    ("nxdomain", Reply((), [SOA], rcode=Rcode.NXDOMAIN), "denial"),
    ("nxdomain-without-soa", Reply(rcode=Rcode.NXDOMAIN), "denial"),
    ("alias-to-nxdomain", Reply([ALIAS], [SOA], rcode=Rcode.NXDOMAIN), "error"),
    ("servfail", Reply(rcode=Rcode.SERVFAIL), "error"),
    ("servfail-with-soa", Reply((), [SOA], rcode=Rcode.SERVFAIL), "error"),
    ("refused", Reply(rcode=Rcode.REFUSED), "error"),
    ("notimp", Reply(rcode=Rcode.NOTIMP), "error"),
    ("formerr", Reply(rcode=Rcode.FORMERR), "error"),
]


@pytest.mark.parametrize(("reply", "expected"), [row[1:] for row in CLASSES], ids=[row[0] for row in CLASSES])
def test_classify(reply: Reply, expected: str) -> None:
    assert classify(query("foo.example.org."), reply, NOW) == expected


SIGNATURES = [
    ("in-force", rrsig(NOW - 60, NOW + 60), True, "success"),
    ("expired", rrsig(NOW - 60, NOW - 1), True, "error"),
    ("not-yet", rrsig(NOW + 60, NOW + 90), True, "error"),
    ("not-asked-for", rrsig(NOW - 60, NOW - 1), False, "success"),
    ("past-2106", rrsig(NOW - 60, NOW + 2**31 - 100), True, "success"),
]


@pytest.mark.parametrize(
    ("signature", "do", "expected"), [row[1:] for row in SIGNATURES], ids=[row[0] for row in SIGNATURES]
)
def test_classify_by_signatures(signature: RR, do: bool, expected: str) -> None:
    assert classify(query("foo.example.org.", edns=1232, do=do), Reply([ADDRESS, signature]), NOW) == expected


def test_transfer_and_notify_are_errors() -> None:
    notify = query()
    notify.flags |= Opcode.NOTIFY << 11
    assert classify(query("example.org.", "AXFR"), POSITIVE, NOW) == "error"
    assert classify(notify, POSITIVE, NOW) == "error"


DENIAL, ERROR = Reply(rcode=Rcode.NXDOMAIN), ResolveError("x")
FILTERS = [
    ("none", "", "SDE"),
    ("empty-block", " {\n}", "SDE"),
    ("all", " {\nclass all\n}", "SDE"),
    ("one", " {\nclass denial\n}", "D"),
    ("two", " {\nclass denial error\n}", "DE"),
    ("lines-add-up", " {\nclass success\nclass error\n}", "SE"),
    ("all-wins", " {\nclass success all\n}", "SDE"),
]


@pytest.mark.parametrize(("block", "wanted"), [row[1:] for row in FILTERS], ids=[row[0] for row in FILTERS])
def test_class(capsys: pytest.CaptureFixture[str], block: str, wanted: str) -> None:
    found: dict[str, Reply | ResolveError] = {"S": POSITIVE, "D": DENIAL, "E": ERROR}
    assert "".join(key for key, reply in found.items() if lines(capsys, f"log .{block}", None, reply)) == wanted


DURATIONS = [
    (15033, "0.000015033s"),
    (4_001_556_283, "4.001556283s"),
    (1, "0.000000001s"),
    (0, "0s"),
    (2 * 10**9, "2s"),
]


@pytest.mark.parametrize(("nanoseconds", "text"), DURATIONS, ids=[row[1] for row in DURATIONS])
def test_duration(nanoseconds: int, text: str) -> None:
    assert seconds(nanoseconds) == text


def test_the_reply_is_handed_on_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    before = POSITIVE.octets(query("foo.example.org."))
    lines(capsys, "log", query("foo.example.org.", remote=CLIENT))
    assert POSITIVE.octets(query("foo.example.org.")) == before


REFUSED = [
    ("class", "log {\nclass abracadabra\n}", "invalid Class: abracadabra", "3:7"),
    ("spelling", "log {\nclass eror\n}", "invalid Class: eror", "3:7"),
    (
        "no-class",
        "log {\nclass\n}",
        "Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after 'class'",
        "3:1",
    ),
    ("property", "log {\nclas all\n}", "Corefile:3 - Error during parsing: unknown property 'clas'", "3:1"),
]


@pytest.mark.parametrize(("text", "message", "place"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(text: str, message: str, place: str) -> None:
    with pytest.raises(CorefileError) as raised:
        log.setup(directive(text), BLOCK)
    assert str(raised.value) == message
    assert placed(raised.value) == place
    assert raised.value.cure


def test_what_a_line_costs() -> None:
    """In instructions of bytecode, a tenth more than was counted."""
    asked, made = query("Foo.Example.ORG."), Format(FORMAT)
    made.line(Exchange(asked, POSITIVE, 0))
    assert count_instructions(lambda: made.line(Exchange(asked, POSITIVE, 0))) < MOST_INSTRUCTIONS
