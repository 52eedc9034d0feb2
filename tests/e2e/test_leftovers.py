"""Whatever ends a run, nothing of it is left on the machine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.spaces import environment
from tests.end_to_end.server import PATIENCE

LINKS = {"wire", "outside", "cni0", "flannel.1", *(f"node-{number}" for number in range(12, 16))}


def namespaces() -> set[str]:
    """Return the namespaces that any process is in."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/ns/*"):
        try:
            found.add(str(link.readlink()))
        except OSError:  # it has ended meanwhile
            continue
    return found


def printed(*command: str) -> str:
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout


@pytest.mark.usefixtures("_able")
@pytest.mark.parametrize("how", ["raise", "wait"], ids=["that fails", "that is killed"])
def test_a_run_leaves_nothing(how: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.e2e.midway", str(tmp_path), how]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if how == "wait":
            process.kill()
        _, complaint = process.communicate(timeout=PATIENCE)
    assert process.returncode == (1 if how == "raise" else -9), complaint.decode()
    told = json.loads(line)
    assert len(told["namespaces"]) > 20
    end = time.monotonic() + PATIENCE
    left: set[str] = set()
    while time.monotonic() < end:
        left = namespaces().intersection(told["namespaces"])
        if not left:
            break
        time.sleep(0.05)
    assert left == set()
    assert [pid for pid in told["pids"] if Path(f"/proc/{pid}").exists()] == []
    assert {
        line.split()[1].split("@")[0].rstrip(":") for line in printed("ip", "-o", "link").splitlines()
    } & LINKS == set()
    assert "KUBE-" not in printed("iptables-save")
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
