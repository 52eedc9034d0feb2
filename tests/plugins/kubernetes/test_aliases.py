"""ExternalName Services, and slices that hold names: CNAMEs, and what they lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kubedns.wire.numbers import Rcode
from kubedns.wire.reply import Reply
from tests.plugins.helpers import query
from tests.plugins.kubernetes.cluster import (
    NODATA,
    NXDOMAIN,
    SAMPLE,
    Running,
    at,
    endpoints,
    external,
    fill,
    negative,
    next_plugin,
    of,
    reply,
    sample,
    service,
    shown,
    step,
)

if TYPE_CHECKING:
    from kubedns.wire.query import Query
    from tests.plugins.kubernetes.cluster import Made, Shown

WEB = "web.default~ A 10.96.0.20"

ROWS = {
    "ext.default~ A": reply("@ CNAME api.example.com.", "api.example.com. 60 A 198.51.100.7"),
    "EXT.Default.svc.Cluster.local. A": reply("@ CNAME api.example.com.", "api.example.com. 60 A 198.51.100.7"),
    "ext.default~ AAAA": reply("@ CNAME api.example.com."),
    "ext.default~ CNAME": reply("@ CNAME api.example.com."),
    **{f"ext.default~ {kind}": NODATA for kind in ("SRV", "TXT", "MX", "ANY", "NS", "SOA")},
    "extnx.default~ A": reply("@ CNAME nope.example.com."),
    "alias.default~ A": reply("@ CNAME web.default~", WEB),
    "alias.default~ AAAA": NODATA,
    "alias.default~ SRV": NODATA,
    "_http._tcp.alias.default~ SRV": NXDOMAIN,
    "dead.default~ A": NODATA,
    "dead.default~ CNAME": reply("@ CNAME nosuch.default~"),
    "self.default~ A": NODATA,
    "extip.default~ A": NXDOMAIN,
    "extip.default~ CNAME": NXDOMAIN,
    "a.ext.default~ A": NXDOMAIN,
}


@pytest.mark.parametrize(("question", "expected"), ROWS.items(), ids=ROWS)
def test_reply(question: str, expected: Shown) -> None:
    running = sample()
    assert running.ask(question) == expected
    assert running.ask(question) == expected


TARGETS = {
    "final dot": ("api.example.com.", "A", reply("@ CNAME api.example.com.", "api.example.com. 60 A 198.51.100.7")),
    "capitals": ("API.Example.com", "CNAME", reply("@ CNAME API.Example.com.")),
    "capitals, inside": (
        "WEB.default.svc.Cluster.local",
        "A",
        reply("@ CNAME WEB.default~", "WEB.default~ A 10.96.0.20"),
    ),
    "below itself": ("x.e.default.svc.cluster.local", "A", NODATA),
    "headless": (
        "db.prod.svc.cluster.local",
        "A",
        reply("@ CNAME db.prod~", "db.prod~ A 10.244.1.10", "db.prod~ A 10.244.2.11"),
    ),
    "an endpoint": (
        "db-0.db.prod.svc.cluster.local",
        "A",
        reply("@ CNAME db-0.db.prod~", "db-0.db.prod~ A 10.244.1.10"),
    ),
    "a pod": (
        "10-244-1-10.prod.pod.cluster.local",
        "A",
        reply("@ CNAME 10-244-1-10.prod.pod.cluster.local.", "10-244-1-10.prod.pod.cluster.local. A 10.244.1.10"),
    ),
    "the apex": ("cluster.local", "A", NODATA),
    "empty label": ("a..b", "A", NXDOMAIN),
    "long label": ("a" * 64 + ".example.com", "CNAME", NXDOMAIN),
    "longest name": (".".join(["a" * 61] * 4) + ".bcdef", "CNAME", reply(f"@ CNAME {'.'.join(['a' * 61] * 4)}.bcdef.")),
    "long name": (".".join(["a" * 63] * 4), "CNAME", NXDOMAIN),
    "half a surrogate": ("\ud800.example.com", "CNAME", NXDOMAIN),
    "IPv6 address": ("fd00::1", "A", NXDOMAIN),
    "half an address": ("10.0.0.256", "CNAME", reply("@ CNAME 10.0.0.256.")),
}


@pytest.mark.parametrize(("target", "rrtype", "expected"), TARGETS.values(), ids=TARGETS)
def test_target(target: str, rrtype: str, expected: Shown) -> None:
    running = sample(made=[*SAMPLE, external("default/e", target)])
    assert running.ask(f"e.default~ {rrtype}") == expected


def _chain(length: int, end: str = "web.default.svc.cluster.local") -> list[Made]:
    """Return c1 to cN, each an alias of the next, the last of `end`: as many CNAMEs as `length`."""
    names = [f"c{number}.default.svc.cluster.local" for number in range(2, length + 1)]
    return [external(f"default/c{number}", target) for number, target in enumerate([*names, end], 1)]


@pytest.mark.parametrize(("length", "cnames"), [(1, 1), (2, 2), (11, 11), (12, 0), (30, 0)])
def test_chain(length: int, cnames: int) -> None:
    running = sample(made=[*SAMPLE, *_chain(length)])
    found = running.ask("c1.default~ A", transport="tcp")
    assert [" CNAME " in one for one in found.answer] == ([True] * cnames + [False] if cnames else [])
    assert found.authority == (() if cnames else NODATA.authority)


@pytest.mark.parametrize("length", [2, 3, 11])
def test_loop(length: int) -> None:
    running = sample(made=[*SAMPLE, *_chain(length, "c1.default.svc.cluster.local")])
    assert running.ask("c1.default~ A") == NODATA
    assert running.ask("c1.default~ CNAME") == reply("@ CNAME c2.default~")


def test_chain_that_leaves_the_zone() -> None:
    running = sample(made=[*SAMPLE, *_chain(3, "nope.example.com")])
    assert running.ask("c1.default~ A") == reply(
        "@ CNAME c2.default~", "c2.default~ CNAME c3.default~", "c3.default~ CNAME nope.example.com."
    )


def test_truncated_lookup_and_no_lookup() -> None:
    running = sample()

    async def cut(_: Query) -> Reply:
        return Reply(flags=0x0200, rcode=Rcode.SERVFAIL)

    for lookup, flags in ((cut, "QR AA TC RD"), (None, "QR AA RD")):
        asked = query("ext.default.svc.cluster.local.")
        asked.lookup = lookup
        found = step(running.plugin.resolve(asked, next_plugin))
        expected = reply("@ CNAME api.example.com.", flags=flags)
        assert shown(found.octets(asked), "ext.default.svc.cluster.local.") == expected


def test_circle_through_two_zones_ends() -> None:
    """Each step is a lookup in another zone, so no reply sees more than one of them."""
    running = Running(zones="a.test b.test")
    made = [external("default/p", "q.default.svc.b.test"), external("default/q", "p.default.svc.a.test")]
    fill(running.index, [*SAMPLE, *made])

    async def whole_server(asked: Query) -> Reply:
        asked.lookup = whole_server
        return await running.plugin.resolve(asked, next_plugin)

    asked = query("p.default.svc.a.test.", transport="tcp")
    found = step(whole_server(asked))
    assert 1 <= len(found.answer) <= 8
    assert step(whole_server(asked)).octets(asked) == found.octets(asked)


NAMED = (
    service("prod/named", "None", ports="http 80/TCP"),
    endpoints("prod/named", at("api.example.com"), at("10.0.0.9"), ports="http 80"),
)


def test_slices_that_hold_names() -> None:
    running = sample(made=[*SAMPLE, *NAMED])
    assert running.ask("named.prod~ A") == reply(
        "@ A 10.0.0.9", "@ CNAME api.example.com.", "api.example.com. 60 A 198.51.100.7"
    )
    assert running.ask("named.prod~ SRV") == reply(
        "@ SRV 0 50 80 api.example.com.",
        "@ SRV 0 50 80 10-0-0-9.named.prod~",
        ar=("10-0-0-9.named.prod~ A 10.0.0.9",),
    )
    assert running.ask("api-example-com.named.prod~ CNAME") == reply("@ CNAME api.example.com.")


@pytest.mark.parametrize("address", ["a..b", "x" * 64, ".".join(["a" * 63] * 4), "\ud800"])
def test_slices_that_hold_no_names(address: str) -> None:
    made = [service("prod/odd", "None", ports="http 80/TCP"), endpoints("prod/odd", at(address), ports="http 80")]
    running = sample(made=[*SAMPLE, *made])
    for rrtype in ("A", "SRV", "CNAME"):
        assert running.ask(f"odd.prod~ {rrtype}") == NXDOMAIN


def test_names_that_branch_at_every_step_end() -> None:
    """Ten Services of ten names each, all of each other, would be ten billion lookups."""
    names = [f"s{number}.prod.svc.cluster.local" for number in range(10)]
    made = [service(f"prod/s{number}", "None", ports="http 80/TCP") for number in range(10)]
    made += [endpoints(f"prod/s{number}", *map(at, names), ports="http 80") for number in range(10)]
    assert sample(made=[*SAMPLE, *made]).ask("s0.prod~ A") == NODATA


def test_what_a_service_becomes() -> None:
    running = sample()
    assert running.ask("web.default~ A") == reply("@ A 10.96.0.20")
    running.index.upsert(of(external("default/web", "api.example.com")))
    assert running.ask("web.default~ A") == ROWS["ext.default~ A"]
    assert running.ask("alias.default~ A") == reply(
        "@ CNAME web.default~", "web.default~ CNAME api.example.com.", "api.example.com. 60 A 198.51.100.7"
    )
    assert running.ask("20.0.96.10.in-addr.arpa. PTR") == negative("NXDOMAIN", "in-addr.arpa.")
    running.index.upsert(of(service("default/web", "10.96.0.20", ports="http 80/TCP")))
    assert running.ask("web.default~ A") == reply("@ A 10.96.0.20")
    assert running.ask("web.default~ CNAME") == NODATA
