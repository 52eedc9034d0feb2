"""The options of the cache directive, and the errors of wrong ones, each at its word."""

from __future__ import annotations

import pytest

from kubedns.corefile.errors import CorefileError, CorefileErrors
from kubedns.plugin.contract import ServerBlock
from kubedns.wire.name import name
from plugins.cache.options import Limits, Options, Prefetch, Stale, read_options
from tests.plugins.helpers import directive, placed

ZONE = name("example.org.")
BLOCK = ServerBlock(("example.org.",))


def read(text: str) -> Options:
    return read_options(directive(text), BLOCK)


def line(text: str) -> str:
    return f"cache {{\n{text}\n}}"


ACCEPTED = {
    "nothing": ("cache", Options((ZONE,))),
    "a TTL": ("cache 30", Options((ZONE,), Limits(30), Limits(30))),
    "a TTL and zones": ("cache 30 a.org b.org", Options((name("a.org"), name("b.org")), Limits(30), Limits(30))),
    "a reverse zone": ("cache 10.0.0.0/8", Options((name("10.in-addr.arpa"),))),
    "an empty block": ("cache {\n}", Options((ZONE,))),
    "success": (line("success 5000"), Options((ZONE,), Limits(3600, 5000))),
    "success, TTLs": (line("success 5000 60 10 more"), Options((ZONE,), Limits(60, 5000, 10))),
    "success of none": (line("success -1 7200 0"), Options((ZONE,), Limits(7200, -1, 0))),
    "denial": (line("denial 100 5"), Options((ZONE,), denial=Limits(5, 100))),
    "a TTL beyond what fits": ("cache 99999999999", Options((ZONE,), Limits(2**31 - 1), Limits(2**31 - 1))),
    "prefetch": (line("prefetch 2"), Options((ZONE,), prefetch=Prefetch(2))),
    "prefetch, all": (line("prefetch 2 30s 20%"), Options((ZONE,), prefetch=Prefetch(2, 30.0, 20))),
    "stale": (line("serve_stale"), Options((ZONE,), stale=Stale(3600.0))),
    "stale, off": (line("serve_stale 0"), Options((ZONE,))),
    "stale, immediate": (
        line("serve_stale 2h Immediate 30s 5m"),
        Options((ZONE,), stale=Stale(7200.0, ttl=30, recheck=300.0)),
    ),
    "stale, verify": (
        line("serve_stale 1h VERIFY 50ms 30s 1s"),
        Options((ZONE,), stale=Stale(3600.0, verify=True, timeout=0.05, ttl=30, recheck=1.0)),
    ),
    "stale, policy above": (
        line("serve_stale_policy prefer_positive\nserve_stale 1m"),
        Options((ZONE,), stale=Stale(60.0, prefer_positive=True)),
    ),
    "stale, policy below": (
        line("serve_stale 1m\nserve_stale_policy prefer_positive"),
        Options((ZONE,), stale=Stale(60.0, prefer_positive=True)),
    ),
    "servfail": (line("servfail 0"), Options((ZONE,), servfail=0.0)),
    "servfail at its longest": (line("servfail 5m"), Options((ZONE,), servfail=300.0)),
    "disable": (line("disable denial"), Options((ZONE,), disabled={"success": (), "denial": (b"\0",)})),
    "disable, repeated": (
        line("disable success a.org\ndisable success b.org C.org"),
        Options((ZONE,), disabled={"success": (name("b.org"), name("c.org")), "denial": ()}),
    ),
    "keepttl": (line("keepttl"), Options((ZONE,), keep_ttl=True)),
}


@pytest.mark.parametrize(("text", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(text: str, expected: Options) -> None:
    assert read(text) == expected


ARGUMENTS = "Corefile:{} - Error during parsing: Wrong argument count or unexpected line ending after '{}'"
REFUSED = [
    ("cache 0", "cache TTL can not be zero or negative: 0", "2:7"),
    ("cache -5 a.org", "cache TTL can not be zero or negative: -5", "2:7"),
    (line("success"), ARGUMENTS.format(3, "success"), "3:1"),
    (line("success x"), 'strconv.Atoi: parsing "x": invalid syntax', "3:9"),
    (line("success 10 x"), 'strconv.Atoi: parsing "x": invalid syntax', "3:12"),
    (line("success 10 0"), "cache TTL can not be zero or negative: 0", "3:12"),
    (line("success 10 5 -1"), "cache min TTL can not be negative: -1", "3:14"),
    (line("denial 10 5 x"), 'strconv.Atoi: parsing "x": invalid syntax', "3:13"),
    (line("denial 10 -5"), "cache TTL can not be zero or negative: -5", "3:11"),
    (line("prefetch"), ARGUMENTS.format(3, "prefetch"), "3:1"),
    (line("prefetch 1 1m 10% x"), ARGUMENTS.format(3, "x"), "3:19"),
    (line("prefetch -1"), "prefetch amount should be positive: -1", "3:10"),
    (line("prefetch 1 5"), 'time: missing unit in duration "5"', "3:12"),
    (line("prefetch 1 1m 10"), "last character of percentage should be `%`, but is: '0'", "3:15"),
    (line("prefetch 1 1m x%"), 'strconv.Atoi: parsing "x": invalid syntax', "3:15"),
    (line("prefetch 1 1m 9%"), "percentage should fall in range [10, 90]: 9", "3:15"),
    (line("prefetch 1 1m 91%"), "percentage should fall in range [10, 90]: 91", "3:15"),
    (line("serve_stale 20"), 'time: missing unit in duration "20"', "3:13"),
    (line("serve_stale -1s"), "invalid negative duration for serve_stale", "3:13"),
    (line("serve_stale 1h later"), "invalid value for serve_stale refresh mode: later", "3:16"),
    (line("serve_stale 1h immediate 1.5s"), "serve_stale response TTL must be whole seconds up to 4294967295", "3:26"),
    (line("serve_stale 1h immediate 5s 6m"), "serve_stale recheck over 5 minutes is not permitted", "3:29"),
    (line("serve_stale 1h immediate 5s 6s 7s"), ARGUMENTS.format(3, "7s"), "3:32"),
    (line("serve_stale 1h verify -1s"), "invalid negative verify timeout for serve_stale", "3:23"),
    (line("serve_stale_policy"), ARGUMENTS.format(3, "serve_stale_policy"), "3:1"),
    (line("serve_stale_policy prefer_positive"), "serve_stale_policy requires serve_stale", "3:1"),
    (line("serve_stale\nserve_stale_policy x"), "invalid value for serve_stale_policy: x", "4:20"),
    (
        line("serve_stale\nserve_stale_policy prefer_positive\nserve_stale_policy prefer_positive"),
        "serve_stale_policy can only be specified once",
        "5:1",
    ),
    (line("servfail"), ARGUMENTS.format(3, "servfail"), "3:1"),
    (line("servfail 5"), 'time: missing unit in duration "5"', "3:10"),
    (line("servfail -1s"), "invalid negative ttl for servfail", "3:10"),
    (line("servfail 5m1s"), "caching SERVFAIL responses over 5 minutes is not permitted", "3:10"),
    (line("disable"), ARGUMENTS.format(3, "disable"), "3:1"),
    (line("disable all"), 'cache type for disable must be "success" or "denial"', "3:9"),
    (line("disable denial a..b"), "invalid disabled zone: a..b", "3:16"),
    (line("keepttl 5"), ARGUMENTS.format(3, "5"), "3:9"),
    (line("ttl 5"), ARGUMENTS.format(3, "ttl"), "3:1"),
    ("cache 5\ncache 6", "this plugin can only be used once per Server Block", "3:1"),
]


@pytest.mark.parametrize(("text", "expected", "place"), REFUSED, ids=[text for text, *_ in REFUSED])
def test_refused(text: str, expected: str, place: str) -> None:
    with pytest.raises(CorefileError) as raised:
        read(text)
    assert str(raised.value).splitlines()[0] == expected
    assert placed(raised.value) == place


def test_all_that_is_wrong_is_told() -> None:
    with pytest.raises(CorefileErrors) as raised:
        read(line("success x\nkeepttl 5\nservfail 9m"))
    assert len(raised.value.errors) == 3


CAPACITIES = [(10_000, 9984), (5000, 4864), (1, 1024), (-7, 1024), (0, 1024), (100_000, 99_840)]


@pytest.mark.parametrize(("capacity", "entries"), CAPACITIES)
def test_capacities_are_coredns_numbers(capacity: int, entries: int) -> None:
    assert Limits(5, capacity).entries == entries
