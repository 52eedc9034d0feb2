"""What a reply amounts to: which kind of entry it makes, and for how long (RFC 2308)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kubedns.wire.edns import DO
from kubedns.wire.numbers import OPCODE_MASK, TC, Option, Rcode, RRType
from kubedns.wire.packed import PackedReply
from kubedns.wire.records import in_force
from plugins.cache.options import DENIAL, SHORTEST, SUCCESS

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubedns.wire.edns import Edns
    from kubedns.wire.query import Query
    from kubedns.wire.reply import Reply
    from plugins.cache.options import Options

CNAME, NS, SOA = int(RRType.CNAME), int(RRType.NS), int(RRType.SOA)  # as they stand in a layout
TRANSFERS = (int(RRType.AXFR), int(RRType.IXFR))
FAILURES = (Rcode.SERVFAIL, Rcode.NOTIMP)
SCOPE = 3  # place of SCOPE PREFIX-LENGTH in an ECS option (RFC 7871 §6)


class Verdict(NamedTuple):
    """`kind` None: it is not to be kept. `seconds` is how long it is, and the TTL that it goes out with.

    `answers` says that the answer section holds what was asked for.
    """

    kind: str | None
    seconds: int
    answers: bool


Judged = tuple[str | None, int, bool]  # a Verdict, made without its class: for each query that goes upstream


def judge(query: Query, reply: Reply, options: Options, wall: Callable[[], float]) -> Judged:
    """Return the verdict on a reply; `wall` tells the seconds since 1970, to judge signatures."""
    success, edns, rcode = options.success, reply.edns, reply.rcode
    if query.flags & OPCODE_MASK or query.rrtype in TRANSFERS:
        return None, success.clamp(SHORTEST), False
    if edns is not None and edns.flags & DO and _out_of_date(reply, wall()):
        return None, success.clamp(SHORTEST), False
    if rcode or reply.flags & TC or (edns is not None and edns.options and _is_for_a_subnet(edns)):
        return _judge_other(reply, options)
    answer = reply.types(0)
    if answer and answers(query, reply):
        return SUCCESS, success.clamp(least_ttl(reply)), True
    authority = reply.types(1)
    if SOA in authority and (not answer or CNAME in answer):
        return DENIAL, options.denial.clamp(least_ttl(reply)), False
    if not answer:
        return SUCCESS, success.clamp(SHORTEST if NS in authority else least_ttl(reply)), False
    return None, success.clamp(least_ttl(reply)), False


def _judge_other(reply: Reply, options: Options) -> Judged:
    """Judge a reply that has an RCODE, is cut, or is for some clients alone."""
    if reply.rcode in FAILURES and not reply.flags & TC:
        return DENIAL, int(options.servfail), False
    if reply.rcode == Rcode.NXDOMAIN and not reply.flags & TC and not reply.types(0) and SOA in reply.types(1):
        return DENIAL, options.denial.clamp(least_ttl(reply)), False
    return None, options.success.clamp(SHORTEST if reply.rcode else least_ttl(reply)), False


def answers(query: Query, reply: Reply) -> bool:
    """Tell whether the answer section leads from the question's name, by CNAMEs, to a record of its type."""
    rrtype, rrclass = query.rrtype, query.rrclass
    if isinstance(reply, PackedReply):
        if reply.starts_with(query.kind) or reply.leads_to(query.kind):
            return True
        answer = reply.read_sections()[0]
    else:
        answer = reply.answer
    whole = rrtype in {RRType.CNAME, RRType.ANY}
    aliases: dict[bytes, bytes] = {}
    owners = set()
    for rr in answer:
        if rr.rrclass != rrclass:
            continue
        if rr.rrtype == RRType.CNAME and not whole:
            target = rr.rdata.lower()
            if aliases.setdefault(rr.owner.lower(), target) != target:
                return False
        elif rrtype in {rr.rrtype, RRType.ANY}:
            owners.add(rr.owner.lower())
    name = query.name
    while name in aliases:
        name = aliases.pop(name)  # so that a loop comes to its end
    return name in owners


def least_ttl(reply: Reply) -> int:
    """Return the least TTL of all records; without any, as long as the shortest entry."""
    if isinstance(reply, PackedReply):
        least = reply.least
    else:
        least = min((rr.ttl for section in reply.sections for rr in section), default=None)
    return SHORTEST if least is None else least


def _out_of_date(reply: Reply, now: float) -> bool:
    """Tell whether a client that asked for signatures is given one that is not in force."""
    if not any(RRType.RRSIG in reply.types(section) for section in range(3)):
        return False
    sections = reply.read_sections() if isinstance(reply, PackedReply) else reply.sections
    signatures = [rr for section in sections for rr in section if rr.rrtype == RRType.RRSIG]
    return any(not in_force(rr.rdata, int(now)) for rr in signatures)


def _is_for_a_subnet(edns: Edns) -> bool:
    """Tell whether an upstream made its reply for the client's network alone (RFC 7871 §7.3.1)."""
    subnet = edns.option(Option.ECS)
    return subnet is not None and len(subnet) > SCOPE and subnet[SCOPE] > 0
