"""multisocket: how many, and what can't be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from kubedns.corefile.errors import CorefileError
from kubedns.plugin.contract import Role, ServerBlock, Settings
from plugins.multisocket import processors, setup
from tests.loading import load
from tests.plugins.helpers import directive, placed

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = ServerBlock(zones=(".",))


@pytest.mark.parametrize("number", [1, 2, 1024])
def test_a_number(number: int) -> None:
    assert setup(directive(f"multisocket {number}"), BLOCK) == Settings(sockets=number)


@pytest.mark.parametrize(
    ("text", "said", "place"),
    [
        ("multisocket 0", "num sockets can not be zero or negative: 0", "2:13"),
        ("multisocket -3", "num sockets can not be zero or negative: -3", "2:13"),
        ("multisocket 1025", "num sockets exceeds maximum (1024): 1025", "2:13"),
        ("multisocket x", 'invalid num sockets: strconv.Atoi: parsing "x": invalid syntax', "2:13"),
        (
            "multisocket 1 2",
            "Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after '2'",
            "2:15",
        ),
        (
            "multisocket 1\nmultisocket 2",
            "Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after 'multisocket'",
            "3:1",
        ),
        ("multisocket {\n}", "Corefile:2 - Error during parsing: Unexpected token '{', expecting argument", "2:13"),
    ],
)
def test_what_is_no_number_of_sockets(text: str, said: str, place: str) -> None:
    with pytest.raises(CorefileError) as caught:
        setup(directive(text), BLOCK)
    assert str(caught.value) == said
    assert placed(caught.value) == place


@pytest.mark.parametrize(
    ("quota", "most"),
    [
        ("max 100000", None),
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("1000 100000", 1),
        ("9999900000 100000", None),
        ("nonsense", None),
        (None, None),
    ],
)
def test_without_a_number_it_is_that_of_processors(quota: str | None, most: int | None, tmp_path: Path) -> None:
    allowed = len(os.sched_getaffinity(0))
    path = tmp_path / "cpu.max"
    if quota is not None:
        path.write_text(f"{quota}\n")
    assert processors(path) == (allowed if most is None else min(most, allowed))
    chosen = setup(directive("multisocket"), BLOCK).sockets
    assert chosen is not None
    assert 1 <= chosen <= allowed


@pytest.mark.parametrize(
    ("first", "second", "role", "sockets"),
    [
        ("", "", Role.WHOLE, 1),
        ("multisocket 1", "", Role.WHOLE, 1),
        ("multisocket 2", "", Role.SUPERVISOR, 2),
        ("multisocket 2", "multisocket 3", Role.SUPERVISOR, 3),
        ("multisocket 1", "multisocket 3", Role.SUPERVISOR, 3),
    ],
)
def test_the_largest_number_of_a_corefile_counts(first: str, second: str, role: Role, sockets: int) -> None:
    configuration = load(f"a.org {{\n{first}\nhealth\nwhoami\n}}\nb.org {{\n{second}\nwhoami\n}}\n")
    assert (configuration.role, configuration.sockets) == (role, sockets)
    kinds = [type(part).__name__ for part in configuration.parts]
    assert kinds.count("Health") == 1
    assert kinds.count("Whoami") == (0 if role is Role.SUPERVISOR else 2)
