"""kubedns.cluster.places: it is a dict, whatever comes and goes."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedns.cluster.places import FEW, MANY, ROW, AddressMap

addresses = st.builds(
    lambda at, last: ip_address(at).packed[:-1] + bytes([last]),
    st.sampled_from(["10.0.0.0", "10.0.1.0", "fd00::", "::ffff:10.0.0.0"]),
    st.integers(0, ROW - 1),
)


@given(st.lists(st.tuples(st.lists(addresses, max_size=ROW), st.booleans()), max_size=12))
def test_it_holds_what_a_dict_holds(steps: list[tuple[list[bytes], bool]]) -> None:
    found, expected = AddressMap[int](), dict[bytes, int]()
    for number, (touched, put) in enumerate(steps):
        for address in touched:
            if put:
                found[address] = expected[address] = number
            elif address in expected:
                del found[address]
                del expected[address]
        for address in {address for others, _ in steps for address in others}:
            assert found.get(address) == expected.get(address)
            assert (address in found) == (address in expected)


@pytest.mark.parametrize("full", [1, MANY - 1, MANY, MANY + 1, ROW])
def test_a_row_fills_and_empties(full: int) -> None:
    found = AddressMap[int]()
    for last in range(full):
        found[bytes([10, 0, 0, last])] = last
    assert [found.get(bytes([10, 0, 0, last])) for last in range(full)] == list(range(full))
    for last in range(full):
        del found[bytes([10, 0, 0, last])]
        left = [one for one in range(full) if bytes([10, 0, 0, one]) in found]
        assert left == list(range(last + 1, full))
    assert not found._rows  # noqa: SLF001 - nothing is left behind


def test_an_endpoint_that_comes_and_goes_at_a_limit_does_not_build_its_row_anew_each_time() -> None:
    assert FEW < MANY - 1


@pytest.mark.parametrize("held", [0, 5, MANY])
def test_what_is_not_there_is_not_dropped(held: int) -> None:
    found = AddressMap[int]()
    for last in range(held):
        found[bytes([10, 0, 0, last])] = last
    with pytest.raises(KeyError):
        del found[bytes([10, 0, 0, 200])]
