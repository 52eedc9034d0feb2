"""Kinds of replies: success, denial, error."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from kubedns.wire.numbers import Opcode, Rcode, RRType
from kubedns.wire.records import in_force

if TYPE_CHECKING:
    from kubedns.wire.query import Query
    from kubedns.wire.reply import Reply


class ReplyClass(StrEnum):
    SUCCESS = "success"
    DENIAL = "denial"
    ERROR = "error"


EVERY_CLASS = frozenset(ReplyClass)


def classify(query: Query, reply: Reply, now: float) -> ReplyClass:
    """Tell what a reply amounts to; `now` is in seconds since 1970 and judges signatures.

    A name that exists is a success, with a referral or without any record too, unless an SOA record says NODATA.
    """
    if query.opcode != Opcode.QUERY or query.rrtype in {RRType.AXFR, RRType.IXFR}:
        return ReplyClass.ERROR
    if query.do and _out_of_date(reply, int(now)):
        return ReplyClass.ERROR
    if reply.rcode == Rcode.NXDOMAIN and not reply.answer:
        return ReplyClass.DENIAL
    if reply.rcode != Rcode.NOERROR:
        return ReplyClass.ERROR
    if not reply.answer and any(rr.rrtype == RRType.SOA for rr in reply.authority):
        return ReplyClass.DENIAL
    return ReplyClass.SUCCESS


def _out_of_date(reply: Reply, now: int) -> bool:
    return any(
        rr.rrtype == RRType.RRSIG and not in_force(rr.rdata, now) for section in reply.sections for rr in section
    )
