"""Write tests/fuzz/corpus: messages as clients send them, and odd ones: python -m tests.fuzz.seeds."""

import struct
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rdatatype

CORPUS = Path(__file__).parent / "corpus"
ZONE = "cluster.local."
NAMES = {
    "service": f"kubernetes.default.svc.{ZONE}",
    "headless": f"superopsmsb-nginx-headless.default.svc.{ZONE}",
    "endpoint": f"10-244-3-64.superopsmsb-nginx-service.default.svc.{ZONE}",
    "port": f"_dns._udp.kube-dns.kube-system.svc.{ZONE}",
    "external": f"external.default.svc.{ZONE}",
    "pod": f"10-244-3-64.default.pod.{ZONE}",
    "missing": f"example.com.default.svc.{ZONE}",
    "case": f"KuBeRnEtEs.dEfAuLt.SvC.{ZONE.upper()}",
    "version": f"dns-version.{ZONE}",
    "apex": ZONE,
    "root": ".",
    "reverse4": "10.0.96.10.in-addr.arpa.",
    "reverse6": "1." + "0." * 27 + "8.b.d.0.1.0.0.2.ip6.arpa.",
}
TYPES = ("A", "AAAA", "SRV", "PTR", "SOA", "NS", "TXT", "CNAME", "ANY", "AXFR", "DS", "TYPE0", "TYPE65535")


def header(flags: int = 0x0100, *counts: int) -> bytes:
    return struct.pack("!6H", 0x1234, flags, *(counts or (1, 0, 0, 0)))


def question(name: bytes, rrtype: int = 1, rrclass: int = 1) -> bytes:
    return name + struct.pack("!2H", rrtype, rrclass)


def valid() -> dict[str, bytes]:
    """Return each name under type A, one name under each type, and the ways of EDNS, by what they are."""
    queries = {f"name-{label}": dns.message.make_query(name, "A") for label, name in NAMES.items()}
    service = NAMES["service"]
    queries |= {f"type-{rrtype}": dns.message.make_query(service, rrtype) for rrtype in TYPES}
    queries |= {
        "class-chaos": dns.message.make_query("version.bind.", "TXT", "CH"),
        "edns-do": dns.message.make_query(service, "A", want_dnssec=True),
        "edns-small": dns.message.make_query(service, "A", use_edns=0, payload=100),
        "edns-cookie": dns.message.make_query(
            service, "A", use_edns=0, options=[dns.edns.CookieOption(b"8octets.", b"")]
        ),
        "edns-version": dns.message.make_query(service, "A", use_edns=1),
        "flags-all": dns.message.make_query(service, "A", flags=dns.flags.RD | dns.flags.AD | dns.flags.CD),
        "srv-headless": dns.message.make_query(NAMES["headless"], "SRV"),
    }
    notify = dns.message.make_query(ZONE, "SOA")
    notify.set_opcode(dns.opcode.NOTIFY)
    update = dns.message.make_query(ZONE, "SOA")
    update.set_opcode(dns.opcode.UPDATE)
    queries |= {"opcode-notify": notify, "opcode-update": update}
    for query in queries.values():
        query.id = 0x1234
    return {label: query.to_wire() for label, query in queries.items()}


def odd() -> dict[str, bytes]:
    """Return messages that no resolver sends, by what is odd about them."""
    name = b"\x0akubernetes\x07default\x03svc\x07cluster\x05local\0"
    opt = b"\0" + struct.pack("!2HIH", 41, 1232, 0, 0)
    whole = header() + question(name)
    return {
        "empty": b"",
        "short-header": header()[:7],
        "header-alone": header(),
        "response": header(0x8180) + question(name),
        "no-question": header(0x0100, 0, 0, 0, 0),
        "two-questions": header(0x0100, 2, 0, 0, 0) + question(name) * 2,
        "name-cut": whole[:20],
        "type-cut": whole[:-3],
        "class-cut": whole[:-2],
        "trailing": whole + b"more",
        "pointer-to-itself": header() + question(b"\xc0\x0c"),
        "pointer-forward": header() + question(b"\xc0\xff"),
        "pointer-into-header": header() + question(b"\x01a\xc0\x00"),
        "label-type-unknown": header() + question(b"\x80a\0"),
        "name-255": header() + question((b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"b" * 61 + b"\0"),
        "name-256": header() + question((b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"b" * 62 + b"\0"),
        "name-binary": header() + question(bytes([4, 0, 255, 46, 92, 0])),
        "counts-lie": header(0x0100, 1, 1, 1, 2) + question(name),
        "counts-huge": header(0x0100, 1, 65535, 65535, 65535) + question(name),
        "two-opts": header(0x0100, 1, 0, 0, 2) + question(name) + opt * 2,
        "opt-cut": header(0x0100, 1, 0, 0, 1) + question(name) + opt[:-3],
        "opt-length-lies": header(0x0100, 1, 0, 0, 1) + question(name) + opt[:-2] + b"\xff\xff",
        "option-length-lies": header(0x0100, 1, 0, 0, 1) + question(name) + opt[:-2] + b"\0\x04\0\x0a\xff\xff",
        "opt-owner": header(0x0100, 1, 0, 0, 1) + question(name) + b"\xc0\x0c" + opt[1:],
    }


def replies() -> dict[str, bytes]:
    """Return replies as upstreams send them, and odd ones, by what they hold."""
    name = b"\x03www\x07example\x03com\0"
    asked = question(name)
    pointer = b"\xc0\x0c"
    opt = b"\0" + struct.pack("!2HIH", 41, 1232, 0, 0)

    def record(rrtype: int, rdata: bytes, owner: bytes = pointer) -> bytes:
        return owner + struct.pack("!2HIH", rrtype, 1, 300, len(rdata)) + rdata

    address = record(1, bytes([192, 0, 2, 1]))
    target = b"\x03cdn\xc0\x10"
    soa = record(6, b"\x02ns\xc0\x10\x04mail\xc0\x10" + bytes(20), b"\xc0\x10")
    return {
        "reply-address": header(0x8180, 1, 1, 0, 0) + asked + address,
        "reply-opt": header(0x8180, 1, 1, 0, 1) + asked + address + opt,
        "reply-opt-first": header(0x8180, 1, 0, 0, 2) + asked + opt + address,
        "reply-opt-rcode": header(0x8180, 1, 0, 0, 1) + asked + opt[:5] + b"\1" + opt[6:],
        "reply-chain": header(0x8180, 1, 2, 0, 0) + asked + record(5, target) + record(1, bytes(4), b"\xc0\x2d"),
        "reply-nxdomain": header(0x8183, 1, 0, 1, 0) + asked + soa,
        "reply-srv-compressed": header(0x8180, 1, 1, 0, 0) + asked + record(33, bytes(6) + pointer),
        "reply-uncompressed": header(0x8180, 1, 2, 0, 0) + asked + record(1, bytes(4), name) * 2,
        "reply-other-question": header(0x8180, 1, 1, 0, 0) + question(b"\x03WWW" + name[4:], 28) + address,
        "reply-no-question": header(0x8181, 0, 0, 0, 0),
        "reply-pointer-into-ttl": header(0x8180, 1, 2, 0, 0) + asked + address + record(1, bytes(4), b"\xc0\x27"),
        "reply-pointer-into-header": header(0x8180, 1, 1, 0, 0) + asked + record(1, bytes(4), b"\xc0\x04"),
        "reply-rdata-cut": header(0x8180, 1, 1, 0, 0) + asked + address[:-1],
        "reply-counts-lie": header(0x8180, 1, 9, 9, 9) + asked + address,
    }


def main() -> None:
    CORPUS.mkdir(exist_ok=True)
    for label, message in {**valid(), **odd(), **replies()}.items():
        (CORPUS / label).write_bytes(message)


if __name__ == "__main__":
    main()
