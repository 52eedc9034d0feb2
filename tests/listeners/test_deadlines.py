"""The wheel of deadlines: nothing early, nothing more than two ticks late, whatever is put off or brought forward."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from kubedns.listeners.deadlines import Wheel

TICK = 0.25


@dataclass(eq=False)
class Item:
    deadline: float
    tick: int = 0


def test_a_deadline_is_met_within_two_ticks() -> None:
    wheel: Wheel[Item] = Wheel(TICK, 100.0)
    items = [Item(100.0 + i / 10) for i in range(50)]
    for item in items:
        wheel.add(item)
    now, met = 100.0, 0
    while met < len(items):
        now += TICK
        for item in wheel.expired(now):
            assert item.deadline <= now <= item.deadline + 2 * TICK
            met += 1


def test_what_is_put_off_comes_later_and_what_is_brought_forward_sooner() -> None:
    wheel: Wheel[Item] = Wheel(TICK, 0.0)
    later, sooner, gone = Item(1.0), Item(9.0), Item(1.0)
    for item in (later, sooner, gone):
        wheel.add(item)
    later.deadline = 5.0
    wheel.move(sooner, 2.0)
    wheel.discard(gone)
    assert wheel.expired(1.5) == []
    assert wheel.expired(2.5) == [sooner]
    assert wheel.expired(4.9) == []
    assert wheel.expired(5.5) == [later]


def test_a_deadline_in_the_past_is_met_next() -> None:
    wheel: Wheel[Item] = Wheel(TICK, 100.0)
    assert wheel.expired(110.0) == []
    item = Item(50.0)
    wheel.add(item)
    assert wheel.expired(110.5) == [item]


def test_soonest_looks_at_few_and_puts_back_what_was_put_off() -> None:
    wheel: Wheel[Item] = Wheel(TICK, 0.0)
    items = [Item(float(i)) for i in range(1, 9)]
    for item in items:
        wheel.add(item)
    items[0].deadline = 100.0
    assert list(wheel.soonest(3)) == items[1:3]
    assert list(wheel.soonest(3)) == items[1:4]
    for item in items:
        item.deadline += 50.0
    assert list(wheel.soonest(100)) == [*items[1:], items[0]]


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from(["add", "off", "move", "discard", "pass"]), st.floats(0.0, 20.0)),
        max_size=60,
    )
)
def test_whatever_happens_all_that_is_due_is_found_once(steps: list[tuple[int, str, float]]) -> None:
    wheel: Wheel[Item] = Wheel(TICK, 0.0)
    items: dict[int, Item] = {}
    now = 0.0
    for which, step, seconds in steps:
        item = items.get(which)
        if step == "add" and item is None:
            items[which] = item = Item(now + seconds)
            wheel.add(item)
        elif step == "off" and item is not None:
            item.deadline = max(item.deadline, now + seconds)
        elif step == "move" and item is not None:
            wheel.move(item, now + seconds)
        elif step == "discard" and item is not None:
            wheel.discard(items.pop(which))
        elif step == "pass":
            now += seconds
            expired = wheel.expired(now)
            assert len(set(map(id, expired))) == len(expired)
            assert all(item.deadline <= now for item in expired)
            items = {key: item for key, item in items.items() if item not in expired}
            assert all(item.deadline > now - 2 * TICK for item in items.values())
    assert {id(item) for item in wheel.expired(now + 1000)} == {id(item) for item in items.values()}
