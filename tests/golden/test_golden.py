"""Replies as CoreDNS 1.14.7 recorded them, over UDP and TCP."""

from pathlib import Path

import pytest

from tests.golden.ask import ask_scenario, report

HERE = Path(__file__).parent
SCENARIOS = sorted(path.parent for path in HERE.glob("*/Corefile"))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_every_reply_is_as_recorded(scenario: Path) -> None:
    found = ask_scenario(scenario, HERE / "cluster.yaml")
    assert not found, f"{len(found)} replies differ:\n{report(found)}"
