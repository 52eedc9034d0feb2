import asyncio

import pytest

from kubedns.cluster.backoff import Backoff, Timings
from kubedns.cluster.listing import Pace


def test_waits_double_up_to_a_bound_and_start_again_after_health() -> None:
    backoff = Backoff(Timings())
    now = 1000.0
    for bound in (0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0):
        waited = backoff.next(now)
        assert bound / 2 <= waited <= bound
        now += waited
    assert backoff.next(now + 60) > 1.6
    assert backoff.next(now + 400) <= 0.8


def test_clients_spread_out() -> None:
    waits = {round(Backoff(Timings()).next(0.0), 3) for _ in range(100)}
    assert len(waits) > 50


def test_a_back_off_for_days_stays_bounded() -> None:
    backoff = Backoff(Timings())
    assert max(backoff.next(float(second)) for second in range(10_000)) == pytest.approx(30, abs=0.5)


def test_a_longest_wait_of_its_own() -> None:
    backoff = Backoff(Timings())
    assert max(backoff.next(float(second), 5.0) for second in range(100)) == pytest.approx(5, abs=0.5)


def test_stretches_of_one_turn_come_one_at_a_time_and_all_get_theirs() -> None:
    async def scenario() -> None:
        turn, at_work, turns = asyncio.Lock(), 0, list[str]()

        async def work(name: str) -> None:
            nonlocal at_work
            async with Pace(0.001, turn) as pace:
                for _ in range(5):
                    at_work += 1
                    assert at_work == 1
                    turns.append(name)
                    while not pace.over:
                        pass
                    at_work -= 1
                    await pace.pause()
                    assert not pace.over

        await asyncio.gather(*(work(name) for name in "abc"))
        assert turns == list("abc" * 5)

    asyncio.run(scenario())


def test_who_is_cancelled_leaves_the_turn_to_others() -> None:
    async def scenario() -> None:
        turn = asyncio.Lock()

        async def work() -> None:
            async with Pace(0.0, turn) as pace:
                while True:
                    await pace.pause()

        for sleeps in range(6):
            tasks = [asyncio.create_task(work()) for _ in range(3)]
            for _ in range(sleeps):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert not turn.locked()

    asyncio.run(scenario())
