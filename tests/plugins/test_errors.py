"""errors: which lines it writes, how it counts, and what it makes of its options."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from kubedns import log
from kubedns.corefile.errors import CorefileError, CorefileErrors
from kubedns.plugin.contract import ResolveError, ServerBlock, Settings
from kubedns.wire.numbers import Rcode
from kubedns.wire.reply import Reply
from plugins import errors
from tests.plugins.helpers import answering, ask, directive, failing, placed, query, run

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = ServerBlock((".",))
TIMEOUT = "read udp 10.1.1.1:51779->10.0.0.1:53: i/o timeout"
REFUSED = "read udp 10.1.1.1:50591->10.0.0.9:53: read: connection refused"
NO_NEXT = "plugin/forward: no next plugin found"


@pytest.fixture
def debug() -> Iterator[None]:
    log.output.debug = True
    yield
    log.output.debug = False


def set_up(*properties: str) -> errors.Errors:
    block = " {\n" + "\n".join(properties) + "\n}" if properties else ""
    return errors.setup(directive(f"errors{block}"), BLOCK)


LINES = [
    ("timeout", "drop.example.org.", "A", ResolveError(TIMEOUT), f"2 drop.example.org. A: {TIMEOUT}"),
    ("refused", "a.Example.ORG.", "A", ResolveError(REFUSED), f"2 a.example.org. A: {REFUSED}"),
    (
        "max-concurrent",
        "example.org.",
        "A",
        ResolveError("concurrent queries exceeded maximum 1", Rcode.REFUSED),
        "5 example.org. A: concurrent queries exceeded maximum 1",
    ),
    ("no-next", "a.test.", "AAAA", ResolveError(NO_NEXT), f"2 a.test. AAAA: {NO_NEXT}"),
    ("root", ".", "NS", ResolveError(NO_NEXT), f"2 . NS: {NO_NEXT}"),
    ("unknown-type", "a.test.", "TYPE999", ResolveError("x"), "2 a.test. TYPE999: x"),
    ("terminal", "a.test.", "A", ResolveError("a\nb\x1b[2Jc"), r"2 a.test. A: a\nb\x1b[2Jc"),
]


@pytest.mark.parametrize(("name", "qtype", "error", "line"), [row[1:] for row in LINES], ids=[row[0] for row in LINES])
def test_line(capsys: pytest.CaptureFixture[str], name: str, qtype: str, error: ResolveError, line: str) -> None:
    asked = query(name, qtype) if qtype != "TYPE999" else query(name)
    asked.rrtype = 999 if qtype == "TYPE999" else asked.rrtype
    assert run(ask(set_up(), asked, failing(error))) is error
    assert capsys.readouterr().out == f"[ERROR] plugin/errors: {line}\n"


@pytest.mark.parametrize("rcode", [Rcode.NOERROR, Rcode.SERVFAIL, Rcode.REFUSED, Rcode.NXDOMAIN])
def test_a_reply_is_no_error(capsys: pytest.CaptureFixture[str], rcode: Rcode) -> None:
    reply = Reply(rcode=rcode)
    assert run(ask(set_up(), query(), answering(reply))) is reply
    assert capsys.readouterr().out == ""


def test_an_error_without_a_text_is_a_mere_rcode(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = errors.setup(directive("errors {\nconsolidate 1m .*\n}"), ServerBlock((".",)))
    raised = run(ask(plugin, query(), failing(ResolveError("", Rcode.REFUSED))))
    assert isinstance(raised, ResolveError)
    assert raised.rcode == Rcode.REFUSED
    run(plugin.stop())
    assert capsys.readouterr().out == ""


def test_a_stranger_can_not_write_lines(capsys: pytest.CaptureFixture[str]) -> None:
    asked = query()
    asked.name = b"\x0ea\n[ERROR] x \x1b\xff\0"
    run(ask(set_up(), asked, failing(ResolveError(NO_NEXT))))
    assert capsys.readouterr().out == rf"[ERROR] plugin/errors: 2 a\010[ERROR]\ x\ \027\255. A: {NO_NEXT}" + "\n"


async def fail_at(plugin: errors.Errors, *failures: tuple[float, str]) -> None:
    """Have errors happen, each at its second."""
    now = 0.0
    for second, text in failures:
        await asyncio.sleep(second - now)
        now = second
        await ask(plugin, query("drop.test."), failing(ResolveError(text)))
    await asyncio.sleep(1000)


COUNTED = [
    (
        "show-first",
        ['consolidate 3s ".*timeout$" warning show_first'],
        [(0, TIMEOUT), (1, TIMEOUT), (2, TIMEOUT)],
        [f"[WARNING] 2 drop.test. A: {TIMEOUT}", "[WARNING] 3 errors like '.*timeout$' occurred in last 3s"],
    ),
    (
        "show-first-alone",
        ['consolidate 3s ".*timeout$" warning show_first'],
        [(0, TIMEOUT)],
        [f"[WARNING] 2 drop.test. A: {TIMEOUT}"],
    ),
    (
        "info",
        ['consolidate 3s ".*refused$" info'],
        [(0, REFUSED), (1, REFUSED)],
        ["[INFO] 2 errors like '.*refused$' occurred in last 3s"],
    ),
    ("level-by-default", ["consolidate 5m x"], [(0, "x")], ["[ERROR] 1 errors like 'x' occurred in last 5m0s"]),
    ("debug-is-off", ['consolidate 2s "no next.*" debug'], [(0, NO_NEXT), (1, NO_NEXT)], []),
    (
        "new-period",
        ["consolidate 3s timeout"],
        [(0, TIMEOUT), (2, TIMEOUT), (4, TIMEOUT)],
        ["[ERROR] 2 errors like 'timeout' occurred in last 3s", "[ERROR] 1 errors like 'timeout' occurred in last 3s"],
    ),
    (
        "first-match-takes-it",
        ["consolidate 3s refused", "consolidate 1s read warning"],
        [(0, REFUSED), (0, TIMEOUT), (0, "x")],
        [
            "[ERROR] 2 drop.test. A: x",
            "[WARNING] 1 errors like 'read' occurred in last 1s",
            "[ERROR] 1 errors like 'refused' occurred in last 3s",
        ],
    ),
    ("text-alone-is-searched", ["consolidate 1s drop.test"], [(0, "x")], ["[ERROR] 2 drop.test. A: x"]),
]


@pytest.mark.parametrize(
    ("properties", "failures", "lines"), [row[1:] for row in COUNTED], ids=[row[0] for row in COUNTED]
)
def test_consolidate(
    capsys: pytest.CaptureFixture[str], properties: list[str], failures: list[tuple[float, str]], lines: list[str]
) -> None:
    run(fail_at(set_up(*properties), *failures))
    assert capsys.readouterr().out.replace("plugin/errors: ", "").splitlines() == lines


@pytest.mark.usefixtures("debug")
def test_consolidate_at_level_debug(capsys: pytest.CaptureFixture[str]) -> None:
    run(fail_at(set_up('consolidate 2s "no next.*" debug show_first'), (0, NO_NEXT), (1, NO_NEXT)))
    assert capsys.readouterr().out.splitlines() == [
        f"[DEBUG] plugin/errors: 2 drop.test. A: {NO_NEXT}",
        "[DEBUG] plugin/errors: 2 errors like 'no next.*' occurred in last 2s",
    ]


def test_stop_says_what_was_counted(capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> None:
        plugin = set_up("consolidate 5m timeout", "consolidate 5m refused")
        for _ in range(2):
            await ask(plugin, query("a.test."), failing(ResolveError(TIMEOUT)))
        await plugin.stop()
        await ask(plugin, query("a.test."), failing(ResolveError(TIMEOUT)))
        await asyncio.sleep(1000)

    run(work())
    assert capsys.readouterr().out.splitlines() == [
        "[ERROR] plugin/errors: 2 errors like 'timeout' occurred in last 5m0s",
        f"[ERROR] plugin/errors: 2 a.test. A: {TIMEOUT}",
    ]


def test_settings() -> None:
    assert set_up().settings == Settings()
    assert set_up("stacktrace").settings == Settings(stacktrace=True)


@pytest.mark.parametrize(
    "text",
    [
        "errors",
        "errors stdout",
        "errors {\n}",
        "errors stdout {\nstacktrace\nconsolidate 1h30m ^.*$ info show_first\n}",
    ],
)
def test_accepted(text: str) -> None:
    errors.setup(directive(text), BLOCK)


ONCE = "this plugin can only be used once per Server Block"
PARSING, LONG = "Corefile:{} - Error during parsing: ", "x" * 10001
REFUSED_OPTIONS = [
    ("file", "errors foo", PARSING.format(2) + "invalid log file: foo", "2:8"),
    ("files", "errors a b", PARSING.format(2) + "Wrong argument count or unexpected line ending after 'b'", "2:10"),
    ("twice", "errors\nerrors", ONCE, "3:1"),
    (
        "property",
        "errors {\nstacktrce\n}",
        "Corefile:3 - Syntax error: Unexpected token 'stacktrce', expecting 'Unknown field stacktrce'",
        "3:1",
    ),
    (
        "stacktrace-argument",
        "errors {\nstacktrace on\n}",
        "Corefile:3 - Syntax error: Unexpected token 'on', expecting 'Unknown field on'",
        "3:12",
    ),
    (
        "too-few",
        "errors {\nconsolidate 1m\n}",
        PARSING.format(3) + "Wrong argument count or unexpected line ending after '1m'",
        "3:13",
    ),
    (
        "too-many",
        "errors {\nconsolidate 1m a info show_first b\n}",
        PARSING.format(3) + "Wrong argument count or unexpected line ending after 'b'",
        "3:34",
    ),
    (
        "duration",
        "errors {\nconsolidate 1 .*\n}",
        PARSING.format(3) + 'time: missing unit in duration "1"',
        "3:13",
    ),
    (
        "regexp",
        "errors {\nconsolidate 1m (?=a)\n}",
        PARSING.format(3) + "error parsing regexp: invalid or unsupported Perl syntax: `(?=`",
        "3:16",
    ),
    (
        "long-regexp",
        f"errors {{\nconsolidate 1m {LONG}\n}}",
        PARSING.format(3) + "regex pattern too long: 10001 > 10000",
        "3:16",
    ),
    (
        "level-behind-show-first",
        "errors {\nconsolidate 1m error show_first warning\n}",
        PARSING.format(3) + "log level must come before show_first in consolidate",
        "3:33",
    ),
    (
        "two-levels",
        "errors {\nconsolidate 1m x error info\n}",
        PARSING.format(3) + "multiple log levels specified in consolidate",
        "3:24",
    ),
    (
        "option",
        "errors {\nconsolidate 1m x eror\n}",
        PARSING.format(3) + "unknown option in consolidate: eror",
        "3:18",
    ),
]


@pytest.mark.parametrize(
    ("text", "message", "place"), [row[1:] for row in REFUSED_OPTIONS], ids=[row[0] for row in REFUSED_OPTIONS]
)
def test_refused_options(text: str, message: str, place: str) -> None:
    with pytest.raises(CorefileError) as raised:
        errors.setup(directive(text), BLOCK)
    assert str(raised.value) == message
    assert placed(raised.value) == place
    assert raised.value.cure


def test_all_that_is_wrong_is_told() -> None:
    with pytest.raises(CorefileErrors) as raised:
        errors.setup(directive("errors foo {\nconsolidate 1m (\nstacktrace\nstack\n}"), BLOCK)
    assert [placed(error) for error in raised.value.errors] == ["2:8", "3:16", "5:1"]
