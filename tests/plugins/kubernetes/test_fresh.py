"""What was answered before is never answered once it has changed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubedns.answers.table import Table
from kubedns.cluster.objects import kind_of_object
from kubedns.wire.numbers import Rcode
from tests.plugins.helpers import query
from tests.plugins.kubernetes.cluster import (
    NODATA,
    NXDOMAIN,
    SAMPLE,
    SVC,
    Made,
    Running,
    Shown,
    at,
    endpoints,
    external,
    fill,
    namespace,
    negative,
    next_plugin,
    of,
    pod,
    reply,
    sample,
    service,
    step,
)

REVERSE = negative("NXDOMAIN", "in-addr.arpa.")
KINDS = ("A", "AAAA", "SRV", "CNAME", "TXT", "MX", "PTR", "HTTPS", "ANY", "SOA", "NS")
NEW = service("default/new", "10.96.0.99", ports="http 80/TCP")
NEW_NAMES = ("new.default~", "_http._tcp.new.default~", "10-0-0-1.new.default~", "99.0.96.10.in-addr.arpa.")


def remove(running: Running, made: Made) -> None:
    value = of(made)
    running.index.remove(kind_of_object(value), value.namespace, value.name)


def test_a_service_comes_changes_and_goes() -> None:
    running = sample()
    questions = [f"{name} {kind}" for name in NEW_NAMES for kind in KINDS]
    before = {question: running.ask(question) for question in questions}
    assert {before[f"new.default~ {kind}"] for kind in KINDS if kind != "SOA"} == {NXDOMAIN}
    running.index.upsert(of(NEW))
    assert running.ask("new.default~ A") == reply("@ A 10.96.0.99")
    assert running.ask("new.default~ SRV") == reply("@ SRV 0 100 80 new.default~", ar=("@ A 10.96.0.99",))
    assert running.ask("new.default~ AAAA") == NODATA
    assert running.ask("99.0.96.10.in-addr.arpa. PTR") == reply("@ PTR new.default~")
    running.index.upsert(of(service("default/new", "10.96.0.98", "fd00::98", ports="http 81/TCP")))
    assert running.ask("new.default~ A") == reply("@ A 10.96.0.98")
    assert running.ask("new.default~ AAAA") == reply("@ AAAA fd00::98")
    assert running.ask("_http._tcp.new.default~ SRV").answer == ("@ SRV 0 50 81 new.default~",)
    assert running.ask("99.0.96.10.in-addr.arpa. PTR") == REVERSE
    assert running.ask("98.0.96.10.in-addr.arpa. PTR") == reply("@ PTR new.default~")
    remove(running, NEW)
    assert {question: running.ask(question) for question in questions} == before
    assert running.ask("98.0.96.10.in-addr.arpa. PTR") == REVERSE


def test_endpoints_come_change_and_go() -> None:
    running = sample(made=[*SAMPLE, service("prod/late", "None", ports="http 80/TCP")])
    assert running.ask("late.prod~ A") == NXDOMAIN
    assert running.ask("x.late.prod~ A") == NXDOMAIN
    assert running.ask("1.0.0.10.in-addr.arpa. PTR") == REVERSE
    held = endpoints("prod/late", at("10.0.0.1", hostname="x"), ports="http 80")
    running.index.upsert(of(held))
    assert running.ask("late.prod~ A") == reply("@ A 10.0.0.1")
    assert running.ask("late.prod~ AAAA") == NODATA
    assert running.ask("x.late.prod~ A") == reply("@ A 10.0.0.1")
    assert running.ask("1.0.0.10.in-addr.arpa. PTR") == reply("@ PTR x.late.prod~")
    running.index.upsert(of(endpoints("prod/late", at("10.0.0.1", hostname="y"), at("fd00::1"), ports="http 80")))
    assert running.ask("late.prod~ AAAA") == reply("@ AAAA fd00::1")
    assert running.ask("x.late.prod~ A") == NXDOMAIN
    assert running.ask("y.late.prod~ A") == reply("@ A 10.0.0.1")
    assert running.ask("1.0.0.10.in-addr.arpa. PTR") == reply("@ PTR y.late.prod~")
    running.index.upsert(of(endpoints("prod/late", at("10.0.0.1", hostname="y", ready=False), ports="http 80")))
    assert running.ask("late.prod~ A") == NXDOMAIN
    assert running.ask("1.0.0.10.in-addr.arpa. PTR") == REVERSE
    running.index.upsert(of(held))
    remove(running, held)
    assert running.ask("late.prod~ SRV") == NXDOMAIN


def test_a_namespace_comes_and_goes() -> None:
    running = sample("namespaces default prod")
    questions = ("web.default~ A", "web.default~ AAAA", "10-244-1-20.web.default~ A", "default~ A")
    addresses = ("20.0.96.10.in-addr.arpa. PTR", "20.1.244.10.in-addr.arpa. PTR")
    before = {question: running.ask(question) for question in (*questions, *addresses)}
    remove(running, namespace("default"))
    assert {running.ask(question) for question in questions} == {NXDOMAIN}
    assert {running.ask(question) for question in addresses} == {REVERSE}
    assert running.ask("db.prod~ A").rcode == "NOERROR"
    running.index.upsert(of(namespace("default")))
    assert {question: running.ask(question) for question in before} == before


def test_headless_and_back() -> None:
    running = sample()
    web = reply("@ A 10.96.0.20")
    assert running.ask("web.default~ A") == web
    running.index.upsert(of(service("default/web", "None", ports="http 80/TCP")))
    assert running.ask("web.default~ A") == reply("@ A 10.244.1.20", "@ A 10.244.2.21")
    assert running.ask("20.0.96.10.in-addr.arpa. PTR") == REVERSE
    running.index.upsert(of(service("default/web", "10.96.0.20", ports="http 80/TCP")))
    assert running.ask("web.default~ A") == web
    assert running.ask("20.0.96.10.in-addr.arpa. PTR") == reply("@ PTR web.default~")


def test_pods_come_move_and_go() -> None:
    running = sample()
    asked = "10-9-9-9.prod.pod.cluster.local. A"
    assert running.ask(asked) == NXDOMAIN
    running.index.upsert(of(pod("prod/p", "10.9.9.9")))
    assert running.ask(asked) == reply("@ A 10.9.9.9")
    running.index.upsert(of(pod("prod/p", "10.9.9.8")))
    assert running.ask(asked) == NXDOMAIN
    assert running.ask("10-9-9-8.prod.pod.cluster.local. A") == reply("@ A 10.9.9.8")
    remove(running, pod("prod/p", ""))
    assert running.ask("10-9-9-8.prod.pod.cluster.local. A") == NXDOMAIN


def test_empty_services_are_seen_to_fill_and_empty() -> None:
    running = sample("ignore empty_service")
    assert running.ask("idle.default~ A") == NXDOMAIN
    filled = endpoints("default/idle", at("10.244.1.50"), ports="http 80")
    running.index.upsert(of(filled))
    assert running.ask("idle.default~ A") == reply("@ A 10.96.0.50")
    remove(running, filled)
    assert running.ask("idle.default~ A") == NXDOMAIN


def test_a_service_takes_over_an_endpoint_s_address() -> None:
    running = sample()
    asked = "20.1.244.10.in-addr.arpa. PTR"
    assert running.ask(asked) == reply("@ PTR 10-244-1-20.web.default~")
    thief = service("prod/thief", "10.244.1.20", ports="http 80/TCP")
    running.index.upsert(of(thief))
    assert running.ask(asked) == reply("@ PTR thief.prod~")
    remove(running, thief)
    assert running.ask(asked) == reply("@ PTR 10-244-1-20.web.default~")


def test_what_falls_through_ends_when_the_cluster_gets_the_name() -> None:
    running = sample("fallthrough in-addr.arpa")
    asked = query("9.9.9.10.in-addr.arpa.", "PTR")
    passed = step(running.plugin.resolve(asked, next_plugin))
    assert passed.rcode == Rcode.NOTIMP
    assert not passed.validity.holds(0)  # the next plugin says so of its own reply
    [token] = passed.validity.tokens
    running.index.upsert(of(service("default/other", "10.9.9.8")))
    assert not token.stale
    running.index.upsert(of(service("default/new", "10.9.9.9")))
    assert token.stale


def test_the_serial_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    running = sample()
    running.index.serial.become(7)
    running.index.upsert(of(namespace("other")))
    assert running.ask("nosuch.default~ A") == Shown("NXDOMAIN", (), ("SOA cluster.local. serial 7",))
    assert running.ask("web.default~ AAAA") == Shown("NOERROR", (), ("SOA cluster.local. serial 7",))
    monkeypatch.setattr(running.index, "_now", lambda: 9.0)
    running.index.upsert(of(NEW))
    for question in ("nosuch.default~ A", "web.default~ AAAA", "cluster.local. A"):
        assert running.ask(question).authority == ("SOA cluster.local. serial 9",)


ABSENT = {
    "a Service": [f"nosuch{number}.default~ A" for number in range(40)],
    "a parent of the search path": [f"www.example{number}.prod~ A" for number in range(40)],
    "a namespace": [f"web.nosuch{number}~ A" for number in range(40)],
    "a type": ["web.default~ AAAA", "web.default~ MX", "default~ A", "svc.cluster.local. A", "cluster.local. A"],
    "a Pod": [f"10-9-9-{number}.default.pod.cluster.local. A" for number in range(40)],
    "an address": [f"{number}.9.9.10.in-addr.arpa. PTR" for number in range(40)],
    "another zone's": [f"www.example{number}.cluster.local. A" for number in range(40)],
}


@pytest.mark.parametrize("questions", ABSENT.values(), ids=ABSENT)
def test_what_is_not_there_is_so_whatever_happens_elsewhere(questions: list[str]) -> None:
    """The serial moves meanwhile; names share tokens, so that one or another may have to be asked about anew."""
    running = sample("pods verified")
    running.index.mark_synced()
    asked = [query(*question.replace("~", SVC).split()) for question in questions]
    replies = [step(running.plugin.resolve(one, next_plugin)) for one in asked]
    assert all(not reply.answer and reply.serial for reply in replies)
    kept = [reply.undated[0] for reply in replies]
    for made in (
        service("prod/other", "10.96.0.99"),
        endpoints("prod/other", at("10.244.9.9"), ports="http 80"),
        endpoints("prod/db", at("10.244.1.10", hostname="db-7"), ports="pg 5432"),
        pod("prod/other", "10.244.9.9"),
    ):
        assert running.index.upsert(of(made))
    running.index.serial.become(7)
    assert sum(validity.holds(0.0) for validity in kept) >= 0.8 * len(kept)
    assert not any(reply.validity.holds(0.0) for reply in replies)
    for one, before in zip(asked, replies, strict=True):
        assert step(running.plugin.resolve(one, next_plugin)).authority != before.authority


MADE_UP = (
    "x{}.svc.cluster.local.",
    "x{}.default~",
    "x{}.web.default~",
    "_x{}._tcp.web.default~",
    "{}.0.0.10.in-addr.arpa.",
)
MADE_UP_PODS = ("10-0-0-{}.default.pod.cluster.local.", "x{}.10-0-0-1.default.pod.cluster.local.")


def test_names_and_types_that_a_stranger_makes_up_are_not_kept() -> None:
    running = sample("pods insecure")
    table: Table = vars(running.plugin)["_table"]
    for number in range(50):
        for made_up in (*MADE_UP, *MADE_UP_PODS):
            for kind in ("A", "PTR", "TXT"):
                running.ask(f"{made_up.format(number)} {kind}")
    assert len(table) == 0
    running.ask("web.default~ A")
    asked = query("web.default.svc.cluster.local.")
    for rrtype in range(0, 65_536, 3):
        asked.rrtype = rrtype
        running.octets(asked)
    answers = table.get(asked.name)
    assert answers is not None
    assert len(table) == 1
    assert len(answers.replies) <= len(KINDS)


def test_the_table_has_a_bound() -> None:
    made = [service(f"default/s{number}", "10.96.0.7", ports="http 80/TCP") for number in range(200)]
    running = sample(made=[*SAMPLE, *made])
    table = vars(running.plugin)["_table"] = Table(most=64)
    for number in range(200):
        for asked in (number, number // 2):
            assert running.ask(f"s{asked}.default~ A") == reply("@ A 10.96.0.7")
    assert len(table) <= 64


# One plugin that lives through all changes answers as one made after them.

CHOICES: tuple[Made, ...] = (
    namespace("default"),
    namespace("prod"),
    service("default/a", "10.0.0.1", ports="http 80/TCP"),
    service("default/a", "10.0.0.1", "fd00::1", ports="http 80/TCP, dns 53/UDP"),
    service("default/a", "None", ports="http 80/TCP"),
    service("prod/b", "10.0.0.1"),
    service("prod/b", "10.0.0.2", ports="http 81/TCP"),
    external("default/a", "b.prod.svc.cluster.local"),
    external("prod/b", "a.default.svc.cluster.local"),
    external("prod/b", "api.example.com"),
    endpoints("default/a", at("10.0.0.1"), at("10.0.0.3", hostname="h"), ports="http 80"),
    endpoints("default/a", at("10.0.0.2", pod="p"), ports="http 8080"),
    endpoints("default/a", at("fd00::1"), at("h.example.com"), ports="http 80", suffix="y"),
    endpoints("prod/b", at("10.0.0.3", hostname="h")),
    endpoints("prod/b", at("10.0.0.3", hostname="h"), at("10.0.0.1", ready=False), ports="http 80"),
    pod("default/p", "10.0.0.3"),
    pod("default/p", "10.0.0.1"),
    pod("prod/q", "10.0.0.3"),
)
ASKED = [
    *(f"{left}{place}" for place in ("a.default~", "b.prod~") for left in ("", "h.", "10-0-0-1.", "_http._tcp.")),
    *(f"10-0-0-{last}.{inside}.pod.cluster.local." for last in (1, 3) for inside in ("default", "prod")),
    *(f"{last}.0.0.10.in-addr.arpa." for last in (1, 2, 3)),
    *(
        "default~",
        "cluster.local.",
        "ns.dns.cluster.local.",
        "CLUSTER.local.",
        "A.Default.svc.Cluster.local.",
        "nosuch.prod~",
    ),
]
PLUGIN_OPTIONS = ("pods verified", "namespaces default\nendpoint_pod_names", "ignore empty_service\nfallthrough prod~")
CHANGES = st.one_of(
    st.tuples(st.sampled_from(CHOICES), st.sampled_from((True, True, False))),
    st.tuples(st.sampled_from(CHOICES[:2]), st.booleans()),  # a namespace takes much with it
)


@settings(max_examples=60)
@given(
    st.sampled_from(PLUGIN_OPTIONS),
    st.sets(st.sampled_from(KINDS), min_size=1, max_size=2),
    st.lists(CHANGES, min_size=5, max_size=20),
)
def test_what_is_kept_is_what_would_be_made_now(
    options: str, kinds: set[str], changes: list[tuple[Made, bool]]
) -> None:
    """After each change every question is asked again, of the one plugin and of one made at that moment."""
    asked = [query(name.replace("~", SVC), kind, edns=4096) for name in ASKED for kind in sorted({"A", "PTR", *kinds})]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plugins.kubernetes.local_addresses", lambda: [bytes((10, 0, 0, 3))])
        running = Running(options.replace("~", SVC))
        fill(running.index, (namespace("default"), namespace("prod")))
        for made, comes in changes:
            if comes:
                running.index.upsert(of(made))
            else:
                remove(running, made)
            afresh = running.again()
            for one in asked:
                assert running.octets(one) == running.octets(one, afresh)
