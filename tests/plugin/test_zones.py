import pytest

from kubedns.plugin.zones import Fallthrough, Zones, wire_zones
from kubedns.wire.name import name

LONGEST = {
    "apex": (["example.org."], "example.org.", "example.org."),
    "below": (["example.org."], "a.b.example.org.", "example.org."),
    "longest": (["org.", "example.org.", "."], "a.example.org.", "example.org."),
    "in between": (["org.", "a.example.org."], "example.org.", "org."),
    "root": (["example.org.", "."], "example.net.", "."),
    "root for itself": (["."], ".", "."),
    "label that only ends in the zone": (["example.org."], "notexample.org.", None),
    "above": (["example.org."], "org.", None),
    "root without root": (["example.org."], ".", None),
    "none": ([], "example.org.", None),
}


@pytest.mark.parametrize(("zones", "asked", "expected"), LONGEST.values(), ids=LONGEST)
def test_longest(zones: list[str], asked: str, expected: str | None) -> None:
    assert Zones((name(zone), zone) for zone in zones).longest(name(asked)) == expected


def test_exact() -> None:
    zones = Zones([(name("example.org."), 1), (b"\0", 2)])
    assert zones.exact(name("example.org.")) == 1
    assert zones.exact(name("a.example.org.")) is None
    assert zones.exact(b"\0") == 2


def test_of_equal_zones_the_first_counts() -> None:
    zones = Zones([(name("example.org."), 1), (name("Example.ORG"), 2)])
    assert zones.longest(name("a.example.org.")) == 1


FALLTHROUGH = {
    "nothing configured": ([], "a.example.org.", False),
    "all": (["."], "a.example.org.", True),
    "all, the root too": (["."], ".", True),
    "inside": (["example.net.", "example.org."], "a.example.org.", True),
    "apex": (["example.org."], "example.org.", True),
    "outside": (["example.org."], "a.example.net.", False),
    "label that only ends in the zone": (["example.org."], "notexample.org.", False),
    "zone in other letters": (["Example.ORG."], "a.example.org.", True),
}


@pytest.mark.parametrize(("zones", "asked", "expected"), FALLTHROUGH.values(), ids=FALLTHROUGH)
def test_fallthrough(zones: list[str], asked: str, expected: bool) -> None:
    assert (name(asked) in Fallthrough(wire_zones(zones))) is expected
