"""A second reading of the Kubernetes DNS specification: objects and a question in, the whole reply out, slowly.

It shares no code with the server. Names are lower-case text with a final dot; records are as in replies.jsonl.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.golden.compare import OWN_TEXTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Record = list[Any]
MOST_ALIASES = 11
NO_PORT = -1
FAMILIES = {"A": 4, "AAAA": 6}
ENDED = {"Succeeded", "Failed", "Unknown"}


@dataclass(frozen=True)
class Options:
    """What the Corefile says; the first zone is the primary one, `namespaces` empty means all."""

    ttl: int
    pods: str = "disabled"
    namespaces: tuple[str, ...] = ()
    endpoint_pod_names: bool = False
    ignore_empty_service: bool = False
    zones: tuple[str, ...] = ("cluster.local.", "in-addr.arpa.", "ip6.arpa.")


class Endpoint(NamedTuple):
    label: str
    address: str


class Candidate(NamedTuple):
    """One address and port that a name stands for; `target` is what an SRV record points at."""

    target: str
    address: str
    port: int = 0


@dataclass(frozen=True)
class External:
    target: str


@dataclass
class Found:
    """A reply before its SOA: no answer means that the zone's SOA goes into authority."""

    rcode: str = "NOERROR"
    answer: Sequence[Record] = ()
    additional: Sequence[Record] = ()


NODATA, NXDOMAIN = Found(), Found("NXDOMAIN")


class Model:
    """A cluster and the options that it is served with."""

    def __init__(self, objects: Iterable[dict[str, Any]], options: Options) -> None:
        self.options = options
        self.of_kind: dict[str, list[dict[str, Any]]] = {}
        for one in objects:
            self.of_kind.setdefault(one["kind"], []).append(one)

    def reply(self, asked: str, rrtype: str) -> dict[str, Any]:
        """Return the reply to a question with RD set and without an OPT record."""
        name = asked.lower()
        zones = [zone for zone in self.options.zones if name == zone or name.endswith(f".{zone}")]
        row: dict[str, Any] = {"edns": None, "question": [[asked, rrtype, "IN"]], "authority": []}
        if not zones:  # there is no plugin behind kubernetes
            return row | {"rcode": "SERVFAIL", "flags": "QR RD", "answer": [], "additional": []}
        zone = max(zones, key=len)
        found = self.find(name, zone, rrtype)
        row["authority"] = [] if found.answer else [self.soa(zone)]
        sections = {"answer": list(found.answer), "additional": list(found.additional)}
        return row | sections | {"rcode": found.rcode, "flags": "QR AA RD"}

    def find(self, name: str, zone: str, rrtype: str) -> Found:
        labels = [label for label in name.removesuffix(zone).split(".") if label]
        if not labels:
            return self.apex(zone, rrtype)
        if rrtype == "SOA":
            return NODATA
        if labels == ["dns-version"] and rrtype == "TXT":
            return Found(answer=[[name, 28800, "TXT", '"1.1.0"']])
        if labels == ["ns", "dns"]:
            addresses = [address for _, address in self.name_servers(zone)]
            return NXDOMAIN if rrtype in {"TXT", "PTR"} else Found(answer=self.addresses(name, addresses, rrtype))
        if zone.endswith(".arpa."):
            return self.reverse(name, rrtype)
        if labels in (["svc"], ["pod"]):
            return NXDOMAIN if rrtype == "TXT" else NODATA
        if not self.exposes(*labels[-2:]):
            return NXDOMAIN
        if len(labels) == 2:
            return NXDOMAIN if rrtype == "TXT" else NODATA
        data = self.data(labels, zone)
        return NXDOMAIN if data is None else self.answer(name, zone, rrtype, data)

    def answer(self, name: str, zone: str, rrtype: str, data: External | list[Candidate]) -> Found:
        """A name that exists: its records of a type, or NODATA."""
        ttl = self.options.ttl
        if isinstance(data, External):
            if rrtype == "CNAME":
                return Found(answer=[[name, ttl, "CNAME", data.target]])
            return Found(answer=self.chase(name, data.target, zone, rrtype, 1) if rrtype in FAMILIES else ())
        if rrtype != "SRV":
            return Found(answer=self.addresses(name, [one.address for one in data], rrtype))
        weight = max(1, 100 // len(data))
        ported = [one for one in data if one.port != NO_PORT]
        services = dict.fromkeys((one.target, one.port) for one in ported)
        hosts = dict.fromkeys((one.target, one.address) for one in ported)
        return Found(
            answer=[[name, ttl, "SRV", f"0 {weight} {port} {target}"] for target, port in services],
            additional=[self.address(target, address) for target, address in hosts],
        )

    def chase(self, owner: str, target: str, zone: str, rrtype: str, length: int) -> list[Record]:
        """Return the alias and what it leads to; nothing where that ends inside the zone without an address."""
        alias = [owner, self.options.ttl, "CNAME", target]
        if length > MOST_ALIASES or target == owner or target.endswith(f".{owner}"):
            return []
        if not target.endswith(f".{zone}"):
            return [alias]  # nobody here answers for other zones
        labels = target.removesuffix(f".{zone}").split(".")
        data = self.data(labels, zone) if len(labels) > 2 and self.exposes(*labels[-2:]) else None
        if data is None:
            return []
        if isinstance(data, External):
            rest = self.chase(target, data.target, zone, rrtype, length + 1)
        else:
            rest = self.addresses(target, [one.address for one in data], rrtype)
        return [alias, *rest] if rest else []

    def data(self, labels: list[str], zone: str) -> External | list[Candidate] | None:
        """Return what stands at a name of a pod or a Service: None where there is no such name."""
        *left, owner, namespace, kind = labels
        if len(left) > 2:
            return None
        if kind == "pod":
            return self.pod(owner, namespace, zone)
        spec = self.spec(namespace, owner)
        if spec is None:
            return None
        endpoint = left[0] if len(left) == 1 else ""
        port, protocol = (label.removeprefix("_") for label in left) if len(left) == 2 else ("", "")
        slices = self.slices(namespace, owner)
        if spec.get("type") == "ExternalName":
            target = spec["externalName"].lower().rstrip(".") + "."
            return None if left or _is_address(target.rstrip(".")) else External(target)
        below = f"{owner}.{namespace}.svc.{zone}"
        ips = spec.get("clusterIPs") or [spec["clusterIP"]]
        if self.options.ignore_empty_service and ips[0] != "None" and not any(map(list, map(self.endpoints, slices))):
            return None
        if ips[0] != "None" and not endpoint:
            return [
                Candidate(below, ip, each["port"])
                for each in spec.get("ports") or [{"port": NO_PORT}]
                for ip in ips
                if _matches(each, port, protocol)
            ] or None
        return [
            Candidate(f"{one.label}.{below}", one.address, NO_PORT if each.get("port") is None else each["port"])
            for piece in slices
            for one in self.endpoints(piece)
            for each in piece.get("ports") or [{}]
            if _matches(each, port, protocol) and endpoint in {"", one.label}
        ] or None

    def pod(self, label: str, namespace: str, zone: str) -> list[Candidate] | None:
        address = label.replace("-", "." if label.count("-") == 3 and "--" not in label else ":")
        running = [
            one["status"].get("podIP")
            for one in self.of_kind["Pod"]
            if one["metadata"]["namespace"] == namespace
            and "deletionTimestamp" not in one["metadata"]
            and one["status"].get("phase") not in ENDED
        ]
        if not _is_address(address) or (self.options.pods == "verified" and address not in running):
            return None
        return [Candidate(f"{label}.{namespace}.pod.{zone}", address)]

    def reverse(self, name: str, rrtype: str) -> Found:
        address = _reversed(name)
        if address is None or rrtype != "PTR":
            return NXDOMAIN
        below = f"svc.{self.options.zones[0]}"
        for one in self.of_kind["Service"]:
            namespace, service = _name(one)
            ips = one["spec"].get("clusterIPs") or [one["spec"].get("clusterIP")]
            if address in ips and (not self.options.namespaces or self.exposes(namespace)):
                return Found(answer=[[name, self.options.ttl, "PTR", f"{service}.{namespace}.{below}"]])
        targets = {
            f"{endpoint.label}.{service}.{namespace}.{below}"
            for namespace, service, piece in self.labelled()
            if not self.options.namespaces or self.exposes(namespace)
            for endpoint in self.endpoints(piece)
            if endpoint.address == address
        }
        return Found(answer=[[name, self.options.ttl, "PTR", target] for target in targets]) if targets else NXDOMAIN

    def apex(self, zone: str, rrtype: str) -> Found:
        if rrtype == "SOA":
            return Found(answer=[self.soa(zone)])
        if rrtype != "NS":
            return NXDOMAIN if rrtype == "TXT" else NODATA
        servers = self.name_servers(zone)
        answer = [[zone, self.options.ttl, "NS", target] for target in dict.fromkeys(target for target, _ in servers)]
        return Found(answer=answer, additional=[self.address(*server) for server in servers])

    def name_servers(self, zone: str) -> list[tuple[str, str]]:
        """Return names and addresses of the Services that the server is an endpoint of, else of itself."""
        found: list[tuple[str, str]] = []
        for namespace, service, piece in self.labelled():
            if any(one.address in OWN_TEXTS for one in self.endpoints(piece)):
                spec, below = self.spec(namespace, service), f"{service}.{namespace}.svc.{zone}"
                ips = spec["clusterIPs"] if spec else []
                if ips == ["None"]:
                    found += [(f"{one.label}.{below}", one.address) for one in self.endpoints(piece)]
                else:
                    found += [(below, ip) for ip in ips]
        return list(dict.fromkeys(found)) or [(f"ns.dns.{zone}", own) for own in OWN_TEXTS]

    def spec(self, namespace: str, service: str) -> dict[str, Any] | None:
        return next((one["spec"] for one in self.of_kind["Service"] if _name(one) == (namespace, service)), None)

    def labelled(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield namespace, Service and slice; what names no Service is nobody's."""
        for piece in self.of_kind["EndpointSlice"]:
            service = (piece["metadata"].get("labels") or {}).get("kubernetes.io/service-name")
            if service:
                yield piece["metadata"]["namespace"], service, piece

    def slices(self, namespace: str, service: str) -> list[dict[str, Any]]:
        return [piece for *owner, piece in self.labelled() if owner == [namespace, service]]

    def endpoints(self, piece: dict[str, Any]) -> Iterator[Endpoint]:
        """Yield the endpoints that are ready or do not say, one for each address."""
        for one in piece.get("endpoints") or ():
            if (one.get("conditions") or {}).get("ready") in {True, None}:
                pod = (one.get("targetRef") or {}).get("name", "") if self.options.endpoint_pod_names else ""
                for address in one["addresses"]:
                    dashed = address.replace(".", "-").replace(":", "-")
                    label = one.get("hostname") or (pod if len(pod) < 64 else "") or dashed
                    yield Endpoint(f"{label}0" if label == dashed and dashed.endswith("-") else label, address)

    def exposes(self, namespace: str, kind: str = "svc") -> bool:
        chosen = self.options.namespaces
        known = any(one["metadata"]["name"] == namespace for one in self.of_kind["Namespace"])
        served = kind == "svc" or (kind == "pod" and self.options.pods != "disabled")
        return served and known and (not chosen or namespace in chosen)

    def addresses(self, owner: str, addresses: Sequence[str], rrtype: str) -> list[Record]:
        every = [self.address(owner, address) for address in dict.fromkeys(addresses)]
        return [record for record in every if record[2] == rrtype]

    def address(self, owner: str, address: str) -> Record:
        """An IPv4 address mapped into IPv6 is one of IPv4 (RFC 4291 §2.5.5.2)."""
        ip = ipaddress.ip_address(address)
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return [owner, self.options.ttl, "A" if ip.version == 4 else "AAAA", str(ip)]

    def soa(self, zone: str) -> Record:
        ttl = self.options.ttl
        return [zone, min(ttl, 300), "SOA", f"ns.dns.{zone} hostmaster.{zone} SERIAL 7200 1800 86400 {ttl}"]


def _name(one: dict[str, Any]) -> tuple[str, str]:
    return one["metadata"]["namespace"], one["metadata"]["name"]


def _matches(port: dict[str, Any], name: str, protocol: str) -> bool:
    return name in {"", (port.get("name") or "").lower()} and protocol in {"", (port.get("protocol") or "").lower()}


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _reversed(name: str) -> str | None:
    """Return the address of a whole reverse name (RFC 1035 §3.5, RFC 3596 §2.5)."""
    labels = name.split(".")[:-3][::-1]
    text = ".".join(labels) if len(labels) == 4 else ":".join("".join(labels)[at : at + 4] for at in range(0, 32, 4))
    return str(ipaddress.ip_address(text)) if _is_address(text) else None
