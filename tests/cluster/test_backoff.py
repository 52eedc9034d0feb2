import pytest

from kubedns.cluster.backoff import Backoff, Timings


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
