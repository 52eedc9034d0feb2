"""A recorded exchange beside ours: the question's octets, replies in one form, and how two of them differ."""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import TYPE_CHECKING, Any

import dns.flags
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from tests.end_to_end.client import AD, CD, DO, RD, compose, compose_opt, parse
from tests.golden.serve import OWN

if TYPE_CHECKING:
    from dns.message import Message
    from dns.rrset import RRset

Row = dict[str, Any]  # one line of replies.jsonl
Record = tuple[str, int, str, str]  # owner, TTL, type, rdata

SECTIONS = ("answer", "authority", "additional")
SERIAL = 2  # its place in an SOA's rdata
WHOAMI = "."  # the target of its SRV record, whose port is the client's own
MASKS = {4: "OWN4", 16: "OWN6"}
OWN_TEXTS = {str(ipaddress.ip_address(packed)): MASKS[len(packed)] for packed in OWN}
Z = 0x0040


def question(row: Row) -> bytes:
    """Return the octets of a row's question: RD set unless it says otherwise, no OPT record unless it has its own."""
    flags = (RD if row.get("rd", True) else 0) | (CD if row.get("cd") else 0) | (AD if row.get("ad") else 0)
    opt = b""
    if row.keys() & {"bufsize", "do", "edns"}:
        opt = compose_opt(row.get("bufsize", 1232), flags=DO if row.get("do") else 0, version=row.get("edns", 0))
    return compose(row["name"], row["type"], row.get("class", "IN"), flags=flags, opt=opt)


def shown(octets: bytes) -> Row:
    """Return a reply as `replies.jsonl` has one, own addresses and serials masked; raise where it is malformed."""
    message = parse(octets)
    reply: Row = {
        "rcode": dns.rcode.to_text(message.rcode()),
        "flags": dns.flags.to_text(message.flags) + (" Z" if message.flags & Z else ""),
        "edns": _edns(message),
        "question": [
            [one.name.to_text(), dns.rdatatype.to_text(one.rdtype), dns.rdataclass.to_text(one.rdclass)]
            for one in message.question
        ],
    }
    for section in SECTIONS:
        reply[section] = [_record(rrset) for rrset in getattr(message, section)]
    return reply


def _edns(message: Message) -> Row | None:
    if message.edns < 0:
        return None
    edns: Row = {"version": message.edns, "bufsize": message.payload, "do": bool(message.ednsflags & DO)}
    if message.options:
        edns["options"] = [option.otype for option in message.options]
    return edns


def _record(rrset: RRset) -> list[Any]:
    return [rrset.name.to_text(), rrset.ttl, dns.rdatatype.to_text(rrset.rdtype), rrset[0].to_text()]


def differences(recorded: Row, ours: Row, *, cached: bool = False) -> list[str]:
    """Return what differs between two replies, a line each; nothing where they say the same.

    `cached`: a cache stands in front, so that TTLs may be lower by now, and AA of delegations says who asked first.
    """
    if cached:
        recorded, ours = _without_age(recorded, ours)
    found = [
        f"{part}: recorded {recorded[part]!r}, ours {ours[part]!r}"
        for part in ("rcode", "flags", "edns", "question")
        if recorded[part] != ours[part]
    ]
    if "TC" in recorded["flags"].split() and "TC" in ours["flags"].split():
        return found  # how many records fit depends on how names are compressed
    for section in SECTIONS:
        expected, got = (Counter(map(_plain, reply[section])) for reply in (recorded, ours))
        found += [f"{section}: missing {_line(record)}" for record in (expected - got).elements()]
        found += [f"{section}: too much {_line(record)}" for record in (got - expected).elements()]
    return found


def _without_age(recorded: Row, ours: Row) -> tuple[Row, Row]:
    """Return both with the recorded TTLs where ours are no higher, and without AA if they are delegations."""
    ours = dict(ours)
    for section in SECTIONS:
        left = [(*_plain(record), record[1]) for record in recorded[section]]
        aged = []
        for record in ours[section]:
            owner, ttl, *rest = _plain(record)
            same = [one for one in left if (one[0], *one[2:4]) == (owner, *rest) and one[1] >= ttl]
            if same:
                left.remove(same[0])
            aged.append([record[0], same[0][1], *record[2:]] if same else record)
        ours[section] = aged
    if not ours["answer"] and any(record[2] == "NS" for record in ours["authority"]):
        recorded, ours = ({**row, "flags": row["flags"].replace(" AA", "")} for row in (recorded, ours))
    return recorded, ours


def _plain(record: list[Any]) -> Record:
    """Return a record as it compares: names without case, addresses in one spelling, what changes by itself masked."""
    owner, ttl, rrtype, rdata = record
    if rrtype in {"A", "AAAA"} and not rdata.startswith("OWN"):
        rdata = str(ipaddress.ip_address(rdata))
        rdata = OWN_TEXTS.get(rdata, rdata)
    elif rrtype == "SOA":
        words = rdata.lower().split()
        rdata = " ".join([*words[:SERIAL], "SERIAL", *words[SERIAL + 1 :]])
    elif rrtype in {"NS", "CNAME", "PTR", "SRV", "MX"}:
        rdata = rdata.lower()
        if rrtype == "SRV" and rdata.split()[-1] == WHOAMI:
            priority, weight, *_ = rdata.split()
            rdata = f"{priority} {weight} port {WHOAMI}"
    return owner.lower(), ttl, rrtype, rdata


def _line(record: Record) -> str:
    return " ".join(map(str, record))
