"""Words to values, and CoreDNS's text where that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kubedns.corefile import readers
from kubedns.corefile.errors import CorefileError, CorefileErrors, Kind
from kubedns.corefile.text import read_text
from tests.corefile.reading import lines, only_directive, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubedns.corefile.values import Property, Use, Word

P = "Corefile:2 - Error during parsing: "
WRONG = "Wrong argument count or unexpected line ending after"


def one_use(text: str) -> Use:
    return readers.once(only_directive(f"a.org {{\n{text}\n}}"))


def one_word(text: str) -> Word:
    return read_text(f"\n{text}", "Corefile").words[0]


def failure(call: Callable[[], object]) -> CorefileError:
    with pytest.raises(CorefileError) as raised:
        call()
    return raised.value


WRONG_ARGUMENTS: dict[str, tuple[str, Callable[[Use], object], str]] = {
    "none": ("log", readers.one_argument, f"{WRONG} 'log'"),
    "several": ("log a b", readers.one_argument, f"{WRONG} 'b'"),
    "before-block": ("log {\nx\n}", readers.one_argument, f"{WRONG} 'log'"),
    "unwanted": ("log a b", readers.no_arguments, f"{WRONG} 'a'"),
    "unwanted-block": ("log {\n}", readers.no_arguments, "Unexpected token '{', expecting argument"),
    "unwanted-by-property": ("log { x a b\n}", lambda use: readers.no_arguments(use.properties[0]), f"{WRONG} 'b'"),
}


@pytest.mark.parametrize(("text", "call", "expected"), WRONG_ARGUMENTS.values(), ids=WRONG_ARGUMENTS)
def test_wrong_arguments(text: str, call: Callable[[Use], object], expected: str) -> None:
    use = one_use(text)
    assert str(failure(lambda: call(use))) == P + expected


def test_wrong_arguments_at_a_word() -> None:
    use = one_use("log a b {\n}")
    assert str(readers.wrong_arguments(use, use.arguments[0])) == f"{P}{WRONG} 'a'"
    assert str(readers.wrong_arguments(use.arguments[0])) == f"{P}{WRONG} 'a'"
    assert str(readers.wrong_arguments(use, use.opening)) == f"{P}Unexpected token '{{', expecting argument"


def test_right_arguments() -> None:
    readers.no_arguments(one_use("log"))
    readers.no_arguments(one_use("log { x\n}").properties[0])
    assert readers.one_argument(one_use("log a")).text == "a"


VALUES: dict[str, tuple[Callable[[Word], Any], str, Any]] = {
    "integer": (readers.integer, "30", 30),
    "range": (lambda word: readers.number_in_range(word, 0, 3600, "{}"), "3600", 3600),
    "floating": (readers.floating, "0.5", 0.5),
    "duration": (readers.duration, "1h30m", 5400.0),
    "address": (readers.address, "10.0.0.1", "10.0.0.1"),
    "address-6": (readers.address, "FD00:0::1", "fd00::1"),
    "choice": (lambda word: readers.choice(word, ("a", "b"), "{}"), "b", "b"),
}


@pytest.mark.parametrize(("reader", "text", "value"), VALUES.values(), ids=VALUES)
def test_value(reader: Callable[[Word], Any], text: str, value: Any) -> None:
    assert reader(one_word(text)) == value


def ttl(word: Word) -> int:
    return readers.number_in_range(word, 0, 3600, "ttl must be in range [0, 3600]: {}")


def pods(word: Word) -> str:
    return readers.choice(word, ("disabled", "insecure", "verified"), "wrong value for pods: {}")


FAILURES: dict[str, tuple[Callable[[Word], Any], str, str, str]] = {
    "integer": (readers.integer, "x", 'strconv.Atoi: parsing "x": invalid syntax', "write a whole number"),
    "integer-with-place": (
        lambda word: readers.integer(word, kind=Kind.PARSING),
        "x",
        f'{P}strconv.Atoi: parsing "x": invalid syntax',
        "write a whole number",
    ),
    "unsigned": (
        lambda word: readers.integer(word, "ParseUint", range(2**16)),
        "65536",
        'strconv.ParseUint: parsing "65536": value out of range',
        "write a whole number",
    ),
    "range": (ttl, "3601", f"{P}ttl must be in range [0, 3600]: 3601", "write a number from 0 to 3600"),
    "range-below": (ttl, "-1", f"{P}ttl must be in range [0, 3600]: -1", "write a number from 0 to 3600"),
    "range-no-number": (ttl, "5s", 'strconv.Atoi: parsing "5s": invalid syntax', "write a whole number"),
    "floating": (readers.floating, "x", 'strconv.ParseFloat: parsing "x": invalid syntax', "write a number"),
    "duration": (readers.duration, "5", 'time: missing unit in duration "5"', readers.DURATION_CURE),
    "address": (readers.address, "a.org", f"{P}invalid IP address: a.org", "write an IPv4 or IPv6 address"),
    "address-zone": (
        readers.address,
        "fe80::1%1",
        f"{P}invalid IP address: fe80::1%1",
        "write an IPv4 or IPv6 address",
    ),
    "choice-near": (pods, "verify", f"{P}wrong value for pods: verify", "did you mean 'verified'?"),
    "choice": (pods, "on", f"{P}wrong value for pods: on", "write one of: disabled, insecure, verified"),
}


@pytest.mark.parametrize(("reader", "text", "error", "cure"), FAILURES.values(), ids=FAILURES)
def test_no_value(reader: Callable[[Word], Any], text: str, error: str, cure: str) -> None:
    word = one_word(text)
    raised = failure(lambda: reader(word))
    assert (str(raised), raised.cure, raised.word) == (error, cure, word)


ONCE = {
    "twice": ("log\nlog", 3, "leave out one 'log'"),
    "brace-below": ("log\n{\n}", 3, "put the '{' on the line of 'log'"),
    "behind-brace": ("log {\n} errors", 3, "put 'errors' on a line of its own"),
}


@pytest.mark.parametrize(("text", "line", "cure"), ONCE.values(), ids=ONCE)
def test_once(text: str, line: int, cure: str) -> None:
    raised = failure(lambda: one_use(text))
    assert str(raised) == "this plugin can only be used once per Server Block"
    assert (raised.word and raised.word.line, raised.cure) == (line, cure)


def test_zones_or_keys() -> None:
    keys = ("a.org.", "b.org.")
    assert readers.zones_or_keys((), keys) == keys
    arguments = one_use("log C.org 10.0.0.0/8 a..b").arguments
    assert readers.zones_or_keys(arguments, keys) == ("c.org.", "10.in-addr.arpa.")


def test_properties_are_read_in_file_order() -> None:
    read: list[str] = []

    def keep(line: Property) -> None:
        read.append(readers.one_argument(line).text)

    readers.read_properties(one_use("log {\nb 1\na 2\nb 3\n}"), {"a": keep, "b": keep})
    assert read == ["1", "2", "3"]


def test_a_block_with_three_mistakes_reports_three() -> None:
    def read_ttl(line: Property) -> None:
        ttl(readers.one_argument(line))

    def read_pods(line: Property) -> None:
        pods(readers.one_argument(line))

    handlers = {"ttl": read_ttl, "pods": read_pods}
    use = one_use("log {\nttl 5000\nttl 5\npodz verified\npods\n}")
    raised = failure(lambda: readers.read_properties(use, handlers))
    assert isinstance(raised, CorefileErrors)
    assert texts(raised.errors) == [
        "Corefile:3 - Error during parsing: ttl must be in range [0, 3600]: 5000",
        "Corefile:5 - Error during parsing: unknown property 'podz'",
        f"Corefile:6 - Error during parsing: {WRONG} 'pods'",
    ]
    assert raised.errors[1].cure == "did you mean 'pods'?"
    assert str(raised.prefixed("plugin/kubernetes: ")).startswith("plugin/kubernetes: Corefile:3 - ")


def test_a_single_mistake_is_raised_as_it_is() -> None:
    raised = failure(lambda: readers.read_properties(one_use("log {\nx\n}"), {}, unknown="no option {} here"))
    assert not isinstance(raised, CorefileErrors)
    assert raised.report() == lines(
        "Corefile:3 - Error during parsing: no option x here", "  --> Corefile:3:1", "    x", "    ^"
    )
