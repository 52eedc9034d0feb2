"""The same replies where the cluster comes from an API server instead of manifests."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.fakes.apiserver import APIServer
from tests.golden.ask import ask_scenario, report
from tests.golden.test_golden import HERE

if TYPE_CHECKING:
    from pathlib import Path


def with_kubeconfig(corefile: str, kubeconfig: Path) -> str:
    """Return a Corefile whose kubernetes directives read the API server of a kubeconfig."""
    lines = []
    for line in corefile.splitlines():
        lines.append(line)
        if line.lstrip().startswith("kubernetes"):
            assert line.rstrip().endswith("{")
            lines.append(f"        kubeconfig {kubeconfig}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming list", "paged list"])
def test_every_reply_is_as_recorded(tmp_path: Path, *, streaming: bool) -> None:
    recorded = HERE / "kubernetes-insecure"
    scenario = tmp_path / "scenario"
    scenario.mkdir()
    shutil.copy(recorded / "replies.jsonl", scenario)
    with APIServer(tmp_path / "api", streaming_lists=streaming) as api:
        api.put(*yaml.safe_load((HERE / "cluster.yaml").read_text())["items"])
        text = (recorded / "Corefile").read_text()
        (scenario / "Corefile").write_text(with_kubeconfig(text, api.kubeconfig(tmp_path / "kubeconfig")))
        found = ask_scenario(scenario, None)
    assert not found, f"{len(found)} replies differ:\n{report(found)}"
