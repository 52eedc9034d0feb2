"""Questions about the sample cluster, and the replies that CoreDNS gives to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kubedns.cluster.addresses import pack_address
from plugins import kubernetes
from tests.plugins.kubernetes.cluster import (
    NEXT,
    NODATA,
    NXDOMAIN,
    SAMPLE,
    Running,
    Shown,
    fill,
    negative,
    reply,
    sample,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _pytest.mark import ParameterSet

KUBE_DNS = "10.244.0.2"  # where the server runs: an endpoint of its own Service
WEB = "web.default~ A 10.96.0.20"
DB = ("@ A 10.244.1.10", "@ A 10.244.2.11")
DB_ADDRESSES = ("db-0.db.prod~ A 10.244.1.10", "db-1.db.prod~ A 10.244.2.11")
RAW_TARGETS = ("10-244-1-12", "10-244-2-13", "fd00-10-244-1--12", "fd00-10-244-2--0")
RAW_ADDRESSES = (
    "10-244-1-12.raw.prod~ A 10.244.1.12",
    "10-244-2-13.raw.prod~ A 10.244.2.13",
    "fd00-10-244-1--12.raw.prod~ AAAA fd00:10:244:1::12",
    "fd00-10-244-2--0.raw.prod~ AAAA fd00:10:244:2::",
)
RAW_PORTS = tuple(f"@ SRV 0 12 {port} {target}.raw.prod~" for target in RAW_TARGETS for port in (80, 443))
REVERSE = negative("NXDOMAIN", "in-addr.arpa.")
REVERSE_NODATA = negative("NOERROR", "in-addr.arpa.")
REFUSED = Shown("REFUSED", flags="QR RD")
REVERSE_DUAL = "0.3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa."
REVERSE_RAW = "2.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.4.4.2.0.0.1.0.0.0.0.d.f.ip6.arpa."

SERVICES = {
    "web.default~ A": reply("@ A 10.96.0.20"),
    "web.default~ AAAA": NODATA,
    "web.default~ SRV": reply("@ SRV 0 50 80 @", "@ SRV 0 50 9090 @", ar=("@ A 10.96.0.20",)),
    "_http._tcp.web.default~ SRV": reply("@ SRV 0 100 80 web.default~", ar=(WEB,)),
    "http.tcp.web.default~ SRV": reply("@ SRV 0 100 80 web.default~", ar=(WEB,)),
    "_http._tcp.web.default~ A": reply("@ A 10.96.0.20"),
    "_http._udp.web.default~ SRV": NXDOMAIN,
    "_nope._tcp.web.default~ A": NXDOMAIN,
    "_._tcp.web.default~ SRV": reply("@ SRV 0 50 80 web.default~", "@ SRV 0 50 9090 web.default~", ar=(WEB,)),
    "_tcp.web.default~ A": NXDOMAIN,
    "a.b.c.web.default~ A": NXDOMAIN,
    "10-244-1-20.web.default~ A": reply("@ A 10.244.1.20"),
    "10-244-1-20.web.default~ SRV": reply("@ SRV 0 50 8080 @", "@ SRV 0 50 9090 @", ar=("@ A 10.244.1.20",)),
    "dual.default~ A": reply("@ A 10.96.0.30"),
    "dual.default~ AAAA": reply("@ AAAA fd00:10:96::30"),
    "dual.default~ SRV": reply("@ SRV 0 50 80 @", ar=("@ A 10.96.0.30", "@ AAAA fd00:10:96::30")),
    "one.default~ SRV": reply("@ SRV 0 100 8080 @", ar=("@ A 10.96.0.40",)),
    "idle.default~ A": reply("@ A 10.96.0.50"),
    "noport.default~ A": reply("@ A 10.96.0.80"),
    "noport.default~ SRV": NODATA,
    "_sctp._sctp.sig.default~ SRV": reply("@ SRV 0 100 9999 sig.default~", ar=("sig.default~ A 10.96.0.60",)),
    "lb.default~ A": reply("@ A 10.96.0.70"),
    "lbname.default~ A": reply("@ A 10.96.0.71"),
    "*.default~ A": NXDOMAIN,
    "any.default~ A": NXDOMAIN,
    "web.*.svc.cluster.local. A": NXDOMAIN,
    "default~ A": NODATA,
    "empty~ A": NODATA,
    "default~ TXT": NXDOMAIN,
    "nons~ A": NXDOMAIN,
    "web.nons~ SOA": NODATA,
    "nosuch.default~ A": NXDOMAIN,
    "nosuch.default~ NS": NXDOMAIN,
    "nosuch.default~ SOA": NODATA,
    "nosuch.default~ AXFR": REFUSED,
    "web.default~ IXFR": REFUSED,
    **{f"web.default~ {kind}": NODATA for kind in ("CNAME", "TXT", "MX", "PTR", "NS", "SOA", "HTTPS", "ANY", "CAA")},
}
HEADLESS = {
    "db.prod~ A": reply(*DB),
    "db.prod~ AAAA": NODATA,
    "db.prod~ SRV": reply("@ SRV 0 50 5432 db-0.db.prod~", "@ SRV 0 50 5432 db-1.db.prod~", ar=DB_ADDRESSES),
    "_pg._tcp.db.prod~ A": reply(*DB),
    "db-0.db.prod~ A": reply("@ A 10.244.1.10"),
    "db-0.db.prod~ SRV": reply("@ SRV 0 100 5432 @", ar=("@ A 10.244.1.10",)),
    "10-244-1-10.db.prod~ A": NXDOMAIN,
    "nosuch.db.prod~ A": NXDOMAIN,
    "raw.prod~ AAAA": reply("@ AAAA fd00:10:244:1::12", "@ AAAA fd00:10:244:2::"),
    "_http._tcp.raw.prod~ SRV": reply(
        *(f"@ SRV 0 25 80 {target}.raw.prod~" for target in RAW_TARGETS), ar=RAW_ADDRESSES
    ),
    "raw.prod~ SRV": reply(*RAW_PORTS[:7], flags="QR AA TC RD"),
    "fd00-10-244-2--0.raw.prod~ A": NODATA,
    "fd00-10-244-2--0.raw.prod~ AAAA": reply("@ AAAA fd00:10:244:2::"),
    "raw-5d8-k2x9q.raw.prod~ A": NXDOMAIN,
    "portless.prod~ A": reply("@ A 10.244.1.14"),
    "portless.prod~ SRV": NODATA,
    "pending.prod~ A": NXDOMAIN,
    "states.prod~ A": reply("@ A 10.244.3.1", "@ A 10.244.3.3", "@ A 10.244.3.5"),
}
APEX = {
    **{f"cluster.local. {kind}": NODATA for kind in ("A", "AAAA", "SRV", "MX", "ANY", "CNAME", "PTR")},
    "cluster.local. SOA": reply("SOA cluster.local."),
    "cluster.local. TXT": NXDOMAIN,
    "cluster.local. NS": reply("@ NS kube-dns.kube-system~", ar=("kube-dns.kube-system~ A 10.96.0.10",)),
    "ns.dns.cluster.local. A": reply("@ A 10.96.0.10"),
    "ns.dns.cluster.local. AAAA": NODATA,
    "ns.dns.cluster.local. MX": NODATA,
    "ns.dns.cluster.local. PTR": NXDOMAIN,
    "ns.dns.cluster.local. TXT": NXDOMAIN,
    "CLUSTER.local. NS": negative("NOERROR", "CLUSTER.local."),
    "ns.dns.CLUSTER.local. A": negative("NXDOMAIN", "CLUSTER.local."),
    "NS.dns.cluster.local. A": reply("@ A 10.96.0.10"),
    "svc.cluster.local. A": NODATA,
    "pod.cluster.local. A": NODATA,
    "svc.cluster.local. TXT": NXDOMAIN,
    "foo.cluster.local. A": NXDOMAIN,
    "dns-version.cluster.local. TXT": reply('@ 28800 TXT "1.1.0"'),
    "dns-version.cluster.local. A": NXDOMAIN,
    "dns.cluster.local. A": NXDOMAIN,
    "Web.Default.SVC.Cluster.Local. A": reply("@ A 10.96.0.20"),
    "Web.Default.SVC.Cluster.Local. SRV": reply(
        "@ SRV 0 50 80 web.default.svc.Cluster.Local.",
        "@ SRV 0 50 9090 web.default.svc.Cluster.Local.",
        ar=("@ A 10.96.0.20",),
    ),
    "NoSuch.Default.svc.CLUSTER.local. A": negative("NXDOMAIN", "CLUSTER.local."),
    "cluster.locale. A": NEXT,
    "xcluster.local. A": NEXT,
    "example.com. A": NEXT,
}
PODS = {
    "10-244-1-10.prod.pod.cluster.local. A": reply("@ A 10.244.1.10"),
    "a.b.10-244-1-10.prod.pod.cluster.local. A": reply("@ A 10.244.1.10"),
    "a.b.c.10-244-1-10.prod.pod.cluster.local. A": NXDOMAIN,
    "10-244-1-10.prod.pod.cluster.local. AAAA": NODATA,
    "10-244-1-10.prod.pod.cluster.local. TXT": NODATA,
    "10-244-1-10.prod.pod.cluster.local. SRV": reply("@ SRV 0 100 0 @", ar=("@ A 10.244.1.10",)),
    "10-244-1-10.default.pod.cluster.local. A": NXDOMAIN,
    "10-244-1-99.prod.pod.cluster.local. A": NXDOMAIN,
    "fd00-10-244-1--12.prod.pod.cluster.local. AAAA": reply("@ AAAA fd00:10:244:1::12"),
    "fd00-10-244-1-0-0-0-12.prod.pod.cluster.local. AAAA": NXDOMAIN,
    "192-168-5-1.prod.pod.cluster.local. A": reply("@ A 192.168.5.1"),
    "192-168-5-1.default.pod.cluster.local. A": reply("@ A 192.168.5.1"),
    "default.pod.cluster.local. A": NODATA,
    "nons.pod.cluster.local. A": NXDOMAIN,
}
ADDRESSES = {
    "20.0.96.10.in-addr.arpa. PTR": reply("@ PTR web.default~"),
    "10.1.244.10.in-addr.arpa. PTR": reply("@ PTR db-0.db.prod~"),
    "12.1.244.10.in-addr.arpa. PTR": reply("@ PTR 10-244-1-12.raw.prod~"),
    "20.1.244.10.in-addr.arpa. PTR": reply("@ PTR 10-244-1-20.web.default~"),
    "1.5.168.192.in-addr.arpa. PTR": reply("@ PTR 192-168-5-1.kubernetes.default~"),
    "50.1.244.10.in-addr.arpa. PTR": REVERSE,
    "9.9.9.9.in-addr.arpa. PTR": REVERSE,
    "244.10.in-addr.arpa. PTR": REVERSE,
    "11.113.0.203.in-addr.arpa. PTR": REVERSE,
    "020.0.96.10.in-addr.arpa. PTR": REVERSE,
    "x.20.0.96.10.in-addr.arpa. PTR": REVERSE,
    "web.default.svc.in-addr.arpa. A": REVERSE,
    **{f"20.0.96.10.in-addr.arpa. {kind}": REVERSE for kind in ("A", "TXT", "ANY")},
    "20.0.96.10.in-addr.arpa. SOA": REVERSE_NODATA,
    "in-addr.arpa. PTR": REVERSE_NODATA,
    "20.0.96.10.IN-ADDR.arpa. PTR": reply("@ PTR web.default~"),
    f"{REVERSE_DUAL} PTR": reply("@ PTR dual.default~"),
    f"{REVERSE_DUAL.upper()} PTR": reply("@ PTR dual.default~"),
    f"{REVERSE_RAW} PTR": reply("@ PTR fd00-10-244-1--12.raw.prod~"),
    f"a.b.c.{REVERSE_RAW} PTR": reply("@ PTR fd00-10-244-1--12.raw.prod~"),
    f"a.b.c.d.{REVERSE_RAW} PTR": negative("NXDOMAIN", "ip6.arpa."),
    f"g{REVERSE_RAW[1:]} PTR": negative("NXDOMAIN", "ip6.arpa."),
}


def rows(*tables: dict[str, Shown]) -> Iterable[ParameterSet]:
    return [
        pytest.param(question, _itself(question, expected), id=question)
        for table in tables
        for question, expected in table.items()
    ]


def _itself(question: str, expected: Shown) -> Shown:
    """A target written as `@` is the question's own name."""
    name = question.split(maxsplit=1)[0]
    answer = tuple(f"{one[:-1]}{name}" if one.endswith(" @") else one for one in expected.answer)
    return expected._replace(answer=answer)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The server's own addresses, to be changed before a plugin is set up."""
    addresses = [KUBE_DNS]
    monkeypatch.setattr(
        kubernetes, "local_addresses", lambda: [packed for packed in map(pack_address, addresses) if packed]
    )
    return addresses


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    """One plugin for all questions of a table: what one leaves behind must not spoil another's reply."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubernetes, "local_addresses", lambda: [bytes((10, 244, 0, 2))])
        yield sample()


@pytest.mark.parametrize("again", ["first", "from the table"])
@pytest.mark.parametrize(("question", "expected"), rows(SERVICES, HEADLESS, APEX, PODS, ADDRESSES))
def test_reply(shared: Running, question: str, expected: Shown, again: str) -> None:
    if again == "from the table":
        shared.ask(question)
    assert shared.ask(question) == expected


def test_a_larger_datagram_holds_all() -> None:
    assert sample().ask("raw.prod~ SRV", edns=1232) == reply(*RAW_PORTS, ar=RAW_ADDRESSES)
    assert sample().ask("raw.prod~ SRV", transport="tcp") == reply(*RAW_PORTS, ar=RAW_ADDRESSES)


INSECURE = "pods insecure"
OPTIONS = {
    "pods disabled": ("", {"default.pod.cluster.local. A": NXDOMAIN, "pod.cluster.local. A": NODATA}),
    "pods insecure": (
        INSECURE,
        {
            "1-2-3-4.default.pod.cluster.local. A": reply("@ A 1.2.3.4"),
            **{
                f"{pod}.default.pod.cluster.local. A": NXDOMAIN
                for pod in ("1-2-3", "300-1-1-1", "1-2-3-4-", "foo", "01-2-3-4")
            },
            "1-2-3-4.nons.pod.cluster.local. A": NXDOMAIN,
            "default.pod.cluster.local. A": NODATA,
            "2001-db8--1.default.pod.cluster.local. AAAA": reply("@ AAAA 2001:db8::1"),
            "2001-db8--1.default.pod.cluster.local. A": NODATA,
            "--1.default.pod.cluster.local. AAAA": reply("@ AAAA ::1"),
        },
    ),
    "endpoint_pod_names": (
        "endpoint_pod_names",
        {
            "raw-5d8-k2x9q.raw.prod~ A": reply("@ A 10.244.1.12"),
            "10-244-1-12.raw.prod~ A": NXDOMAIN,
            "db-0.db.prod~ A": reply("@ A 10.244.1.10"),
            "12.1.244.10.in-addr.arpa. PTR": reply("@ PTR raw-5d8-k2x9q.raw.prod~"),
        },
    ),
    "ignore empty_service": (
        "ignore empty_service",
        {
            "idle.default~ A": NXDOMAIN,
            "web.default~ A": reply("@ A 10.96.0.20"),
            "ext.default~ CNAME": reply("@ CNAME api.example.com."),
        },
    ),
    "namespaces": (
        "namespaces default prod",
        {
            "kube-dns.kube-system~ A": NXDOMAIN,
            "kube-system~ A": NXDOMAIN,
            "10.0.96.10.in-addr.arpa. PTR": REVERSE,
            "web.default~ A": reply("@ A 10.96.0.20"),
        },
    ),
    "namespaces twice": (
        "namespaces default\nnamespaces prod",
        {"web.default~ A": reply("@ A 10.96.0.20"), "db.prod~ A": reply(*DB), "kube-system~ A": NXDOMAIN},
    ),
    "ttl 3600": (
        "ttl 3600",
        {
            "nosuch.prod~ A": Shown(
                "NXDOMAIN",
                (),
                ("300 SOA cluster.local. ns.dns.cluster.local. hostmaster.cluster.local. 7200 1800 86400 3600",),
            ),
            "web.default~ A": reply("@ 3600 A 10.96.0.20"),
        },
    ),
    "ttl 0": ("ttl 0", {"web.default~ A": reply("@ 0 A 10.96.0.20")}),
    "fallthrough in-addr.arpa": (
        "fallthrough in-addr.arpa",
        {"9.9.9.9.in-addr.arpa. PTR": NEXT, "nosuch.default~ A": NXDOMAIN, "in-addr.arpa. PTR": REVERSE_NODATA},
    ),
    "fallthrough": (
        "fallthrough",
        {
            "nosuch.default~ A": NEXT,
            "nosuch.default~ SOA": NODATA,
            "web.default~ AAAA": NODATA,
            "cluster.local. TXT": NEXT,
            "default~ TXT": NEXT,
            "dns-version.cluster.local. A": NEXT,
        },
    ),
    "fallthrough below the zone": (
        "fallthrough prod.svc.cluster.local",
        {"nosuch.prod~ A": NEXT, "nosuch.default~ A": NXDOMAIN},
    ),
}


@pytest.mark.parametrize(("options", "table"), OPTIONS.values(), ids=OPTIONS)
def test_option(options: str, table: dict[str, Shown], own: list[str]) -> None:
    assert own
    running = sample(options)
    assert {question: running.ask(question) for question in table} == table


def test_namespace_labels_hide_names_but_no_addresses(own: list[str]) -> None:
    """The watch leaves the namespace out: CoreDNS then still tells who has an address."""
    assert own
    running = sample(
        "namespace_labels team=web", made=[one for one in SAMPLE if one[1]["metadata"].get("name") != "kube-system"]
    )
    assert running.ask("kube-dns.kube-system~ A") == NXDOMAIN
    assert running.ask("10.0.96.10.in-addr.arpa. PTR") == reply("@ PTR kube-dns.kube-system~")


def test_noendpoints(own: list[str]) -> None:
    own[:] = ["10.99.0.2"]
    running = sample("noendpoints", made=[one for one in SAMPLE if one[0] != "EndpointSlice"])
    assert running.ask("db.prod~ A") == NXDOMAIN
    assert running.ask("10-244-1-20.web.default~ A") == NXDOMAIN
    assert running.ask("20.1.244.10.in-addr.arpa. PTR") == REVERSE
    assert running.ask("web.default~ A") == reply("@ A 10.96.0.20")
    assert running.ask("cluster.local. NS") == reply(
        "@ NS ns.dns.cluster.local.", ar=("ns.dns.cluster.local. A 10.99.0.2",)
    )


NAME_SERVERS = {
    "own addresses": (
        ["10.99.0.2", "fd00:10:99::2"],
        reply(
            "@ NS ns.dns.cluster.local.",
            ar=("ns.dns.cluster.local. A 10.99.0.2", "ns.dns.cluster.local. AAAA fd00:10:99::2"),
        ),
        ("10.99.0.2",),
    ),
    "a Service in front": (
        ["10.99.0.2", KUBE_DNS],
        reply("@ NS kube-dns.kube-system~", ar=("kube-dns.kube-system~ A 10.96.0.10",)),
        ("10.96.0.10",),
    ),
    "a headless Service in front": (
        ["10.244.1.10"],
        reply("@ NS db-0.db.prod~", "@ NS db-1.db.prod~", ar=DB_ADDRESSES),
        ("10.244.1.10", "10.244.2.11"),
    ),
    "no address": ([], NODATA, ()),
}


@pytest.mark.parametrize(("addresses", "expected", "ns_dns"), NAME_SERVERS.values(), ids=NAME_SERVERS)
def test_name_servers(own: list[str], addresses: list[str], expected: Shown, ns_dns: tuple[str, ...]) -> None:
    own[:] = addresses
    running = sample()
    assert running.ask("cluster.local. NS") == expected
    found = reply(*(f"@ A {ip}" for ip in ns_dns)) if ns_dns else NODATA
    assert running.ask("ns.dns.cluster.local. A") == found


def test_with_bind_there_are_no_name_servers(own: list[str]) -> None:
    own[:] = ["10.99.0.2"]
    assert sample(bound=True).ask("cluster.local. NS") == NODATA


UNREAD = {
    **dict.fromkeys(
        ("web.default~ A", "default~ A", "foo.cluster.local. A", "cluster.local. TXT"),
        Shown("SERVFAIL", (), ("SOA cluster.local. serial 0",)),
    ),
    **dict.fromkeys(
        ("svc.cluster.local. A", "cluster.local. A"), Shown("NOERROR", (), ("SOA cluster.local. serial 0",))
    ),
    "cluster.local. SOA": reply("SOA cluster.local. serial 0"),
    "cluster.local. NS": reply("@ NS ns.dns.cluster.local.", ar=("ns.dns.cluster.local. A 10.244.0.2",)),
    "nosuch.default~ SOA": Shown("NOERROR", (), ("SOA cluster.local. serial 0",)),
}


def test_before_the_cluster_is_read(own: list[str]) -> None:
    assert own
    running = Running()
    assert {question: running.ask(question) for question in UNREAD} == UNREAD
    assert Running("fallthrough").ask("web.default~ A") == NEXT
    fill(running.index)
    assert running.ask("web.default~ A") == reply("@ A 10.96.0.20")
    assert running.ask("nosuch.default~ A") == NXDOMAIN


def test_what_is_there_before_all_is_read_is_answered() -> None:
    running = sample()
    running.index.synced = False
    assert running.ask("web.default~ A") == reply("@ A 10.96.0.20")
    assert running.ask("nosuch.default~ A") == negative("SERVFAIL")
    running.index.mark_synced()
    assert running.ask("nosuch.default~ A") == NXDOMAIN
