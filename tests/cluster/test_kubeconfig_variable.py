"""The tests that any API server must pass, pointed at one by KUBECONFIG, as one would at a real cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.loading import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.apiserver import APIServer


def test_kubeconfig_points_at_another_api_server(tmp_path: Path, api: APIServer) -> None:
    environment = {**os.environ, "KUBECONFIG": str(api.kubeconfig(tmp_path / "kubeconfig", admin=True))}
    words = ["-q", "-p", "no:cacheprovider", "-k", "KUBECONFIG", "tests/cluster/test_any_api_server.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=ROOT, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout
    kinds = {(request.verb, request.resource) for request in api.requests() if request.verb in {"create", "delete"}}
    assert {("create", "namespaces"), ("create", "pods"), ("delete", "namespaces")} <= kinds
