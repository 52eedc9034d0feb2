from dataclasses import dataclass

import pytest

from kubedns.answers.table import Answers, Table


@dataclass(eq=False)
class Fact:
    stale: bool = False


def owner(number: int) -> bytes:
    return b"\4" + b"%04d" % number + b"\0"


def test_gives_back_what_was_put() -> None:
    table = Table()
    answers = Answers(Fact())
    table.put(owner(1), answers)
    assert table.get(owner(1)) is answers
    assert table.get(owner(2)) is None


def test_drops_what_is_stale() -> None:
    table = Table()
    fact = Fact()
    table.put(owner(1), Answers(fact))
    fact.stale = True
    assert table.get(owner(1)) is None
    assert len(table) == 0


def test_replaces() -> None:
    table = Table(4)
    first, second = Answers(Fact()), Answers(Fact())
    table.put(owner(1), first)
    table.put(owner(2), first)
    table.put(owner(1), second)
    assert table.get(owner(1)) is second
    assert table.get(owner(2)) is first
    assert len(table) == 2


@pytest.mark.parametrize("most", [2, 8, 9])
def test_keeps_no_more_than_its_bound_and_half_of_it_at_least(most: int) -> None:
    table = Table(most)
    for number in range(10 * most):
        table.put(owner(number), Answers(Fact()))
        assert len(table) <= most
    latest = range(10 * most - most // 2, 10 * most)
    assert all(table.get(owner(number)) for number in latest)


def test_what_is_asked_for_outlives_a_flood() -> None:
    table = Table(8)
    hot = Answers(Fact())
    table.put(owner(0), hot)
    for number in range(1, 1000):
        table.put(owner(number), Answers(Fact()))
        if number % 4 == 0:
            assert table.get(owner(0)) is hot
    assert table.get(owner(1)) is None


def test_drops_what_became_stale_in_the_old_generation() -> None:
    table, fact = Table(4), Fact()
    table.put(owner(0), Answers(fact))
    for number in range(1, 4):
        table.put(owner(number), Answers(Fact()))
    fact.stale = True
    assert table.get(owner(0)) is None
    assert len(table) <= 3


def test_what_was_replaced_does_not_come_back() -> None:
    table, fact = Table(4), Fact()
    table.put(owner(0), Answers(Fact()))
    for number in range(1, 3):
        table.put(owner(number), Answers(Fact()))
    table.put(owner(0), Answers(fact))
    fact.stale = True
    assert table.get(owner(0)) is None
    assert table.get(owner(0)) is None


def test_answers_by_type_tell_nodata_from_unknown() -> None:
    answers = Answers(Fact())
    answers.replies[28] = None
    assert 28 in answers.replies
    assert 1 not in answers.replies
