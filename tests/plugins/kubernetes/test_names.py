"""Names and addresses at the edges: as long as can be, longer, spelled oddly; and any index at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubedns.cluster.objects import Endpoint, EndpointSlice, Namespace, Pod, Port, Service
from kubedns.wire.name import labels, name
from plugins.kubernetes.names import below, pod_address, service_name
from tests.plugins.helpers import query
from tests.plugins.kubernetes.cluster import (
    NODATA,
    NXDOMAIN,
    SAMPLE,
    Made,
    Running,
    at,
    endpoints,
    namespace,
    negative,
    pod,
    reply,
    sample,
    service,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubedns.cluster.objects import Object

LONG = "a" * 63


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        ("web.prod", ("prod", "web", "", "", "", True)),
        ("db-0.web.prod", ("prod", "web", "db-0", "", "", False)),
        ("_db.web.prod", ("prod", "web", "_db", "", "", False)),
        ("_http._tcp.web.prod", ("prod", "web", "", "http", "tcp", False)),
        ("__http._.web.prod", ("prod", "web", "", "_http", "", False)),
        ("a.b.c.web.prod", None),
    ],
)
def test_service_name(left: str, expected: tuple[str, str, str, str, str, bool] | None) -> None:
    assert service_name(labels(name(left))) == expected


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (b"10-244-1-2", "10.244.1.2"),
        (b"fd00--1", "fd00::1"),
        (b"1--2-3", "1::2:3"),
        (b"1-2-3-4-5-6-7-8", "1:2:3:4:5:6:7:8"),
        (b"foo", "foo"),
        (b"--1-", "::1:"),
    ],
)
def test_pod_address(label: bytes, expected: str) -> None:
    assert pod_address(label) == expected


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("db-0", "db"), b"\4db-0\2db\0"),
        (("DB",), b"\2DB\0"),
        (("a.b",), b"\1a\1b\0"),
        ((LONG, LONG, LONG, "a" * 61), b"".join(bytes((n,)) + b"a" * n for n in (63, 63, 63, 61)) + b"\0"),
        ((LONG, LONG, LONG, "a" * 62), None),
        ((LONG + "a",), None),
        (("", "db"), None),
        ((".",), None),
        (("a..b",), None),
        (("\ud800",), None),
    ],
)
def test_below(parts: tuple[str, ...], expected: bytes | None) -> None:
    assert below(b"\0", *parts) == expected


def _headless(*held: dict[str, object], place: str = "prod/s", ports: str = "http 80/TCP") -> list[Made]:
    return [*SAMPLE, service(place, "None", ports=ports), endpoints(place, *held, ports=ports)]


def test_labels_of_63_octets() -> None:
    place = f"{LONG}/{LONG}"
    made = [namespace(LONG), *_headless(at("10.0.0.1", hostname=LONG), place=place)]
    running = sample(made=made)
    full = f"{LONG}.{LONG}.{LONG}~"
    assert running.ask(f"{full} A") == reply("@ A 10.0.0.1")
    assert running.ask(f"{LONG}.{LONG}~ SRV") == reply(f"@ SRV 0 100 80 {full}", ar=(f"{full} A 10.0.0.1",))
    assert running.ask("1.0.0.10.in-addr.arpa. PTR") == reply(f"@ PTR {full}")


@pytest.mark.parametrize(("size", "fits"), [(52, True), (53, False)], ids=["255 octets", "256 octets"])
def test_names_over_255_octets_are_left_out(size: int, fits: bool) -> None:
    zone = f"{'z' * size}.test"
    place = f"{LONG}/{LONG}"
    made = [namespace(LONG), *_headless(at("10.0.0.1", hostname=LONG), at("10.0.0.2", hostname="x"), place=place)]
    running = sample(zones=f"{zone} in-addr.arpa", made=made)
    found = running.ask(f"{LONG}.{LONG}.svc.{zone}. SRV", edns=4096)
    assert len(found.answer) == len(found.additional) == 1 + fits
    addresses = running.ask(f"{LONG}.{LONG}.svc.{zone}. A", edns=4096)
    assert addresses.answer == ("@ A 10.0.0.1", "@ A 10.0.0.2")
    reverse = running.ask("1.0.0.10.in-addr.arpa. PTR")
    assert reverse.rcode == ("NOERROR" if fits else "NXDOMAIN")


@pytest.mark.parametrize("hostname", ["a" * 64, "a" * 300, "a..b", ".", "\ud800"])
def test_hostnames_that_are_no_names(hostname: str) -> None:
    running = sample(made=_headless(at("10.0.0.1", hostname=hostname), at("10.0.0.2")))
    assert running.ask("s.prod~ A") == reply("@ A 10.0.0.1", "@ A 10.0.0.2")
    assert running.ask("s.prod~ SRV") == reply("@ SRV 0 50 80 10-0-0-2.s.prod~", ar=("10-0-0-2.s.prod~ A 10.0.0.2",))
    assert running.ask("1.0.0.10.in-addr.arpa. PTR") == negative("NXDOMAIN", "in-addr.arpa.")


def test_pods_with_names_longer_than_a_label_are_named_after_their_address() -> None:
    running = sample("endpoint_pod_names", made=_headless(at("10.0.0.1", pod="p" * 64), at("10.0.0.2", pod="p" * 63)))
    assert running.ask("1.0.0.10.in-addr.arpa. PTR") == reply("@ PTR 10-0-0-1.s.prod~")
    assert running.ask("2.0.0.10.in-addr.arpa. PTR") == reply(f"@ PTR {'p' * 63}.s.prod~")


def test_ipv4_mapped_addresses_are_ipv4() -> None:
    made = [*_headless(at("::ffff:10.0.0.1")), service("default/m", "::ffff:10.0.0.9", ports="http 80/TCP")]
    running = sample(made=made)
    assert running.ask("s.prod~ A") == reply("@ A 10.0.0.1")
    assert running.ask("s.prod~ AAAA") == NODATA
    assert running.ask("m.default~ A") == reply("@ A 10.0.0.9")
    assert running.ask("9.0.0.10.in-addr.arpa. PTR") == reply("@ PTR m.default~")


def test_ipv6_is_named_as_the_api_spells_it() -> None:
    made = [*_headless(at("FD00:0::1")), pod("prod/p", "FD00:0::2")]
    running = sample(made=made)
    assert running.ask("fd00-0--1.s.prod~ AAAA") == reply("@ AAAA fd00::1")
    assert running.ask("fd00--1.s.prod~ AAAA") == NXDOMAIN


def test_duplicate_addresses() -> None:
    twice = [
        *_headless(at("10.0.0.1", hostname="a"), at("10.0.0.1", hostname="b"), at("10.0.0.1", hostname="a")),
        endpoints("prod/s", at("10.0.0.1", hostname="a"), ports="http 80", suffix="y"),
        service("default/d", "10.0.0.7", "10.0.0.7", ports="http 80/TCP"),
        service("default/e", "10.0.0.7", ports="http 80/TCP"),
    ]
    running = sample(made=twice)
    assert running.ask("s.prod~ A") == reply("@ A 10.0.0.1")
    assert running.ask("s.prod~ SRV") == reply(
        "@ SRV 0 25 80 a.s.prod~",
        "@ SRV 0 25 80 b.s.prod~",
        ar=("a.s.prod~ A 10.0.0.1", "b.s.prod~ A 10.0.0.1"),
    )
    assert running.ask("1.0.0.10.in-addr.arpa. PTR") == reply("@ PTR a.s.prod~", "@ PTR b.s.prod~")
    assert running.ask("d.default~ SRV") == reply("@ SRV 0 50 80 d.default~", ar=("@ A 10.0.0.7",))
    assert running.ask("7.0.0.10.in-addr.arpa. PTR") == reply("@ PTR d.default~")


@pytest.mark.parametrize("ips", [(), ("",), ("nonsense",), ("10.0.0.256",)])
def test_services_without_a_cluster_ip(ips: tuple[str, ...]) -> None:
    running = sample(made=[*SAMPLE, service("default/n", *ips, ports="http 80/TCP")])
    for rrtype in ("A", "AAAA", "SRV", "CNAME", "TXT"):
        assert running.ask(f"n.default~ {rrtype}") == NODATA


def test_slices_without_a_service_name_have_no_names() -> None:
    kind, raw = endpoints("prod/s", at("10.0.0.1"), ports="http 80")
    del raw["metadata"]["labels"]
    running = sample(made=[*SAMPLE, (kind, raw)])
    assert running.ask("1.0.0.10.in-addr.arpa. PTR") == negative("NXDOMAIN", "in-addr.arpa.")


def test_a_thousand_endpoints() -> None:
    held = [at(f"10.1.{number // 250}.{number % 250}") for number in range(1000)]
    running = sample(made=_headless(*held))
    assert len(running.ask("s.prod~ A", transport="tcp").answer) == 1000
    assert running.ask("s.prod~ A").flags == "QR AA TC RD"
    assert len(running.ask("s.prod~ SRV", transport="tcp").answer) >= 900


# Whatever the index holds, each question has a reply, and the reply can be read.

TEXTS = st.sampled_from(
    ["", "a", "b", "A", "_a", "a.b", "None", LONG, "a" * 64, "a" * 300, "a..b", "\\", "\ud800", "\u212a"]
)
IPS = st.sampled_from(
    ["", "None", "10.0.0.1", "10.0.0.2", "fd00::1", "::ffff:10.0.0.1", "::", "1.2.3", "\x00", "\ud800"]
)
NAMESPACES = st.sampled_from(["a", "b", "", LONG, "\ud800"])
PORTS = st.lists(
    st.builds(
        Port,
        st.sampled_from(["", "a", "A", "_a"]),
        st.sampled_from([-1, 0, 80, 65535]),
        st.sampled_from(["", "TCP", "a"]),
    ),
    max_size=3,
).map(tuple)
ADDRESSES = st.one_of(st.sampled_from([bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)), bytes(16)]), TEXTS.filter(bool))
ENDPOINTS = st.builds(Endpoint, ADDRESSES, TEXTS, TEXTS, st.just(""), st.sampled_from(["", "FD00::1", "::"]))
TYPES = st.sampled_from(["ClusterIP", "ExternalName", "NodePort", ""])
TARGETS = st.one_of(TEXTS, st.sampled_from(["a.a.svc.cluster.local", "a.b.svc.cluster.local.", "cluster.local", "."]))
OBJECTS: st.SearchStrategy[Object] = st.one_of(
    st.builds(Namespace, NAMESPACES),
    st.builds(Service, NAMESPACES, TEXTS, TYPES, st.lists(IPS, max_size=3).map(tuple), TARGETS, PORTS),
    st.builds(EndpointSlice, NAMESPACES, TEXTS, TEXTS, PORTS, st.lists(ENDPOINTS, max_size=4).map(tuple)),
    st.builds(Pod, NAMESPACES, TEXTS, IPS),
)
OPTIONS = st.sampled_from(
    ["", "pods verified", "pods insecure\nendpoint_pod_names", "ignore empty_service\nnamespaces a", "fallthrough"]
)
ZONES = st.sampled_from(["cluster.local in-addr.arpa ip6.arpa", ".", f"{LONG}.{LONG}.test in-addr.arpa"])
LEFT = st.lists(
    st.sampled_from(["a", "b", "A", "_a", "10-0-0-1", "--", LONG, "svc", "pod", "ns", "dns", "dns-version"]), max_size=4
)
KINDS = ("A", "AAAA", "SRV", "CNAME", "TXT", "PTR", "NS", "SOA", "ANY")


def _questions(left: Sequence[str], zones: str) -> list[str]:
    zone = zones.split(maxsplit=1)[0].strip(".")
    spelled = [".".join([*left, kind, zone]).strip(".") + "." for kind in ("svc", "pod")]
    spelled += ["1.0.0.10.in-addr.arpa.", "0." * 32 + "ip6.arpa.", f"ns.dns.{zone}".strip(".") + ".", f"{zone}."]
    return [one for one in spelled if len(one) < 254]


@settings(max_examples=150)
@given(st.lists(OBJECTS, max_size=12), OPTIONS, ZONES, st.lists(LEFT, min_size=1, max_size=4))
def test_nothing_in_the_index_keeps_a_question_from_a_reply(
    objects: list[Object], options: str, zones: str, asked: list[list[str]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plugins.kubernetes.local_addresses", lambda: [bytes((10, 0, 0, 1)), bytes(16)])
        running = Running(options, zones)
    for each in objects:
        running.index.upsert(each)
    running.index.synced = True
    for left in asked:
        for question in _questions(left, zones):
            for kind in KINDS:
                octets = running.octets(query(question, kind, transport="tcp"))
                dns.message.from_wire(octets)
