"""reload: two durations, checked in CoreDNS's words."""

from __future__ import annotations

import pytest

from kubedns.corefile.errors import CorefileError
from kubedns.plugin.contract import ServerBlock, Settings, Watching
from plugins import reload
from tests.loading import load
from tests.plugins.helpers import directive, placed

BLOCK = ServerBlock((".",))

TAKEN = {
    "reload": (30, 15),
    "reload 10s": (10, 5),
    "reload 2s 0s": (2, 0),
    "reload 1m 1s": (60, 1),
    "reload 1m 45s": (60, 30),
    "reload 1h30m 10m": (5400, 600),
    "reload 30s\nreload foo": (30, 15),
    "reload 5s 1s {\n    nonsense\n}": (5, 1),
}


@pytest.mark.parametrize(("text", "expected"), TAKEN.items(), ids=TAKEN)
def test_interval_and_jitter(text: str, expected: tuple[float, float]) -> None:
    assert reload.setup(directive(text), BLOCK) == Settings(watching=Watching(*expected))


REFUSED = {
    "reload 1s": ("interval value must be greater or equal to 2s", "2:8"),
    "reload -3s": ("interval value must be greater or equal to 2s", "2:8"),
    "reload 10s 0.5s": ("jitter value must be 0 or greater or equal to 1s", "2:12"),
    "reload 10s -1s": ("jitter value must be 0 or greater or equal to 1s", "2:12"),
    "reload foo": ('time: invalid duration "foo"', "2:8"),
    "reload 10": ('time: missing unit in duration "10"', "2:8"),
    "reload 10s x": ('time: invalid duration "x"', "2:12"),
    "reload 10s 5s foo": (
        "Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after 'foo'",
        "2:15",
    ),
}


@pytest.mark.parametrize(("text", "message", "place"), [(text, *row) for text, row in REFUSED.items()], ids=REFUSED)
def test_refused(text: str, message: str, place: str) -> None:
    with pytest.raises(CorefileError) as raised:
        reload.setup(directive(text), BLOCK)
    assert str(raised.value) == message
    assert placed(raised.value) == place


def test_of_several_blocks_the_last_one_counts() -> None:
    text = (
        "a.org {\n    reload 10s 0s\n    whoami\n}\nb.org {\n    reload 20s 0s\n    whoami\n}\nc.org {\n    whoami\n}\n"
    )
    assert load(text).watching == Watching(20, 0)
    assert load("a.org {\n    whoami\n}\n").watching is None


def test_it_is_no_link_of_the_chain() -> None:
    assert [name for name, _ in load("a.org {\n    reload\n    whoami\n}\n").plugins] == ["whoami"]
