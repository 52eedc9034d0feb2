"""What is kept is bounded, in number and in octets, and what is asked for often stays."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from kubedns.wire.packed import pack, read_packed
from kubedns.wire.query import Query
from kubedns.wire.reply import Reply
from plugins.cache.store import OCTETS_EACH, Entry, Shelf
from tests.plugins.cache.caching import SOA, Caching, ask, message
from tests.plugins.helpers import run

A = "NOERROR / @ 60 A 192.0.2.1"


NOTHING = pack(Reply(), ask())


def entry(key: bytes) -> Entry:
    return Entry(key, "success", NOTHING, 0.0, 60)


def test_no_more_entries_than_that() -> None:
    shelf = Shelf(100)
    gone = sum(shelf.put(entry(b"%d" % number), 16) for number in range(1000))
    assert (len(shelf), gone) == (100, 900)
    assert [number for number in range(1000) if shelf.entries.get(b"%d" % number)] == list(range(900, 1000))


def test_no_more_octets_than_that() -> None:
    shelf = Shelf(100)
    gone = sum(shelf.put(entry(b"%d" % number), 20_000) for number in range(50))
    assert shelf.octets <= 100 * OCTETS_EACH
    assert (len(shelf), gone) == (4, 46)


def test_one_that_is_larger_than_all_may_be() -> None:
    shelf = Shelf(10)
    shelf.put(entry(b"small"), 10)
    assert shelf.put(entry(b"large"), 65_000) == 1
    assert shelf.entries.get(b"large") is not None
    assert shelf.put(entry(b"small"), 10) == 1
    assert (len(shelf), shelf.entries.get(b"large")) == (1, None)


def test_what_is_asked_for_stays() -> None:
    shelf = Shelf(100)
    hot = [entry(b"hot%d" % number) for number in range(50)]
    for one in hot:
        shelf.put(one, 16)
    for number in range(5000):
        for one in hot:
            one.used = True
        shelf.put(entry(b"%d" % number), 16)
    assert [one for one in hot if shelf.entries.get(one.key) is not one] == []


def test_all_in_use() -> None:
    """One goes in the end, and finding it takes no time to speak of."""
    shelf = Shelf(1000)
    for number in range(2000):
        one = entry(b"%d" % number)
        one.used = True
        shelf.put(one, 16)
    assert len(shelf) == 1000


@given(
    st.lists(st.tuples(st.sampled_from("pppr"), st.integers(0, 9), st.integers(0, 4000), st.booleans()), max_size=200)
)
def test_octets_are_those_of_its_entries(steps: list[tuple[str, int, int, bool]]) -> None:
    shelf = Shelf(4)
    for what, number, octets, used in steps:
        key = b"%d" % number
        if what == "r":
            shelf.remove(key)
            continue
        one = entry(key)
        one.used = used
        shelf.put(one, octets)
        assert shelf.entries.get(key) is one
        held = [other for other in (shelf.entries.get(b"%d" % each) for each in range(10)) if other]
        assert shelf.octets == sum(other.size for other in held)
        assert len(held) == len(shelf) <= 4
        assert shelf.octets <= 4 * OCTETS_EACH or len(held) == 1


def test_replaced_over_and_over() -> None:
    """What has been replaced is not held: neither once each, nor again and again."""
    shelf = Shelf(1000)
    for number in range(1000):
        shelf.put(entry(b"%d" % number), 16)
    tracemalloc.start()
    for number in range(1000):
        shelf.put(entry(b"%d" % number), 16)
    once = tracemalloc.get_traced_memory()[0]
    for number in range(19_000):
        shelf.put(entry(b"%d" % (number % 1000)), 16)
    grown = tracemalloc.get_traced_memory()[0] - once
    tracemalloc.stop()
    assert once < 1000 * 300  # an entry and its key
    assert grown < 10_000


def test_memory_is_flat_however_many_names_come() -> None:
    """Twice the capacity of both kinds fills them; 100,000 names take as much (measured: 13.5 MB by default)."""

    async def told() -> None:
        caching = Caching("cache {\n success 1024\n denial 1024\n}", "")
        query = ask("n00000.example.org.")

        async def backend(asked: Query) -> Reply:
            number = int(asked.name[2:7])
            octets = texts[number % 2].replace(query.name, asked.name)
            return read_packed(octets, asked)

        texts = [message(query, text).octets(query) for text in (A, "NXDOMAIN / +" + SOA.format(60))]
        tracemalloc.start()
        sizes = []
        for number in range(20_000):
            question = query.question.replace(b"n00000", b"n%05d" % number)
            await caching.cache.resolve(Query(query.id, query.flags, question, query.client), backend)
            if number % 4000 == 3999:
                sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert max(sizes) < 2_500_000
        assert max(sizes[1:]) - min(sizes[1:]) < 50_000
        assert len(caching.cache.store.success) == len(caching.cache.store.denial) == 1024
        evicted = caching.counters.evictions
        assert evicted["success"].value == evicted["denial"].value == 10_000 - 1024

    run(told())
