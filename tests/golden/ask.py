"""python -m tests.golden.ask --scenario DIR [--cluster FILE]: what does the server say, and what was recorded?

A scenario is a folder with a Corefile and replies.jsonl; the cluster is a file of manifests, if it has one.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tests.end_to_end.client import Asked, ask, ask_all, ask_tcp
from tests.end_to_end.server import Ports, Server
from tests.golden.compare import Row, differences, question, shown
from tests.golden.upstream import nsd

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = (sys.executable, "-m", "tests.golden.serve")
BATCH = 4096  # questions, each with an ID of its own
UPSTREAM_ZONE = Path(__file__).parent / "upstream" / "example.com.zone"
CACHE = re.compile(r"^\s*cache\b", re.MULTILINE)
PACE = 0.001  # seconds a question: the recorder took 0.8 ms
SLOW = 20.0  # seconds for all of a scenario whose entries live for 30
TRIES = 3
SHOWN = 20  # mismatches told in full


def read_rows(scenario: Path) -> list[Row]:
    with (scenario / "replies.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def ask_scenario(scenario: Path, cluster: Path | None) -> list[str]:
    """Start a server as the scenario says, ask everything, and return the mismatches, each ready to read.

    Everything is asked twice, the second time in reverse: what is kept from one question must not show in another.
    With `cache` in the Corefile replies depend on what was asked before, so that all is asked in its order, once; on a
    machine so busy that what is kept runs out meanwhile, again.
    """
    corefile = (scenario / "Corefile").read_text()
    found: list[str] = []
    for _ in range(TRIES):
        start = time.monotonic()
        found = _ask_scenario(scenario, cluster, corefile)
        if not found or not CACHE.search(corefile) or time.monotonic() - start < SLOW:
            break
    return found


def _ask_scenario(scenario: Path, cluster: Path | None, corefile: str) -> list[str]:
    rows = read_rows(scenario)
    with ExitStack() as undo:
        ports = undo.enter_context(Ports())
        port = ports.take()
        environment = {"PORT": str(port), "NS1": "prod", "NS2": "staging"}
        environment |= {name: str(ports.take()) for name in ("HEALTH", "READY", "METRICS")}
        if "{$UPSTREAM}" in corefile:
            environment["UPSTREAM"] = undo.enter_context(nsd(UPSTREAM_ZONE, ports.take()))
        arguments = ["-conf", "Corefile", *(("--manifests", str(cluster.absolute())) if cluster else ())]
        server = undo.enter_context(Server(arguments, scenario, environment, COMMAND))
        server.wait_until_started()
        if CACHE.search(corefile):
            rows = [row for row in rows if not row.get("cd")]
            return mismatches(rows, ask_in_order(port, rows), cached=True)
        found = mismatches(rows, ask_rows(port, rows))
        return found or mismatches(rows, ask_rows(port, rows[::-1])[::-1])


def ask_in_order(port: int, rows: Sequence[Row]) -> list[bytes | None]:
    """Ask one question at a time, no faster than the recorder did: by then TTLs are as low as recorded, or lower."""
    replies = []
    start = time.monotonic()
    for number, row in enumerate(rows):
        time.sleep(max(0.0, start + number * PACE - time.monotonic()))
        replies.append((ask_tcp if row.get("tcp") else ask)(port, question(row)))
    return replies


def ask_rows(port: int, rows: Sequence[Row]) -> list[bytes | None]:
    replies: list[bytes | None] = []
    for start in range(0, len(rows), BATCH):
        batch = [Asked(question(row), row.get("tcp", False)) for row in rows[start : start + BATCH]]
        replies += ask_all(port, batch)
    return replies


def mismatches(rows: Sequence[Row], replies: Sequence[bytes | None], *, cached: bool = False) -> list[str]:
    """Return a text for each row whose reply is another than the recorded one."""
    found = []
    for number, (row, reply) in enumerate(zip(rows, replies, strict=True), 1):
        differing = ["no reply"] if reply is None else _differing(row, reply, cached=cached)
        if differing:
            asked = {key: value for key, value in row.items() if key != "reply"}
            found.append("\n    ".join([f"row {number}: {json.dumps(asked)}", *differing]))
    return found


def _differing(row: Row, reply: bytes, *, cached: bool) -> list[str]:
    try:
        return differences(row["reply"], shown(reply), cached=cached)
    except Exception as error:  # noqa: BLE001 - whatever a malformed reply makes of the parser is told
        return [f"malformed: {type(error).__name__}: {error}: {reply.hex()}"]


def report(found: Sequence[str]) -> str:
    more = len(found) - SHOWN
    return "\n".join([*found[:SHOWN], *([f"... and {more} more"] if more > 0 else [])])


def main() -> int:
    """Return 0 where every reply is as recorded."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden.ask", description="Compare with recorded replies.")
    parser.add_argument("--scenario", type=Path, required=True, help="a folder with a Corefile and replies.jsonl")
    parser.add_argument("--cluster", type=Path, help="manifests: a file or a folder")
    parser.add_argument("--all", action="store_true", help=f"show every mismatch, not only the first {SHOWN}")
    chosen = parser.parse_args()
    start = time.monotonic()
    found = ask_scenario(chosen.scenario, chosen.cluster)
    asked, seconds = len(read_rows(chosen.scenario)), time.monotonic() - start
    sys.stdout.write("\n".join(found) if chosen.all else report(found))
    sys.stdout.write(f"\n{chosen.scenario.name}: {asked} asked, {len(found)} differ, {seconds:.1f} s\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
