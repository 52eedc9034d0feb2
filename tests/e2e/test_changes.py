"""What operators do and what breaks, while pods ask on: no query may be lost but to what can't be known at once.

KUBEDNS_E2E_ROLLOUTS and KUBEDNS_E2E_EDITS are how often a rollout and an edit are done; `make soak` has more of them.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.cluster import COREFILE, EDITED
from tests.e2e.load import Load

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.cluster import Cluster

ROLLOUTS = int(os.environ.get("KUBEDNS_E2E_ROLLOUTS", "3"))
EDITS = int(os.environ.get("KUBEDNS_E2E_EDITS", "5"))
LATER = "10.96.77.77"


@pytest.fixture
def tell(record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a figure although the test passes."""

    def tell(text: str) -> None:
        record_property("figure", text)
        with capsys.disabled():
            print(f"\n    {text}")  # noqa: T201 - as said

    return tell


def test_no_query_is_lost_in_rollouts(cluster: Cluster, tell: Callable[[str], None]) -> None:
    before = {replica.name for replica in cluster.replicas}
    with Load(cluster) as load:
        for _ in range(ROLLOUTS):
            cluster.roll()
        cluster.settle()
    tell(f"{cluster.network.kind}, {ROLLOUTS} rollouts: {load.summary()}")
    assert load.troubles == []
    assert load.asked > ROLLOUTS * 100
    assert len(cluster.replicas) == 2
    assert before.isdisjoint(replica.name for replica in cluster.replicas)


def test_no_query_is_lost_in_edits(cluster: Cluster, tell: Callable[[str], None]) -> None:
    harbor = ("dig", "+short", "harbor.superopsmsb.com.")
    with Load(cluster) as load:
        for number in range(EDITS):
            cluster.edit(COREFILE if number % 2 else EDITED)
            expected = "" if number % 2 else "10.0.0.20\n"
            for pod in cluster.pods.values():
                assert pod.space.run(*harbor).stdout == expected
        cluster.edit(COREFILE)
    tell(f"{cluster.network.kind}, {EDITS} edits: {load.summary()}")
    assert load.troubles == []
    assert load.asked > EDITS * 100


def test_an_edit_with_an_error_changes_nothing(cluster: Cluster) -> None:
    with Load(cluster) as load:
        cluster.edit(COREFILE.replace("    loop\n", "    lop\n"), says=r"Corefile changed but reload failed")
        assert all(replica.serving for replica in cluster.replicas)
        cluster.edit(COREFILE)
    assert load.troubles == []


def test_a_replica_that_dies_costs_no_more_than_the_switch_over(cluster: Cluster, tell: Callable[[str], None]) -> None:
    cluster.wait_until_ready()
    victim = cluster.replicas[0]
    starts = victim.starts
    with Load(cluster) as load:
        killed = time.monotonic()
        victim.program.send(signal.SIGKILL)
        victim.wait_until(serving=False)
        switched = cluster.wait_until_switched(killed)
        victim.wait_until(serving=True)
    tell(f"{cluster.network.kind}, a replica killed, rules after {switched - killed:.2f} s: {load.summary()}")
    assert load.outside(killed, switched) == []
    assert load.troubles + load.excused != []  # some were asked of the dead one, or it was another that died
    assert victim.starts == starts + 1


def test_a_node_cut_off_costs_no_more_than_the_switch_over(cluster: Cluster, tell: Callable[[str], None]) -> None:
    cluster.wait_until_ready()
    lost = cluster.replicas[0]
    node = lost.pod.node
    with Load(cluster, [pod for pod in cluster.pods.values() if pod.node is not node]) as load:
        cut = time.monotonic()
        node.unplug()
        lost.wait_until(serving=False)
        switched = cluster.wait_until_switched(cut)
        cluster.put_service("later", LATER)
        node.plug_in(cluster.api.url)
        lost.wait_until(serving=True)
        cluster.sync()
    tell(f"{cluster.network.kind}, a node cut off, rules after {switched - cut:.2f} s: {load.summary()}")
    assert load.outside(cut, switched) == []
    assert load.troubles + load.excused != []
    asked = ("dig", "+short", "+tries=1", f"@{lost.pod.address}", "later.default.svc.cluster.local.")
    cluster.wait_until(lambda: cluster.pods["node-12"].space.run(*asked).stdout == f"{LATER}\n")
