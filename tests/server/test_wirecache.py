"""What is kept by raw octets, for how long, how much of it, and that all of it is counted."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from kubedns.metrics import Count
from kubedns.server.turns import SENDINGS
from kubedns.server.wirecache import LARGEST_REPLY, LONGEST_KEY, Keeping, Shelf, WireCache
from kubedns.tokens import Serial
from kubedns.wire.edns import Edns
from kubedns.wire.numbers import Rcode, RRType
from kubedns.wire.parse import parse_reply
from kubedns.wire.query import Query, parse_query
from kubedns.wire.records import RR, address, soa, txt
from kubedns.wire.reply import Reply
from kubedns.wire.validity import NEVER, UNTIL_RELOAD, Validity
from plugins.loadbalance.turning import Run, Turning
from tests.wire.asking import RD, UDP, datagram, opt, option, query, wire, with_opt

IDENT = b"\x12\x34"
FIRST = bytes((192, 0, 2, 1))


@dataclass
class Token:
    stale: bool = False


@dataclass(frozen=True)
class Exchange:
    """What an observer would tell apart."""

    rcode: int
    size: int
    seen: list[int] = field(default_factory=list, compare=False)

    def add(self, given: int, seconds: float) -> None:
        assert seconds >= 0
        self.seen.append(given)


def turning(*records: RR, expires: float = 0.0) -> Reply:
    """Return a reply as loadbalance makes it."""
    made = Turning(Reply(records, validity=UNTIL_RELOAD), [[Run(records, turns=True)], [], []])
    made.expires = expires
    return made


def addresses(count: int) -> list[RR]:
    return [address(wire("example.org."), bytes((192, 0, 2, last)), 300) for last in range(count)]


class Kept:
    """A cache with one shelf, and the long way round it."""

    def __init__(self, most_entries: int = 1000, most_octets: int = 1 << 20) -> None:
        self.cache = WireCache(most_entries, most_octets)
        self.shelf = Shelf([wire(".")])
        self.denials = True
        self.exchanges: list[Exchange] = []

    def offer(self, message: bytes, reply: Reply) -> bytes:
        query = parse_query(message, UDP)
        octets = reply.octets(query)
        self.cache.offer(self.shelf, message, query, reply, octets, Keeping(self._observe, denials=self.denials))
        return octets

    def _observe(self, _: Query, rcode: int, size: int) -> Sequence[Exchange]:
        self.exchanges.append(Exchange(rcode, size))
        return self.exchanges[-1:]

    def keep(self, message: bytes, reply: Reply) -> bytes:
        self.offer(message, reply)
        return self.offer(message, reply)

    def get(self, message: bytes, now: float = 0.0) -> bytes | None:
        return self.shelf.get(message, now)

    def counted(self) -> int:
        self.cache.fold()
        return sum(sum(exchange.seen) for exchange in self.exchanges)


def answer(
    validity: Validity = UNTIL_RELOAD, name: bytes = b"\x07example\x03org\x00", tallies: tuple[Count, ...] = ()
) -> Reply:
    return Reply([address(name, FIRST, 30)], validity=validity, tallies=tallies)


def test_kept_at_the_second_asking_and_given_with_each_client_s_id() -> None:
    kept = Kept()
    octets = kept.offer(datagram(), Reply(rcode=Rcode.NXDOMAIN, validity=UNTIL_RELOAD))
    assert kept.get(datagram()) is None
    kept.offer(datagram(), Reply(rcode=Rcode.NXDOMAIN, validity=UNTIL_RELOAD))
    assert kept.get(datagram()) == octets
    assert kept.get(b"\xab\xcd" + datagram()[2:]) == b"\xab\xcd" + octets[2:]


@pytest.mark.parametrize(("rrtype", "at_once"), [(RRType.A, True), (RRType.AAAA, True), (RRType.TXT, False)])
def test_that_a_name_has_no_address_of_a_family_is_kept_at_once(rrtype: int, *, at_once: bool) -> None:
    kept = Kept()
    kept.offer(datagram(rrtype=rrtype), Reply(validity=UNTIL_RELOAD))
    assert (kept.get(datagram(rrtype=rrtype)) is not None) == at_once


def test_an_answer_is_kept_at_once_while_half_of_the_room_is_free() -> None:
    kept = Kept(most_entries=10)
    for number in range(5):
        kept.offer(datagram(f"{number}.example."), answer())
        assert kept.get(datagram(f"{number}.example.")) is not None
    kept.offer(datagram("5.example."), answer())
    assert kept.get(datagram("5.example.")) is None
    kept.offer(datagram("5.example."), answer())
    assert kept.get(datagram("5.example.")) is not None


PLAIN_OPT = with_opt(datagram(), opt(4096))


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        pytest.param(datagram(), answer(NEVER), id="never valid"),
        pytest.param(datagram(), answer(Validity(-math.inf, (Token(),))), id="valid for tokens, not for octets"),
        pytest.param(datagram("EXAMPLE.org."), answer(), id="letter case"),
        pytest.param(with_opt(datagram(), opt(options=option(10, bytes(8)))), answer(), id="a cookie"),
        pytest.param(datagram() + bytes(LONGEST_KEY), answer(), id="a long message"),
        pytest.param(
            PLAIN_OPT[:-11] + opt(65535)[:11],
            Reply([txt(b"\x07example\x03org\x00", "x" * 255, 0)] * 40, validity=UNTIL_RELOAD),
            id="a large reply",
        ),
    ],
)
def test_not_kept(message: bytes, reply: Reply) -> None:
    kept = Kept()
    kept.keep(message, reply)
    assert kept.get(message) is None
    assert len(kept.cache) == 0
    assert LARGEST_REPLY < 40 * 256


@pytest.mark.parametrize("message", [datagram(), PLAIN_OPT, datagram(flags=0), datagram(rrtype=28)], ids=repr)
def test_only_the_same_octets_are_the_same_query(message: bytes) -> None:
    kept = Kept()
    octets = kept.keep(message, answer())
    for other in (datagram(), PLAIN_OPT, datagram(flags=0), datagram(rrtype=28)):
        assert kept.get(other) == (octets if other == message else None)


def test_a_stale_token_ends_it_at_once_and_the_next_reply_takes_its_place() -> None:
    kept, first, second = Kept(), Token(), Token()
    kept.keep(datagram(), answer(Validity(tokens=(first, second))))
    assert kept.get(datagram()) is not None
    second.stale = True
    assert kept.get(datagram()) is None
    changed = Reply(rcode=Rcode.NXDOMAIN, validity=UNTIL_RELOAD)
    octets = kept.offer(datagram(), changed)
    assert kept.get(datagram()) == octets
    assert len(kept.cache) == 1


def test_until_is_the_first_moment_that_it_is_not_given() -> None:
    kept = Kept()
    kept.keep(datagram(), answer(Validity(until=10.0)))
    assert kept.get(datagram(), 9.999) is not None
    assert kept.get(datagram(), 10.0) is None


def test_each_sending_is_counted_once_by_everybody() -> None:
    kept, mine = Kept(), Count()
    kept.keep(datagram(), answer(tallies=(mine,)))
    kept.keep(PLAIN_OPT, answer(tallies=(mine,)))
    for _ in range(7):
        kept.get(datagram())
    for _ in range(4):
        kept.get(PLAIN_OPT)
    assert kept.counted() == mine.value == 11
    assert kept.counted() == mine.value == 11


def test_what_was_given_is_counted_when_an_entry_goes() -> None:
    kept, mine, token = Kept(most_entries=1), Count(), Token()
    kept.keep(datagram(), answer(Validity(tokens=(token,)), tallies=(mine,)))
    kept.get(datagram())
    token.stale = True
    kept.offer(datagram(), answer(tallies=(mine,)))  # replaced
    assert mine.value == 1
    kept.get(datagram())
    for number in range(3):  # pushed out
        kept.keep(datagram(f"{number}.example."), answer())
    assert mine.value == 2
    assert len(kept.cache) == 1


def test_a_reply_that_turns_is_sent_in_one_order_after_another() -> None:
    kept = Kept()
    kept.keep(datagram(), turning(*addresses(5)))
    sent = [kept.get(datagram()) for _ in range(20 * SENDINGS)]
    assert all(one != other for one, other in pairwise(sent))
    assert len(set(sent)) > 5 * 5
    assert kept.counted() == len(sent)


@pytest.mark.parametrize("count", [2, 3])
def test_the_first_that_is_given_is_not_what_the_client_before_was_sent(count: int) -> None:
    for _ in range(30):
        kept = Kept()
        sent = kept.offer(datagram(), turning(*addresses(count)))
        for _ in range(2):  # it is kept anew, as when its records have changed
            given = kept.get(datagram())
            assert given is not None
            assert given != sent
            sent = kept.offer(datagram(), turning(*addresses(count)))
        assert kept.get(datagram()) != sent


UNKEPT = {
    "composed for each": (
        [RR(wire("example.org."), RRType.MX, 1, 5, b"\0\1" + wire(f"mx{n}.test.")) for n in "ab"],
        b"",
    ),
    "cut where it may": (
        [one for n in range(40) for one in (*addresses(1), address(wire("example.org."), bytes(15) + bytes((n,)), 5))],
        b"",
    ),
}


@pytest.mark.parametrize("records", [addresses(2), addresses(90)], ids=["whole", "cut"])
def test_what_turns_as_octets_is_kept(records: list[RR]) -> None:
    kept = Kept()
    kept.keep(datagram(), turning(*records))
    assert kept.get(datagram()) is not None


@pytest.mark.parametrize("records", [row[0] for row in UNKEPT.values()], ids=UNKEPT)
def test_what_has_to_be_composed_for_each_order_is_not_kept(records: list[RR]) -> None:
    kept = Kept()
    kept.keep(datagram(), turning(*records))
    assert kept.get(datagram()) is None
    assert not len(kept.cache)


def test_two_that_share_a_place_are_both_kept_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come by turns, so that neither ever comes twice running."""
    monkeypatch.setattr("kubedns.server.wirecache.ONCE", 1)
    kept = Kept()
    messages = [datagram(f"{label}.example.org.") for label in "ab"]
    for _ in range(200):  # in vain once in 2 ** 100 times
        for message in messages:
            kept.offer(message, Reply(rcode=Rcode.NXDOMAIN, validity=UNTIL_RELOAD))
    assert all(kept.get(message) is not None for message in messages)


MISTAKEN = 8  # of 50,000 names; 0.8 are expected, and more than this once in ten million runs


def test_a_flood_fills_nothing_and_pushes_nothing_out() -> None:
    kept = Kept(most_entries=100)
    hot = [datagram(f"hot{number}.example.") for number in range(100)]
    for message in hot:
        kept.keep(message, answer())
    for number in range(50_000):
        kept.offer(datagram(f"{number}.flood.example."), answer())
    # By the bits of its hash one name in 65,536 seems to have come before: whose, each process draws anew.
    assert sum(kept.get(message) is None for message in hot) <= MISTAKEN
    assert len(kept.cache) == 100


def test_what_is_asked_stays_when_what_came_twice_needs_room() -> None:
    kept, chance = Kept(most_entries=100), random.Random(1)
    hot = [datagram(f"hot{number}.example.") for number in range(50)]
    for message in hot:
        kept.keep(message, answer())
    for number in range(2000):
        kept.keep(datagram(f"{number}.twice.example."), answer())
        for _ in range(10):
            message = chance.choice(hot)
            if kept.get(message) is None:
                kept.keep(message, answer())
    assert sum(kept.get(message) is not None for message in hot) >= 49
    assert len(kept.cache) <= 100


def test_octets_are_bounded_too() -> None:
    kept = Kept(most_octets=10_000)
    for number in range(200):
        kept.keep(datagram(f"{number}.example."), answer())
    assert kept.cache.octets <= 10_000
    assert kept.cache.octets == sum(one.size for one in kept.shelf.entries.values())
    assert 10 < len(kept.cache) == len(kept.shelf.entries) < 150


ZONE = wire("example.")
EMPTY = "nothing.example."


def denial(validity: Validity = UNTIL_RELOAD, parent: str = EMPTY) -> Reply:
    times = (7200, 1800, 86400, 30)
    authority = [soa(ZONE, ZONE, ZONE, 30, serial=1, times=times)]
    reply = Reply((), authority, rcode=Rcode.NXDOMAIN, validity=validity, suffix=ZONE)
    return reply.replaced(denies=wire(parent))


def test_a_denial_answers_for_all_names_right_below_the_parent() -> None:
    kept = Kept()
    for label in ("a", "b", "long-label"):
        kept.offer(datagram(f"{label}.{EMPTY}"), denial())
    for label in ("c", "Z", "other-long"):
        message = datagram(f"{label}.{EMPTY}", flags=RD)
        assert kept.get(message) == denial().octets(query(f"{label}.{EMPTY}"))
    kept.offer(datagram(f"2l.{EMPTY}"), denial())  # the first of its size
    assert kept.get(datagram(f"ab.{EMPTY}")) == denial().octets(query(f"ab.{EMPTY}"))
    assert len(kept.cache) == 1
    assert kept.counted() == 4


OTHERS = {
    "the parent itself": datagram(EMPTY),
    "a name two labels below": datagram(f"a.b.{EMPTY}"),
    "another type": datagram(f"c.{EMPTY}", 28),
    "other flags": datagram(f"c.{EMPTY}", flags=0),
    "EDNS": with_opt(datagram(f"c.{EMPTY}"), opt()),
    "another parent": datagram("c.something.example."),
    "a size not seen": datagram(f"cc.{EMPTY}"),
    "a pointer for a label": datagram(EMPTY)[:12] + b"\xc0\x0c\0\1\0\1",
    "a header alone": datagram(EMPTY)[:12],
    "less": b"",
    "the parent in capitals": datagram(f"c.{EMPTY.upper()}"),
}


@pytest.mark.parametrize("message", OTHERS.values(), ids=OTHERS)
def test_a_denial_answers_for_nothing_else(message: bytes) -> None:
    kept = Kept()
    for label in "ab":
        kept.offer(datagram(f"{label}.{EMPTY}"), denial())
    assert kept.get(datagram(f"c.{EMPTY}")) is not None
    assert kept.get(message) is None


@pytest.mark.parametrize(
    ("parent", "heeded", "why"),
    [
        (EMPTY, False, "a plugin of the chain does not heed it"),
        ("nothing.example.", True, ""),
        ("example.", True, "a zone that is apart"),
        ("x" * 63 + "." + "y" * 63 + "." + "z" * 63 + ".", True, "names that are too long"),
    ],
)
def test_a_denial_is_not_taken(parent: str, heeded: bool, why: str) -> None:
    kept = Kept()
    kept.denials = heeded
    kept.shelf.zones = [wire("."), wire("a.example.")]
    for label in "ab":
        kept.offer(datagram(f"{label}.{parent}"), denial(parent=parent))
    assert (kept.get(datagram(f"c.{parent}")) is None) == bool(why)


def test_a_denial_ends_with_its_token_and_the_next_one_takes_its_place() -> None:
    kept, token = Kept(), Token()
    for label in "ab":
        kept.offer(datagram(f"{label}.{EMPTY}"), denial(Validity(tokens=(token,))))
    assert kept.get(datagram(f"c.{EMPTY}")) is not None
    token.stale = True
    assert kept.get(datagram(f"c.{EMPTY}")) is None
    kept.offer(datagram(f"c.{EMPTY}"), denial())
    assert kept.get(datagram(f"d.{EMPTY}")) is not None
    assert kept.counted() == 2
    assert kept.cache.octets == sum(one.size for one in kept.shelf.below.values())


def test_denials_are_bounded_and_go_as_others_do() -> None:
    kept = Kept(most_entries=50)
    for number in range(200):
        for label in "ab":
            kept.offer(datagram(f"{label}.{number}.example."), denial(parent=f"{number}.example."))
        kept.get(datagram("c.0.example."))
    assert len(kept.cache) == len(kept.shelf.below) == 50
    assert kept.get(datagram("c.0.example.")) is not None


def test_a_denial_lasts_as_long_as_the_reply_that_lasts_longest() -> None:
    kept, token = Kept(), Token()
    for label, until in (("a", 5.0), ("b", 9.0), ("c", 7.0)):
        kept.offer(datagram(f"{label}.{EMPTY}"), denial(Validity(until, (token,))))
    assert len(kept.exchanges) == 1
    assert kept.get(datagram(f"d.{EMPTY}"), 8.9) is not None
    assert kept.get(datagram(f"d.{EMPTY}"), 9.0) is None


HOSTS = "hosts.example."


class Numbered:
    """Siblings: each name of digits has an address."""

    parent = wire(HOSTS)

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, float]] = []

    def answer(self, label: bytes, now: float) -> bytes | None:
        self.asked.append((label, now))
        if not label[1:].isdigit():
            return None
        return b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4\xc0\0\2" + bytes((int(label[1:]),))


def numbered(name: str, siblings: Numbered, validity: Validity = UNTIL_RELOAD) -> Reply:
    """Return the reply to one of those names as the long way gives it."""
    last = int(name.partition(".")[0])
    reply = Reply([address(wire(name), bytes((192, 0, 2, last)), 5)], validity=validity)
    reply.siblings = siblings
    return reply


@pytest.mark.parametrize("edns", [(), (opt(),), (opt(1232, 0x8000),)])
def test_siblings_answer_as_the_long_way_would(edns: tuple[bytes, ...]) -> None:
    kept, siblings = Kept(), Numbered()
    kept.offer(with_opt(datagram(f"1.{HOSTS}"), *edns), numbered(f"1.{HOSTS}", siblings))
    for last in ("1", "2", "30", "200"):
        message = with_opt(datagram(f"{last}.{HOSTS}", flags=RD), *edns)
        expected = numbered(f"{last}.{HOSTS}", siblings).octets(parse_query(message, UDP))
        assert kept.get(message, 7.0) == expected
        assert siblings.asked[-1] == (bytes((len(last), *last.encode())), 7.0)
    assert kept.get(with_opt(datagram(f"x.{HOSTS}"), *edns)) is None
    assert len(kept.cache) == 1
    assert kept.counted() == 4
    sizes = [exchange.size for exchange in kept.exchanges]
    assert sorted(set(sizes)) == [sizes[0], sizes[0] + 1, sizes[0] + 2]


ELSE = {
    "the parent itself": datagram(HOSTS),
    "two labels below": datagram(f"1.1.{HOSTS}"),
    "another type": datagram(f"2.{HOSTS}", 28),
    "other flags": datagram(f"2.{HOSTS}", flags=0),
    "EDNS": with_opt(datagram(f"2.{HOSTS}"), opt()),
    "the parent in capitals": datagram(f"2.{HOSTS.upper()}"),
}


@pytest.mark.parametrize("message", ELSE.values(), ids=ELSE)
def test_siblings_answer_nothing_else(message: bytes) -> None:
    kept = Kept()
    kept.offer(datagram(f"1.{HOSTS}"), numbered(f"1.{HOSTS}", Numbered()))
    assert kept.get(datagram(f"2.{HOSTS}")) is not None
    assert kept.get(message) is None


@pytest.mark.parametrize(
    ("zone", "heeded", "edns"),
    [("5.hosts.example.", True, ()), (".", False, ()), (".", True, (opt(4096, 0, option(10, b"8 octets")),))],
)
def test_siblings_are_not_taken(zone: str, heeded: bool, edns: tuple[bytes, ...]) -> None:
    """A zone that is apart, a plugin that does not heed them, options that make each query another."""
    kept = Kept()
    kept.shelf.zones, kept.denials = [wire("."), wire(zone)], heeded
    kept.offer(with_opt(datagram(f"1.{HOSTS}"), *edns), numbered(f"1.{HOSTS}", Numbered()))
    assert kept.get(with_opt(datagram(f"2.{HOSTS}"), *edns)) is None


def test_siblings_end_with_their_token_whatever_the_reply_s_end() -> None:
    kept, token = Kept(), Token()
    kept.offer(datagram(f"1.{HOSTS}"), numbered(f"1.{HOSTS}", Numbered(), Validity(3.0, (token,))))
    assert kept.get(datagram(f"2.{HOSTS}"), 4.0) is not None
    token.stale = True
    assert kept.get(datagram(f"2.{HOSTS}"), 5.0) is None
    kept.offer(datagram(f"1.{HOSTS}"), numbered(f"1.{HOSTS}", Numbered()))
    assert kept.get(datagram(f"2.{HOSTS}"), 5.0) is not None
    assert kept.counted() == 2
    assert kept.cache.octets == sum(one.size for one in kept.shelf.below.values())


def test_siblings_and_denials_take_each_other_s_place() -> None:
    """A parent that had nothing gets names, and loses them again."""
    kept = Kept()
    tokens = [Token(), Token(), Token()]
    for label in "12":
        kept.offer(datagram(f"{label}.{HOSTS}"), denial(Validity(tokens=(tokens[0],)), HOSTS))
    assert kept.get(datagram(f"3.{HOSTS}")) == denial(parent=HOSTS).octets(query(f"3.{HOSTS}"))
    tokens[0].stale = True
    kept.offer(datagram(f"1.{HOSTS}"), numbered(f"1.{HOSTS}", Numbered(), Validity(tokens=(tokens[1],))))
    assert kept.get(datagram(f"3.{HOSTS}")) == numbered(f"3.{HOSTS}", Numbered()).octets(query(f"3.{HOSTS}"))
    tokens[1].stale = True
    kept.offer(datagram(f"1.{HOSTS}"), denial(Validity(tokens=(tokens[2],)), HOSTS))
    assert kept.get(datagram(f"3.{HOSTS}")) == denial(parent=HOSTS).octets(query(f"3.{HOSTS}"))
    assert len(kept.cache) == 1
    assert kept.counted() == 3
    assert kept.cache.octets == sum(one.size for one in kept.shelf.below.values())


def counting_down(reply: Reply, stored: float, ttl: int, now: float) -> Reply:
    """Return a reply as a cache gives it at a moment: TTLs count down together."""
    left = ttl - int(now - stored)
    sections = [[rr._replace(ttl=left) for rr in section] for section in reply.sections]
    validity = Validity(stored + ttl - left + 1, reply.validity.tokens)
    made = Reply(*sections, rcode=reply.rcode, flags=reply.flags, validity=validity, suffix=reply.suffix)
    made.denies, made.expires = reply.denies, stored + ttl
    return made


@pytest.mark.parametrize("message", [datagram(), PLAIN_OPT], ids=["plain", "EDNS"])
def test_ttls_count_down_without_asking_again(message: bytes) -> None:
    kept, query = Kept(), parse_query(message, UDP)
    kept.keep(message, counting_down(answer(), 100.5, 30, 100.6))
    for now in (100.6, 101.4, 101.6, 105.0, 105.1, 130.4):
        assert kept.get(message, now) == counting_down(answer(), 100.5, 30, now).octets(query)
    assert kept.get(message, 130.5) is None
    assert kept.counted() == 6


@pytest.mark.parametrize("left", [1, 255, 256, 299])
def test_replies_that_turn_show_the_ttl_that_is_left(left: int) -> None:
    kept = Kept()
    kept.keep(datagram(), turning(*addresses(5), expires=400.0))
    kept.shelf.entries[datagram()[2:]].until = 101.0
    for _ in range(5 * SENDINGS):
        octets = kept.get(datagram(), 400.0 - left)
        assert octets is not None
        assert [rr.ttl for rr in parse_reply(octets).answer] == [left] * 5
    assert kept.get(datagram(), 400.0) is None


def test_what_counts_down_ends_with_its_token() -> None:
    kept, token = Kept(), Token()
    kept.keep(datagram(), counting_down(answer(Validity(tokens=(token,))), 100.0, 30, 100.0))
    assert kept.get(datagram(), 110.0) is not None
    token.stale = True
    assert kept.get(datagram(), 110.1) is None
    assert kept.get(datagram(), 112.0) is None


def test_a_denial_counts_down_from_the_first_reply_whatever_others_say(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, clock = Kept(), 100.0
    monkeypatch.setattr("kubedns.server.wirecache.monotonic", lambda: clock)
    for label, clock in (("a", 100.0), ("b", 100.0), ("ccc", 110.0)):
        kept.offer(datagram(f"{label}.{EMPTY}"), counting_down(denial(), clock, 30, clock))
    for now in (110.5, 129.5):
        for name in (f"d.{EMPTY}", f"eee.{EMPTY}"):
            assert kept.get(datagram(name), now) == counting_down(denial(), 100.0, 30, now).octets(query(name))
    assert kept.get(datagram(f"d.{EMPTY}"), 130.0) is None
    clock = 131.0
    kept.offer(datagram(f"f.{EMPTY}"), counting_down(denial(), clock, 30, clock))
    assert kept.get(datagram(f"g.{EMPTY}"), 131.5) is not None
    assert kept.cache.octets == sum(one.size for one in kept.shelf.below.values())


class Zone:
    """What has a SOA: its serial is 7 at first."""

    def __init__(self) -> None:
        self.serial, self.token = Serial(), Token()
        self.serial.become(7)

    def negative(self, denies: str = "", edns: int = 0) -> Reply:
        """Return NXDOMAIN as it is now, with so many octets of EDNS options behind it."""
        zone = wire("example.")
        validity = Validity(tokens=(self.token, self.serial.token))
        record = soa(zone, zone, wire("h.example."), 5, serial=self.serial.value, times=(1, 2, 3, 4))
        more = Edns(1232, 0, 0, ((65001, bytes(edns)),)) if edns else None
        made = Reply((), [record], rcode=Rcode.NXDOMAIN, validity=validity, suffix=zone, edns=more)
        made.denies, made.serial = wire(denies) if denies else b"", self.serial
        return made


@pytest.mark.parametrize("message", [datagram(), PLAIN_OPT], ids=["plain", "EDNS"])
@pytest.mark.parametrize("edns", [0, 30])
def test_a_serial_is_written_over(message: bytes, edns: int) -> None:
    kept, zone = Kept(), Zone()
    kept.keep(message, zone.negative(edns=edns))
    for serial in (7, 8, 8, 2**32 - 1, 2**32 + 5, 9):
        zone.serial.become(serial)
        assert kept.get(message) == zone.negative(edns=edns).octets(parse_query(message, UDP))
    zone.token.stale = True
    assert kept.get(message) is None
    zone.serial.become(10)
    assert kept.get(message) is None
    assert kept.counted() == 6


def test_ttls_and_a_serial_change_apart_and_together() -> None:
    kept, zone = Kept(), Zone()

    def reply(now: float) -> Reply:
        made = counting_down(zone.negative(), 100.0, 30, now)
        made.serial = zone.serial
        return made

    kept.keep(datagram(), reply(100.0))
    for now, serial in ((100.5, 8), (101.5, 8), (102.5, 9), (102.6, 9), (129.9, 11)):
        zone.serial.become(serial)
        assert kept.get(datagram(), now) == reply(now).octets(query())
    zone.serial.become(12)
    assert kept.get(datagram(), 130.0) is None


def test_a_reply_that_is_older_than_the_serial_is_not_given() -> None:
    kept, zone = Kept(), Zone()
    old = zone.negative()
    zone.serial.become(8)
    kept.keep(datagram(), old)
    assert kept.get(datagram()) is None


def test_a_reply_cut_short_of_its_soa_ends_with_the_serial() -> None:
    kept, zone = Kept(), Zone()
    reply = zone.negative(edns=460)  # the option alone fills the datagram
    message = with_opt(datagram(), opt(512))
    kept.keep(message, reply)
    assert reply.octets(parse_query(message, UDP))[2] & 2
    assert kept.get(message) is not None
    zone.serial.become(8)
    assert kept.get(message) is None


def test_a_denial_has_the_serial_of_now_for_names_of_every_size() -> None:
    kept, zone = Kept(), Zone()
    for label in ("a", "b"):
        kept.offer(datagram(f"{label}.{EMPTY}"), zone.negative(EMPTY))
    zone.serial.become(8)
    kept.offer(datagram(f"ccc.{EMPTY}"), zone.negative(EMPTY))  # of another size: the first are older
    for serial in (8, 9, 9):
        zone.serial.become(serial)
        for label in ("d", "eee"):
            name = f"{label}.{EMPTY}"
            assert kept.get(datagram(name)) == zone.negative(EMPTY).octets(query(name))
    zone.token.stale = True
    assert kept.get(datagram(f"d.{EMPTY}")) is None
    assert kept.cache.octets == sum(one.size for one in kept.shelf.below.values())
