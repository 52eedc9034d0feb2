"""Numbers of the DNS, spelled as IANA spells them (https://www.iana.org/assignments/dns-parameters)."""

from enum import IntEnum


class RRType(IntEnum):
    """TYPE and QTYPE of a record or a question (RFC 1035 §3.2.2)."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    HINFO = 13
    MX = 15
    TXT = 16
    AAAA = 28
    SRV = 33
    DNAME = 39
    OPT = 41
    DS = 43
    RRSIG = 46
    SVCB = 64
    HTTPS = 65
    TSIG = 250
    IXFR = 251
    AXFR = 252
    ANY = 255
    CAA = 257


class RRClass(IntEnum):
    """CLASS and QCLASS (RFC 1035 §3.2.4, RFC 2136 §1.3)."""

    IN = 1
    CH = 3
    HS = 4
    NONE = 254
    ANY = 255


class Rcode(IntEnum):
    """Response codes (RFC 1035 §4.1.1, RFC 6895 §2.3); above 15 they need an OPT record (RFC 6891 §6.1.3)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    YXDOMAIN = 6
    YXRRSET = 7
    NXRRSET = 8
    NOTAUTH = 9
    NOTZONE = 10
    BADVERS = 16


class Opcode(IntEnum):
    """Kinds of message (RFC 1035 §4.1.1, RFC 1996, RFC 2136)."""

    QUERY = 0
    IQUERY = 1
    STATUS = 2
    NOTIFY = 4
    UPDATE = 5


class Option(IntEnum):
    """EDNS option codes (RFC 6891 §9)."""

    LLQ = 1
    UL = 2
    NSID = 3
    ECS = 8
    EXPIRE = 9
    COOKIE = 10
    TCP_KEEPALIVE = 11
    PADDING = 12
    EDE = 15


# Bits of the header's second word (RFC 1035 §4.1.1, RFC 4035 §3).
QR = 0x8000
AA = 0x0400
TC = 0x0200
RD = 0x0100
RA = 0x0080
Z = 0x0040
AD = 0x0020
CD = 0x0010
OPCODE_MASK = 0x7800
RCODE_MASK = 0x000F
OPCODE_SHIFT = 11

HEADER_SIZE = 12
MINIMUM_UDP_SIZE = 512  # what every client takes without EDNS (RFC 1035 §4.2.1)
MAXIMUM_SIZE = 65535  # a length that TCP's two octets can tell (RFC 1035 §4.2.2)


def type_text(rrtype: int) -> str:
    """Return a type's mnemonic, or TYPE12345 where we know none (RFC 3597 §5)."""
    return TYPE_TEXTS.get(rrtype) or f"TYPE{rrtype}"


def class_text(rrclass: int) -> str:
    """Return a class's mnemonic, or CLASS12345 (RFC 3597 §5)."""
    return CLASS_TEXTS.get(rrclass) or f"CLASS{rrclass}"


def rcode_text(rcode: int) -> str:
    """Return a response code's mnemonic, or its number."""
    return RCODE_TEXTS.get(rcode) or str(rcode)


# Of the IANA registry, those that no part of ours gives; log lines, metrics and options spell them.
OTHER_RCODES = {
    11: "DSOTYPENI", 17: "BADKEY", 18: "BADTIME", 19: "BADMODE", 20: "BADNAME", 21: "BADALG", 22: "BADTRUNC",
    23: "BADCOOKIE",
}  # fmt: skip
RCODE_TEXTS = {**{int(rcode): rcode.name for rcode in Rcode}, **OTHER_RCODES}

# Types that only log lines and metrics need to spell.
OTHER_TYPES = {
    3: "MD", 4: "MF", 7: "MB", 8: "MG", 9: "MR", 10: "NULL", 14: "MINFO", 17: "RP", 18: "AFSDB", 24: "SIG", 25: "KEY",
    29: "LOC", 35: "NAPTR", 36: "KX", 37: "CERT", 42: "APL", 44: "SSHFP", 45: "IPSECKEY", 47: "NSEC", 48: "DNSKEY",
    49: "DHCID", 50: "NSEC3", 51: "NSEC3PARAM", 52: "TLSA", 53: "SMIMEA", 55: "HIP", 59: "CDS", 60: "CDNSKEY",
    61: "OPENPGPKEY", 62: "CSYNC", 63: "ZONEMD", 99: "SPF", 108: "EUI48", 109: "EUI64", 249: "TKEY", 253: "MAILB",
    254: "MAILA", 256: "URI",
}  # fmt: skip
TYPE_TEXTS = {**{int(rrtype): rrtype.name for rrtype in RRType}, **OTHER_TYPES}
CLASS_TEXTS = {int(rrclass): rrclass.name for rrclass in RRClass}
