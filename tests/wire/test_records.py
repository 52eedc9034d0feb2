import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest

from kubedns.wire.numbers import RRClass
from kubedns.wire.records import RR, address, cname, ns, ptr, soa, srv, txt
from tests.wire.asking import wire

OWNER = wire("web.example.")
TARGET = wire("a.example.")

RECORDS = {
    "A": (address(OWNER, b"\x0a\0\0\1", 5), "IN A 10.0.0.1"),
    "AAAA": (address(OWNER, bytes(15) + b"\1", 5), "IN AAAA ::1"),
    "A in class CH": (RR(OWNER, 1, 1, 5, address(OWNER, bytes(4), 5, RRClass.CH).rdata), "IN A 0.0.0.0"),
    "CNAME": (cname(OWNER, TARGET, 5), "IN CNAME a.example."),
    "NS": (ns(OWNER, TARGET, 5), "IN NS a.example."),
    "PTR": (ptr(OWNER, TARGET, 5), "IN PTR a.example."),
    "SRV": (srv(OWNER, TARGET, 5, weight=50, port=8080, priority=10), "IN SRV 10 50 8080 a.example."),
    "SRV at its limits": (srv(OWNER, b"\0", 5, weight=65535, port=65535), "IN SRV 0 65535 65535 ."),
    "TXT": (txt(OWNER, 'say "hi"', 5), r'IN TXT "say \"hi\""'),
    "TXT empty": (txt(OWNER, "", 5), 'IN TXT ""'),
    "TXT cut to 255 octets": (txt(OWNER, "x" * 300, 5), f'IN TXT "{"x" * 255}"'),
    "TXT of chaos": (txt(OWNER, "x", 5, RRClass.CH), 'CH TXT "x"'),
    "SOA": (
        soa(OWNER, TARGET, wire("hostmaster.example."), 5, serial=1, times=(7200, 1800, 86400, 5)),
        "IN SOA a.example. hostmaster.example. 1 7200 1800 86400 5",
    ),
    "SOA's serial wraps": (
        soa(OWNER, TARGET, TARGET, 5, serial=2**32 + 7, times=(0, 0, 0, 0)),
        "IN SOA a.example. a.example. 7 0 0 0 0",
    ),
}


@pytest.mark.parametrize(("rr", "presented"), RECORDS.values(), ids=RECORDS)
def test_record(rr: RR, presented: str) -> None:
    rrclass, rrtype = dns.rdataclass.RdataClass(rr.rrclass), dns.rdatatype.RdataType(rr.rrtype)
    rdata = dns.rdata.from_wire(rrclass, rrtype, rr.rdata, 0, len(rr.rdata))
    assert f"{rrclass.name} {rrtype.name} {rdata}" == presented
    assert (rr.owner, rr.ttl) == (OWNER, 5)


def test_class_of_an_address() -> None:
    assert address(OWNER, bytes(4), 0, RRClass.CH).rrclass == RRClass.CH
