"""The sample cluster that tests of the plugin ask about, as the API shows it, and the plugin in front of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from kubedns.cluster.objects import decode
from kubedns.plugin.contract import ServerBlock
from kubedns.wire.name import name as wire_name
from kubedns.wire.numbers import AA, Rcode, RRType
from kubedns.wire.records import address
from kubedns.wire.reply import Reply
from plugins import kubernetes
from tests.plugins.helpers import directive, query

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping

    from kubedns.cluster.index import Index
    from kubedns.cluster.objects import Kind, Object
    from kubedns.plugin.contract import Plugin
    from kubedns.wire.query import Query

Raw = dict[str, Any]
Made = tuple["Kind", Raw]
Result = TypeVar("Result")

ZONES = "cluster.local in-addr.arpa ip6.arpa"
SVC = ".svc.cluster.local."
VERIFIED = "pods verified"


def namespace(name: str) -> Made:
    return "Namespace", {"metadata": {"name": name}}


def service(place: str, *ips: str, ports: str = "", **spec: object) -> Made:
    """`place` is namespace/name, `ports` reads "http 80/TCP, 8080/TCP"; `spec` has other fields as the API has them."""
    fields: Raw = {"type": "ClusterIP", "ports": _ports(ports, "port"), **spec}
    if ips:
        fields |= {"clusterIP": ips[0], "clusterIPs": list(ips)}
    return "Service", {"metadata": _metadata(place), "spec": fields}


def external(place: str, target: str, ports: str = "") -> Made:
    return service(place, ports=ports, type="ExternalName", externalName=target)


def balanced(place: str, ip: str, ports: str, ingress: Raw, external_ips: tuple[str, ...] = ()) -> Made:
    kind, raw = service(place, ip, ports=ports, type="LoadBalancer", externalIPs=list(external_ips))
    return kind, raw | {"status": {"loadBalancer": {"ingress": [ingress]}}}


def endpoints(place: str, *held: Raw, ports: str = "", suffix: str = "x") -> Made:
    metadata = _metadata(f"{place}-{suffix}")
    metadata["labels"] = {"kubernetes.io/service-name": place.partition("/")[2]}
    return "EndpointSlice", {"metadata": metadata, "ports": _ports(ports, "port"), "endpoints": list(held)}


def at(ip: str, *, hostname: str = "", pod: str = "", zone: str = "", **conditions: bool) -> Raw:
    """Return one endpoint of a slice."""
    raw: Raw = {"addresses": [ip], "conditions": conditions or {"ready": True}}
    if hostname:
        raw["hostname"] = hostname
    if pod:
        raw["targetRef"] = {"kind": "Pod", "name": pod}
    return raw | ({"zone": zone} if zone else {})


def pod(place: str, ip: str, **metadata: str) -> Made:
    return "Pod", {"metadata": _metadata(place) | metadata, "status": {"podIP": ip, "phase": "Running"}}


def _metadata(place: str) -> Raw:
    inside, _, name = place.partition("/")
    return {"namespace": inside, "name": name}


def _ports(text: str, field: str) -> list[Raw]:
    found = []
    for one in filter(None, text.split(", ")):
        name, _, rest = one.rpartition(" ")
        number, _, protocol = rest.partition("/")
        found.append({"name": name, field: int(number), "protocol": protocol or "TCP"})
    return found


WEB_PORTS = "http 80/TCP, https 443/TCP"
DNS_PORTS = "dns 53/UDP, dns-tcp 53/TCP, metrics 9153/TCP"

SAMPLE: tuple[Made, ...] = (
    *(namespace(name) for name in ("default", "kube-system", "prod", "empty")),
    service("default/kubernetes", "10.96.0.1", ports="https 443/TCP"),
    service("default/web", "10.96.0.20", ports="http 80/TCP, metrics 9090/TCP"),
    service("default/dual", "10.96.0.30", "fd00:10:96::30", ports="http 80/TCP"),
    service("default/one", "10.96.0.40", ports="8080/TCP"),
    service("default/idle", "10.96.0.50", ports="http 80/TCP"),
    service("default/sig", "10.96.0.60", ports="sctp 9999/SCTP"),
    balanced("default/lb", "10.96.0.70", "https 443/TCP", {"ip": "203.0.113.10"}, ("203.0.113.11",)),
    balanced("default/lbname", "10.96.0.71", "https 443/TCP", {"hostname": "lb.example.net"}),
    service("default/noport", "10.96.0.80"),
    external("default/ext", "api.example.com"),
    external("default/extnx", "nope.example.com"),
    external("default/alias", "web.default.svc.cluster.local", ports="http 80/TCP"),
    external("default/dead", "nosuch.default.svc.cluster.local"),
    external("default/self", "self.default.svc.cluster.local"),
    external("default/extip", "192.0.2.77"),
    service("prod/db", "None", ports="pg 5432/TCP"),
    service("prod/raw", "None", ports=WEB_PORTS),
    service("prod/portless", "None"),
    service("prod/pending", "None", ports="http 80/TCP"),
    service("prod/states", "None", ports="http 80/TCP"),
    service("kube-system/kube-dns", "10.96.0.10", ports=DNS_PORTS),
    endpoints("default/kubernetes", at("192.168.5.1"), ports="https 6443"),
    endpoints(
        "default/web",
        at("10.244.1.20", pod="web-7c9f-abcde"),
        at("10.244.2.21", pod="web-7c9f-fghij"),
        ports="http 8080, metrics 9090",
    ),
    endpoints("default/dual", at("10.244.1.30"), ports="http 8080", suffix="v4"),
    endpoints("default/dual", at("fd00:10:244:1::30"), ports="http 8080", suffix="v6"),
    endpoints("default/idle", at("10.244.1.50", ready=False, serving=True, terminating=True), ports="http 80"),
    endpoints("default/noport", at("10.244.1.80")),
    endpoints(
        "prod/db",
        at("10.244.1.10", hostname="db-0", zone="z1"),
        at("10.244.2.11", hostname="db-1", zone="z2"),
        ports="pg 5432",
    ),
    endpoints(
        "prod/raw",
        at("10.244.1.12", pod="raw-5d8-k2x9q"),
        at("10.244.2.13", pod="raw-5d8-z7w4m"),
        ports="http 80, https 443",
        suffix="v4",
    ),
    endpoints(
        "prod/raw",
        at("fd00:10:244:1::12", pod="raw-5d8-k2x9q"),
        at("fd00:10:244:2::", pod="raw-x"),
        ports="http 80, https 443",
        suffix="v6",
    ),
    endpoints("prod/portless", at("10.244.1.14")),
    endpoints("prod/pending", at("10.244.1.15", ready=False), ports="http 80"),
    endpoints(
        "prod/states",
        at("10.244.3.1", ready=True),
        at("10.244.3.2", ready=False),
        {"addresses": ["10.244.3.3"], "conditions": {}},
        at("10.244.3.4", ready=False, serving=True, terminating=True),
        at("10.244.3.5", ready=True, serving=False),
        ports="http 80",
    ),
    endpoints("kube-system/kube-dns", at("10.244.0.2"), at("10.244.0.3"), ports="dns 53/UDP, dns-tcp 53, metrics 9153"),
    pod("prod/db-0", "10.244.1.10"),
    pod("prod/db-1", "10.244.2.11"),
    pod("default/web-7c9f-abcde", "10.244.1.20"),
    pod("prod/v6", "fd00:10:244:1::12"),
    pod("default/hostnet-a", "192.168.5.1"),
    pod("prod/hostnet-b", "192.168.5.1"),
    pod("prod/dying", "10.244.1.99", deletionTimestamp="2026-01-01T00:00:00Z"),
)


def of(made: Made) -> Object:
    """Return the object that the plugin's source would put into the index."""
    kind, raw = made
    found = decode(kind, {"metadata": {}, **raw})
    assert found is not None
    return found


def fill(index: Index, made: Iterable[Made] = SAMPLE) -> None:
    for kind, raw in made:
        found = decode(kind, raw)
        if found is not None:
            index.upsert(found)
    index.synced = True


class Running:
    """A plugin set up from Corefile text, and the index that it reads; another one may read the same."""

    def __init__(
        self, options: str = VERIFIED, zones: str = ZONES, block: ServerBlock | None = None, *, bound: bool = False
    ) -> None:
        self.block = block or ServerBlock((".",), manifests=Path(), bound=bound)
        self.text = f"kubernetes {zones} {{\n{options}\n}}"
        self.plugin: Plugin = kubernetes.setup(directive(self.text), self.block)
        (cluster,) = self.block.shared.kept.values()
        self.index: Index = cluster.index

    def again(self) -> Plugin:
        """Return the same plugin made afresh, over the same index."""
        return kubernetes.setup(directive(self.text), self.block)

    def octets(self, asked: Query, plugin: Plugin | None = None) -> bytes:
        asked.lookup = elsewhere
        return step((plugin or self.plugin).resolve(asked, next_plugin)).octets(asked)

    def ask(self, question: str, **how: Any) -> Shown:
        """Answer "NAME TYPE"; `~` stands for the sample's .svc.cluster.local."""
        name, rrtype = question.split()
        spelled = name.replace("~", SVC)
        return shown(self.octets(query(spelled, rrtype, **how)), spelled)


def sample(
    options: str = VERIFIED, zones: str = ZONES, made: Iterable[Made] = SAMPLE, *, bound: bool = False
) -> Running:
    running = Running(options, zones, bound=bound)
    fill(running.index, made)
    return running


def step(work: Coroutine[Any, Any, Result]) -> Result:
    """Run what never waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: Result = stop.value
        return result
    raise AssertionError("it waits")


async def next_plugin(_: Query) -> Reply:
    """Say NEXT to everything."""
    return Reply(rcode=Rcode.NOTIMP)


ELSEWHERE: Mapping[tuple[bytes, int], tuple[bytes, int]] = {
    (wire_name("api.example.com"), RRType.A): (bytes((198, 51, 100, 7)), 60)
}


async def elsewhere(asked: Query) -> Reply:
    """Answer as the whole server would for names of other zones."""
    found = ELSEWHERE.get((asked.name, asked.rrtype))
    return Reply([address(asked.name, *found)], flags=AA) if found else Reply(rcode=Rcode.NXDOMAIN, flags=AA)


class Shown(NamedTuple):
    """A reply in presentation form: `@` is the question's name as typed, `SOA ZONE` that zone's SOA; TTLs but for 5."""

    rcode: str
    answer: tuple[str, ...] = ()
    authority: tuple[str, ...] = ()
    additional: tuple[str, ...] = ()
    flags: str = "QR AA RD"


def reply(*answer: str, ar: tuple[str, ...] = (), **others: Any) -> Shown:
    return Shown("NOERROR", answer, (), ar, **others)


def negative(rcode: str, zone: str = "cluster.local.") -> Shown:
    return Shown(rcode, (), (f"SOA {zone}",))


NODATA, NXDOMAIN = negative("NOERROR"), negative("NXDOMAIN")
NEXT = Shown("NOTIMP", flags="QR RD")


def shown(octets: bytes, spelled: str) -> Shown:
    message = dns.message.from_wire(octets, one_rr_per_rrset=True)
    answer, authority, additional = (
        tuple(_record(rr.name.to_text(), rr.ttl, rr.rdtype, rr[0].to_text(), spelled) for rr in part)
        for part in (message.answer, message.authority, message.additional)
    )
    rcode = dns.rcode.to_text(message.rcode())
    return Shown(rcode, answer, authority, additional, dns.flags.to_text(message.flags))


def _record(owner: str, ttl: int, rrtype: int, rdata: str, spelled: str) -> str:
    kind = dns.rdatatype.to_text(dns.rdatatype.RdataType(rrtype))
    shown_ttl = "" if ttl == 5 else f"{ttl} "
    if kind == "SOA":
        mname, rname, serial, *times = rdata.split()
        counted = "" if abs(int(serial) - time.time()) < 600 else f" serial {serial}"
        usual = (mname, rname, times) == (f"ns.dns.{owner}", f"hostmaster.{owner}", ["7200", "1800", "86400", "5"])
        return f"{shown_ttl}SOA {owner}{counted}" + ("" if usual else f" {mname} {rname} {' '.join(times)}")
    return f"{'@' if owner == spelled else owner} {shown_ttl}{kind} {rdata}".replace(SVC, "~")
