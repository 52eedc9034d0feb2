"""One zone of the cluster: a name and a type in, a reply out, by the index alone (Kubernetes DNS specification)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kubedns.cluster.addresses import pack_address
from kubedns.plugin.reverse import is_reverse, reverse_address
from kubedns.wire.name import from_labels, labels
from kubedns.wire.numbers import AA, Rcode, RRType
from kubedns.wire.records import RR, address, cname, ns, ptr, soa, txt
from kubedns.wire.reply import Reply
from kubedns.wire.validity import NEVER, Validity
from plugins.kubernetes import names, records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubedns.cluster.index import Index
    from kubedns.cluster.objects import Service
    from kubedns.wire.validity import Token
    from plugins.kubernetes.names import ServiceName
    from plugins.kubernetes.options import Options
    from plugins.kubernetes.records import Candidate

SCHEMA_VERSION = "1.1.0"
VERSION_TTL = 28_800
LONGEST_SOA_TTL = 300
SOA_TIMES = (7200, 1800, 86_400)  # refresh, retry, expire, in seconds
EXTERNAL_NAME = "ExternalName"
SVC, POD = b"svc", b"pod"
DNS = [b"dns"]  # of the name ns.dns, which is the server's own
ADDRESS_SIZE = {RRType.A: 4, RRType.AAAA: 16}


class Aliases(NamedTuple):
    """Names that must be looked up to answer: CNAME targets as stored, and the records found beside them."""

    targets: tuple[bytes, ...]
    beside: tuple[RR, ...]
    validity: Validity


class Absence:
    """A token, stale while a Service or an endpoint has an address."""

    __slots__ = ("_address", "_index")

    def __init__(self, index: Index, address: bytes) -> None:
        self._index = index
        self._address = address

    @property
    def stale(self) -> bool:
        return self._index.has_address(self._address)


Found = Reply | Aliases | Rcode  # an RCODE is a negative reply: NOERROR for NODATA, or NXDOMAIN


class Zone:
    """Answers for the names of one zone; `origin` is its name, lower-case wire octets.

    `own` are the server's own addresses, packed: they tell which Services stand in front of it.
    """

    def __init__(self, origin: bytes, options: Options, index: Index, own: Sequence[bytes]) -> None:
        """Reads the index only when asked."""
        self.origin = origin
        self._depth = len(labels(origin))
        self._options = options
        self._index = index
        self._own = own
        self._token: Token | None = None
        self._negative: dict[Rcode, Reply] = {}

    def find(self, wire: bytes, whole: list[bytes], rrtype: int) -> Found:
        """Return the reply for a name of this zone, given as wire octets and as labels, both lower-case."""
        left = whole[: len(whole) - self._depth]
        if not left:
            return self._apex(rrtype)
        if rrtype == RRType.SOA:
            return Rcode.NOERROR
        if rrtype == RRType.PTR and (packed := reverse_address(whole)) is not None:
            return self._reverse(wire, packed)
        if left == [b"dns-version"] and rrtype == RRType.TXT:
            return Reply([txt(wire, SCHEMA_VERSION, VERSION_TTL)], flags=AA, validity=Validity())
        if left == [b"ns", b"dns"] and rrtype not in {RRType.TXT, RRType.PTR}:
            return self._default_name_server(wire, rrtype)
        return self._below(wire, whole, left, rrtype)

    def negative(self, rcode: Rcode) -> Reply:
        """Return NODATA (NOERROR), NXDOMAIN or SERVFAIL with the zone's SOA as it is now (RFC 2308 §2)."""
        if self._token is None or self._token.stale:
            self._token = self._index.token()
            self._negative.clear()
        reply = self._negative.get(rcode)
        if reply is None:
            validity = self._while_unchanged()
            if rcode == Rcode.SERVFAIL:  # for the one query alone, whatever keeps its octets
                validity = Validity(NEVER.until, validity.tokens)
            reply = Reply((), [self._soa()], rcode=rcode, flags=AA, validity=validity, suffix=self.origin)
            self._negative[rcode] = reply
        return reply

    def denies_siblings(self, whole: Sequence[bytes]) -> bool:
        """Tell of a name that does not exist, as labels, whether no other name right below its parent can."""
        left = whole[1 : len(whole) - self._depth]  # the parent's
        if not left or left == DNS or is_reverse(whole):
            return False
        if left[-1] not in {SVC, POD}:
            return True
        if len(left) == 1:
            return False
        namespace = left[-2].decode("latin-1")
        if not self._exposes(namespace):
            return True
        if left[-1] == POD:
            return self._options.pods == "disabled"
        if len(left) == 2:  # noqa: PLR2004 - a namespace, and svc
            return False
        return len(left) > names.MOST_LABELS or self._index.service(namespace, left[-3].decode("latin-1")) is None

    def absence(self, whole: list[bytes]) -> Validity:
        """Return for how long a name that there is not is none of ours; that of an address, until something has it."""
        address = reverse_address(whole)
        return self._while_unchanged() if address is None else Validity(tokens=(Absence(self._index, address),))

    def _below(self, wire: bytes, whole: list[bytes], left: list[bytes], rrtype: int) -> Found:
        """Names of Services and pods, and what stands above them."""
        kind = left[-1]
        if kind not in {SVC, POD} or is_reverse(whole):
            return Rcode.NXDOMAIN
        if len(left) == 1:
            return _empty_non_terminal(rrtype)
        namespace = left[-2].decode("latin-1")
        if not self._exposes(namespace):
            return Rcode.NXDOMAIN
        if kind == POD and self._options.pods == "disabled":
            return Rcode.NXDOMAIN
        if len(left) == 2:  # noqa: PLR2004 - a namespace, and svc or pod
            return _empty_non_terminal(rrtype)
        asked = names.service_name(left[:-1])
        if asked is None:
            return Rcode.NXDOMAIN
        if kind == POD:
            return self._pod(wire, left, namespace, rrtype)
        return self._service(wire, left, asked, rrtype)

    # The apex, and the server's own name.

    def _apex(self, rrtype: int) -> Found:
        if rrtype == RRType.SOA:
            return Reply([self._soa()], flags=AA, validity=self._while_unchanged())
        if rrtype == RRType.TXT:
            return Rcode.NXDOMAIN
        if rrtype != RRType.NS:
            return Rcode.NOERROR
        servers = self._name_servers()
        targets = dict.fromkeys(target for target, _ in servers)
        if not targets:
            return Rcode.NOERROR
        ttl = self._options.ttl
        answer = [ns(self.origin, target, ttl) for target in targets]
        additional = [address(target, packed, ttl) for target, packed in servers]
        return Reply(answer, (), additional, flags=AA, validity=self._while_unchanged())

    def _default_name_server(self, wire: bytes, rrtype: int) -> Found:
        size = ADDRESS_SIZE.get(rrtype, 0)  # type: ignore[call-overload]
        hosts = dict.fromkeys(packed for _, packed in self._name_servers())
        if not hosts:
            return Rcode.NOERROR
        answer = [address(wire, packed, self._options.ttl) for packed in hosts if len(packed) == size]
        return Reply(answer, flags=AA, validity=self._while_unchanged()) if answer else Rcode.NOERROR

    def _name_servers(self) -> list[tuple[bytes, bytes]]:
        """Return (name, packed address) of the Services that the server itself is an endpoint of, else of itself."""
        servers = []
        in_front = False
        for own in self._own:
            for piece in dict.fromkeys(piece for piece, _ in self._index.endpoints_by_ip(own)):
                in_front = True
                service = self._index.service(piece.namespace, piece.service)
                if service is None:
                    continue
                below = names.below(self.origin, service.name, service.namespace, "svc")
                if below is None:
                    continue
                if service.headless:
                    candidates = records.endpoint_candidates(
                        [piece], names.ANY_PORT, below, pod_names=self._options.endpoint_pod_names
                    )
                    listed = [(one.target, one.host) for one in candidates or () if not one.is_name]
                    servers += [(target, host) for target, host in dict.fromkeys(listed) if target is not None]
                else:
                    packed = [pack_address(ip) for ip in service.cluster_ips]
                    servers += [(below, octets) for octets in packed if octets is not None]
        if not in_front:
            servers = [(b"\x02ns\x03dns" + self.origin, own) for own in self._own]
        return servers

    # Services, endpoints, pods, addresses.

    def _service(self, wire: bytes, left: list[bytes], asked: ServiceName, rrtype: int) -> Found:
        service = self._index.service(asked.namespace, asked.service)
        if service is None:
            return Rcode.NXDOMAIN
        target = from_labels(left[-3:])[:-1] + self.origin
        validity = Validity(tokens=(self._index.service_token(asked.namespace, asked.service),))
        if service.type == EXTERNAL_NAME:
            return self._external(wire, service, asked, rrtype, validity)
        slices = self._index.slices(asked.namespace, asked.service)
        if self._options.ignore_empty_service and not service.headless and not any(one.endpoints for one in slices):
            return Rcode.NXDOMAIN
        if service.headless or asked.endpoint:
            pod_names = self._options.endpoint_pod_names
            candidates = records.endpoint_candidates(slices, asked, target, pod_names=pod_names)
        else:
            candidates = records.service_candidates(service, asked, target)
        return Rcode.NXDOMAIN if candidates is None else self._reply(wire, candidates, rrtype, validity)

    def _reply(self, wire: bytes, candidates: Sequence[Candidate], rrtype: int, validity: Validity) -> Found:
        """Return what candidates have to say to a type; a name that has candidates exists."""
        ttl = self._options.ttl
        size = ADDRESS_SIZE.get(rrtype)  # type: ignore[call-overload]
        if size is not None:
            answer = records.address_records(wire, candidates, size, ttl)
            aliases = dict.fromkeys(one.host for one in candidates if one.is_name)
            if aliases:
                return Aliases(tuple(aliases), tuple(answer), validity)
            return Reply(answer, flags=AA, validity=validity) if answer else Rcode.NOERROR
        if rrtype == RRType.SRV:
            answer, additional = records.service_records(wire, candidates, ttl)
            if answer:
                return Reply(answer, (), additional, flags=AA, validity=validity, zone=self.origin)
        if rrtype == RRType.CNAME and candidates[:1] and candidates[0].is_name:
            return Reply([cname(wire, candidates[0].host, ttl)], flags=AA, validity=validity)
        return Rcode.NOERROR

    def _external(self, wire: bytes, service: Service, asked: ServiceName, rrtype: int, validity: Validity) -> Found:
        """An ExternalName has its bare name alone, and no address: the API lets one in, DNS has no record for it."""
        target = names.host_name(service.external_name)
        if not asked.bare or target is None:
            return Rcode.NXDOMAIN
        if pack_address(service.external_name) is not None:
            return Rcode.NXDOMAIN
        if rrtype == RRType.CNAME:
            return Reply([cname(wire, target, self._options.ttl)], flags=AA, validity=validity)
        return Aliases((target,), (), validity) if rrtype in ADDRESS_SIZE else Rcode.NOERROR

    def _pod(self, wire: bytes, left: list[bytes], namespace: str, rrtype: int) -> Found:
        text_address = names.pod_address(left[-3])
        packed = pack_address(text_address)
        if packed is None:
            return Rcode.NXDOMAIN
        if self._options.pods == "verified" and self._index.pod(namespace, text_address) is None:
            return Rcode.NXDOMAIN
        target = from_labels(left[-3:])[:-1] + self.origin
        return self._reply(wire, [records.Candidate(target, packed, False, 0)], rrtype, self._while_unchanged())

    def _reverse(self, wire: bytes, packed: bytes) -> Found:
        """Service before endpoints: an address of both is the Service's."""
        ttl, primary = self._options.ttl, self._options.primary
        validity = Validity(tokens=(self._index.address_token(packed),))
        for service in self._index.services_by_ip(packed):
            if self._shows(service.namespace):
                target = names.below(primary, service.name, service.namespace, "svc")
                if target is not None:
                    return Reply([ptr(wire, target, ttl)], flags=AA, validity=validity)
        targets: dict[bytes, None] = {}
        for piece, endpoint in self._index.endpoints_by_ip(packed):
            if self._shows(piece.namespace):
                label = records.endpoint_label(endpoint, pod_names=self._options.endpoint_pod_names)
                target = names.below(primary, label, piece.service, piece.namespace, "svc")
                if target is not None:
                    targets[target] = None
        if not targets:
            return Rcode.NXDOMAIN
        return Reply([ptr(wire, target, ttl) for target in targets], flags=AA, validity=validity)

    # What names are measured by.

    def _exposes(self, namespace: str) -> bool:
        chosen = self._options.namespaces
        return (not chosen or namespace in chosen) and self._index.has_namespace(namespace)

    def _shows(self, namespace: str) -> bool:
        """Tell whether an address may be named: as in CoreDNS, `namespaces` alone hides one."""
        return not self._options.namespaces or self._exposes(namespace)

    def _while_unchanged(self) -> Validity:
        return Validity(tokens=(self._index.token(),))

    def _soa(self) -> RR:
        ttl = self._options.ttl
        return soa(
            self.origin,
            b"\x02ns\x03dns" + self.origin,
            b"\x0ahostmaster" + self.origin,
            min(ttl, LONGEST_SOA_TTL),
            serial=self._index.serial,
            times=(*SOA_TIMES, ttl),
        )


def _empty_non_terminal(rrtype: int) -> Rcode:
    """A name with names below it but no data; CoreDNS says NXDOMAIN to TXT there."""
    return Rcode.NXDOMAIN if rrtype == RRType.TXT else Rcode.NOERROR
