"""One zone of the cluster: a name and a type in, a reply out, by the index alone (Kubernetes DNS specification)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kubedns.cluster.addresses import IPV4_SIZE, IPV6_SIZE, pack_address
from kubedns.plugin.reverse import is_reverse, reverse_address
from kubedns.wire.name import from_labels, is_within, labels
from kubedns.wire.numbers import AA, Rcode, RRType
from kubedns.wire.records import RR, address, cname, ns, ptr, soa, txt
from kubedns.wire.reply import Reply
from kubedns.wire.validity import NEVER, Validity
from plugins.kubernetes import names, records
from plugins.kubernetes.siblings import Neighbours, Pods

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kubedns.cluster.index import Index
    from kubedns.cluster.objects import Service
    from kubedns.wire.validity import Token
    from plugins.kubernetes.names import ServiceName
    from plugins.kubernetes.options import Options
    from plugins.kubernetes.records import Candidate

SCHEMA_VERSION = "1.1.0"
VERSION_TTL = 28_800
LONGEST_SOA_TTL = 300
MOST_NEGATIVE = 1024  # replies; they share their octets
SOA_TIMES = (7200, 1800, 86_400)  # refresh, retry, expire, in seconds
EXTERNAL_NAME = "ExternalName"
SVC, POD = b"svc", b"pod"
ARPA = b"\4arpa\0"
DNS = [b"dns"]  # of the name ns.dns, which is the server's own
ADDRESS_SIZE: Mapping[int, int] = {RRType.A: IPV4_SIZE, RRType.AAAA: IPV6_SIZE}


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


class Negative(NamedTuple):
    """NODATA (NOERROR) or NXDOMAIN, and what has to change for there to be an answer; without tokens, nothing can."""

    rcode: Rcode
    tokens: tuple[Token, ...] = ()


Found = Reply | Aliases | Negative
NODATA, NXDOMAIN = Negative(Rcode.NOERROR), Negative(Rcode.NXDOMAIN)


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
        inner = any(is_within(other, origin) for other in options.zones if other != origin)
        # Names are written whole there, which those with an end in common with the question's would not be.
        self._speaks_for_others = not inner and not options.primary.endswith(ARPA)
        self._dated: Token | None = None  # by which the SOA of what follows is as it should be
        self._bare: dict[Rcode, Reply] = {}
        self._negative: dict[Negative, Reply] = {}

    def find(self, wire: bytes, whole: list[bytes], rrtype: int) -> Found:
        """Return the reply for a name of this zone, given as wire octets and as labels, both lower-case."""
        left = whole[: len(whole) - self._depth]
        if not left:
            return self._apex(rrtype)
        if rrtype == RRType.SOA:
            return NODATA
        if rrtype == RRType.PTR and (packed := reverse_address(whole)) is not None:
            return self._reverse(wire, packed)
        if left == [b"dns-version"] and rrtype == RRType.TXT:
            return Reply([txt(wire, SCHEMA_VERSION, VERSION_TTL)], flags=AA, validity=Validity())
        if left == [b"ns", b"dns"] and rrtype not in {RRType.TXT, RRType.PTR}:
            return self._default_name_server(wire, rrtype)
        return self._below(wire, whole, left, rrtype)

    def negative(self, found: Negative) -> Reply:
        """Return NODATA or NXDOMAIN with the zone's SOA as it is now (RFC 2308 §2); one Reply for all that share it."""
        serial = self._index.serial
        if self._dated is not serial.token:
            self._dated = serial.token
            self._bare.clear()
            self._negative.clear()
        reply = self._negative.get(found)
        if reply is None:
            bare = self._bare.get(found.rcode)
            if bare is None:
                bare = Reply((), [self._soa()], rcode=found.rcode, flags=AA, suffix=self.origin)
                bare.serial = serial
                self._bare[found.rcode] = bare
            if len(self._negative) >= MOST_NEGATIVE:
                self._negative.clear()
            reply = bare.replaced(validity=Validity(tokens=(*found.tokens, serial.token)))
            self._negative[found] = reply
        return reply

    def failure(self) -> Reply:
        """Return SERVFAIL, with the SOA as well, for the one query alone, whatever keeps its octets."""
        validity = Validity(NEVER.until, (self._index.token(),))
        return Reply((), [self._soa()], rcode=Rcode.SERVFAIL, flags=AA, validity=validity, suffix=self.origin)

    def denial(self, whole: Sequence[bytes]) -> Negative | None:
        """Return the NXDOMAIN of all names right below the parent of a name, as labels, that does not exist itself.

        None where there may be one.
        """
        left = whole[1 : len(whole) - self._depth]  # the parent's
        if not left or left == DNS or is_reverse(whole):
            return None
        if left[-1] not in {SVC, POD}:
            return NXDOMAIN
        if len(left) == 1:
            return None
        namespace = left[-2].decode("latin-1")
        if not self._exposes(namespace) or (left[-1] == POD and self._options.pods == "disabled"):
            return self._without_namespace(Rcode.NXDOMAIN)
        if left[-1] == POD or len(left) == 2:  # noqa: PLR2004 - a namespace, and svc
            return None
        service = left[-3].decode("latin-1")
        if len(left) <= names.MOST_LABELS and self._index.service(namespace, service) is not None:
            return None
        return Negative(Rcode.NXDOMAIN, (self._index.service_token(namespace, service),))

    def holds(self, whole: Sequence[bytes]) -> bool:
        """Tell of a name that has an answer, as labels, whether it is a Service's: a stranger can't make one up."""
        return len(whole) > self._depth and whole[-self._depth - 1] == SVC

    def absence(self, whole: list[bytes], found: Negative) -> Validity:
        """Return for how long a name that there is not is none of ours; that of an address, until something has it."""
        address = reverse_address(whole)
        return Validity(tokens=found.tokens if address is None else (Absence(self._index, address),))

    def _below(self, wire: bytes, whole: list[bytes], left: list[bytes], rrtype: int) -> Found:
        """Names of Services and pods, and what stands above them."""
        kind = left[-1]
        if kind not in {SVC, POD} or is_reverse(whole):
            return NXDOMAIN
        if len(left) == 1:
            return Negative(_empty_non_terminal(rrtype))
        namespace = left[-2].decode("latin-1")
        if not self._exposes(namespace) or (kind == POD and self._options.pods == "disabled"):
            return self._without_namespace(Rcode.NXDOMAIN)
        if len(left) == 2:  # noqa: PLR2004 - a namespace, and svc or pod
            return self._without_namespace(_empty_non_terminal(rrtype))
        asked = names.service_name(left[:-1])
        if asked is None:
            return self._without_namespace(Rcode.NXDOMAIN)
        if kind == POD:
            return self._pod(wire, left, namespace, rrtype)
        return self._service(wire, left, asked, rrtype)

    # The apex, and the server's own name.

    def _apex(self, rrtype: int) -> Found:
        if rrtype == RRType.SOA:
            return Reply([self._soa()], flags=AA, validity=Validity(tokens=(self._index.serial.token,)))
        if rrtype == RRType.TXT:
            return NXDOMAIN
        if rrtype != RRType.NS:
            return NODATA
        servers = self._name_servers()
        targets = dict.fromkeys(target for target, _ in servers)
        if not targets:
            return Negative(Rcode.NOERROR, (self._index.token(),))
        ttl = self._options.ttl
        answer = [ns(self.origin, target, ttl) for target in targets]
        additional = [address(target, packed, ttl) for target, packed in servers]
        return Reply(answer, (), additional, flags=AA, validity=self._while_unchanged())

    def _default_name_server(self, wire: bytes, rrtype: int) -> Found:
        size = ADDRESS_SIZE.get(rrtype, 0)
        hosts = dict.fromkeys(packed for _, packed in self._name_servers())
        answer = [address(wire, packed, self._options.ttl) for packed in hosts if len(packed) == size]
        if not answer:
            return Negative(Rcode.NOERROR, (self._index.token(),))
        return Reply(answer, flags=AA, validity=self._while_unchanged())

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
        tokens = (self._index.service_token(asked.namespace, asked.service),)
        if service is None:
            return Negative(Rcode.NXDOMAIN, tokens)
        target = from_labels(left[-3:])[:-1] + self.origin
        if service.type == EXTERNAL_NAME:
            return self._external(wire, service, asked, rrtype, tokens)
        slices = self._index.slices(asked.namespace, asked.service)
        if self._options.ignore_empty_service and not service.headless and not any(one.endpoints for one in slices):
            return Negative(Rcode.NXDOMAIN, tokens)
        if service.headless or asked.endpoint:
            pod_names = self._options.endpoint_pod_names
            candidates = records.endpoint_candidates(slices, asked, target, pod_names=pod_names)
        else:
            candidates = records.service_candidates(service, asked, target)
        if candidates is None:
            return Negative(Rcode.NXDOMAIN, tokens)
        return self._reply(wire, candidates, rrtype, tokens)

    def _reply(self, wire: bytes, candidates: Sequence[Candidate], rrtype: int, tokens: tuple[Token, ...]) -> Found:
        """Return what candidates have to say to a type; a name that has candidates exists."""
        validity = Validity(tokens=tokens)
        ttl = self._options.ttl
        size = ADDRESS_SIZE.get(rrtype)
        if size is not None:
            answer = records.address_records(wire, candidates, size, ttl)
            aliases = dict.fromkeys(one.host for one in candidates if one.is_name)
            if aliases:
                return Aliases(tuple(aliases), tuple(answer), validity)
            return Reply(answer, flags=AA, validity=validity) if answer else Negative(Rcode.NOERROR, tokens)
        if rrtype == RRType.SRV:
            answer, additional = records.service_records(wire, candidates, ttl)
            if answer:
                return Reply(answer, (), additional, flags=AA, validity=validity, zone=self.origin)
        if rrtype == RRType.CNAME and candidates[:1] and candidates[0].is_name:
            return Reply([cname(wire, candidates[0].host, ttl)], flags=AA, validity=validity)
        return Negative(Rcode.NOERROR, tokens)

    def _external(
        self, wire: bytes, service: Service, asked: ServiceName, rrtype: int, tokens: tuple[Token, ...]
    ) -> Found:
        """An ExternalName has its bare name alone, and no address: the API lets one in, DNS has no record for it."""
        target = names.host_name(service.external_name)
        if not asked.bare or target is None or pack_address(service.external_name) is not None:
            return Negative(Rcode.NXDOMAIN, tokens)
        validity = Validity(tokens=tokens)
        if rrtype == RRType.CNAME:
            return Reply([cname(wire, target, self._options.ttl)], flags=AA, validity=validity)
        return Aliases((target,), (), validity) if rrtype in ADDRESS_SIZE else Negative(Rcode.NOERROR, tokens)

    def _pod(self, wire: bytes, left: list[bytes], namespace: str, rrtype: int) -> Found:
        text_address = names.pod_address(left[-3])
        packed = pack_address(text_address)
        if packed is None:
            return self._without_namespace(Rcode.NXDOMAIN)
        token = self._index.namespaces_token()
        if self._options.pods == "verified":
            token = self._index.pods_token(text_address)
            if self._index.pod(namespace, text_address) is None:
                return Negative(Rcode.NXDOMAIN, (token,))
        target = from_labels(left[-3:])[:-1] + self.origin
        found = self._reply(wire, [records.Candidate(target, packed, False, 0)], rrtype, (token,))
        alike = self._speaks_for_others and rrtype == RRType.A and self._options.pods != "verified"
        if alike and isinstance(found, Reply):
            found.siblings = Pods(wire[wire[0] + 1 :], self._options.ttl)
        return found

    def _reverse(self, wire: bytes, packed: bytes) -> Found:
        targets = self._targets(packed)
        token = self._index.address_token(packed)
        if not targets:
            return Negative(Rcode.NXDOMAIN, (token,))
        ttl, validity = self._options.ttl, Validity(tokens=(token,))
        reply = Reply([ptr(wire, target, ttl) for target in targets], flags=AA, validity=validity)
        if self._speaks_for_others and len(targets) == 1 and len(packed) == IPV4_SIZE:
            reply.siblings = Neighbours(wire[wire[0] + 1 :], packed[:3], ttl, self._targets)
        return reply

    def _targets(self, packed: bytes) -> Sequence[bytes]:
        """Return an address's names: a Service before endpoints, so that an address of both is the Service's."""
        primary, pod_names = self._options.primary, self._options.endpoint_pod_names
        for service in self._index.services_by_ip(packed):
            if self._shows(service.namespace):
                target = names.below(primary, service.name, service.namespace, "svc")
                if target is not None:
                    return (target,)
        targets: dict[bytes, None] = {}
        for piece in self._index.slices_by_ip(packed):
            if self._shows(piece.namespace):
                for target in records.targets_at(piece, packed, primary, pod_names=pod_names):
                    if target is not None:
                        targets[target] = None
        return tuple(targets)

    # What names are measured by.

    def _exposes(self, namespace: str) -> bool:
        chosen = self._options.namespaces
        return (not chosen or namespace in chosen) and self._index.has_namespace(namespace)

    def _shows(self, namespace: str) -> bool:
        """Tell whether an address may be named: as in CoreDNS, `namespaces` alone hides one."""
        return not self._options.namespaces or self._exposes(namespace)

    def _without_namespace(self, rcode: Rcode) -> Negative:
        """What is so because of the namespaces that there are."""
        return Negative(rcode, (self._index.namespaces_token(),))

    def _while_unchanged(self) -> Validity:
        return Validity(tokens=(self._index.token(),))

    def _soa(self) -> RR:
        ttl = self._options.ttl
        return soa(
            self.origin,
            b"\x02ns\x03dns" + self.origin,
            b"\x0ahostmaster" + self.origin,
            min(ttl, LONGEST_SOA_TTL),
            serial=self._index.serial.value,
            times=(*SOA_TIMES, ttl),
        )


def _empty_non_terminal(rrtype: int) -> Rcode:
    """A name with names below it but no data; CoreDNS says NXDOMAIN to TXT there."""
    return Rcode.NXDOMAIN if rrtype == RRType.TXT else Rcode.NOERROR
