import math
from dataclasses import dataclass

import pytest

from kubedns.wire.validity import NEVER, UNTIL_RELOAD, Validity


@dataclass(eq=False)
class Fact:
    stale: bool = False


def test_holds_until_its_deadline() -> None:
    assert Validity(10.0).holds(9.9)
    assert not Validity(10.0).holds(10.0)


def test_holds_while_every_token_does() -> None:
    first, second = Fact(), Fact()
    validity = Validity(tokens=(first, second))
    assert validity.holds(1e9)
    second.stale = True
    assert not validity.holds(0.0)


@pytest.mark.parametrize("now", [-1e9, 0.0, 1e12])
def test_extremes(now: float) -> None:
    assert UNTIL_RELOAD.holds(now)
    assert not NEVER.holds(now)


def test_joined_is_as_short_as_the_shorter() -> None:
    first, second = Fact(), Fact()
    joined = Validity(5.0, (first, second)).joined(Validity(7.0, (second,)))
    assert joined == Validity(5.0, (first, second))
    assert Validity(7.0).joined(Validity(5.0)).until == 5.0
    assert UNTIL_RELOAD.joined(UNTIL_RELOAD) == UNTIL_RELOAD
    assert UNTIL_RELOAD.joined(NEVER).until == -math.inf
