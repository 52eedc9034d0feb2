"""The steady load: an asker in each pod, and what became of its queries."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

import msgspec

from tests.e2e.asker import TIMEOUT, Report, Trouble
from tests.e2e.cluster import DNS
from tests.e2e.kubeproxy import IN_FLIGHT
from tests.end_to_end.server import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from tests.e2e.cluster import Cluster
    from tests.e2e.network import Pod

RATE = 25.0  # queries a second of each pod


class Load:
    """Asks from its block's start to its end; then `reports` is what each pod has to say.

    `excused` are queries whose reply could not come back, as its flow was forgotten meanwhile, and those that went to a
    server that had ended, as this machine was too busy to change the rules in its lameduck time: no server helps that.
    """

    def __init__(self, cluster: Cluster, pods: Iterable[Pod] | None = None) -> None:
        self._cluster = cluster
        self._pods = list(cluster.pods.values() if pods is None else pods)
        self.reports: list[Report] = []
        self.excused: list[Trouble] = []
        self.troubles: list[Trouble] = []  # every other query that failed or was late

    def __enter__(self) -> Self:
        command = (sys.executable, "-m", "tests.e2e.asker", DNS, str(RATE))
        self._askers = [pod.space.start(*command) for pod in self._pods]
        for asker in self._askers:
            asker.output.wait_for("^asking$")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for asker in self._askers:
            asker.close_input()
        for asker in self._askers:
            status = asker.wait(TIMEOUT + PATIENCE)
            if error is None:
                assert status == 0, asker.output.text
                self.reports.append(msgspec.json.decode(asker.output.all[-1], type=Report))
        for pod, report in zip(self._pods, self.reports, strict=False):
            for trouble in (*report.failed, *report.late):
                trouble.client = pod.address
                (self.excused if self._is_excused(pod, trouble) else self.troubles).append(trouble)

    def _is_excused(self, pod: Pod, trouble: Trouble) -> bool:
        return any(flow.lost(trouble.sent, pod.address, trouble.port) for flow in self._cluster.forgotten) or any(
            begin - IN_FLIGHT < trouble.sent < end for begin, end in self._cluster.overdue if begin < end
        )

    @property
    def asked(self) -> int:
        return sum(report.asked for report in self.reports)

    @property
    def repeated(self) -> int:
        return sum(report.repeated for report in self.reports)

    @property
    def slowest(self) -> float:
        return max(report.slowest for report in self.reports)

    def outside(self, begin: float, end: float) -> list[Trouble]:
        """Return the troubles of queries sent before or after a time when some had to be lost.

        What the server had received and not yet answered at its beginning is lost with it.

        A client that keeps a TCP connection loses it with the node that it leads to, and notices once a query has had
        no reply for long enough: until then its later ones wait.
        """
        return [
            trouble
            for trouble in self.troubles
            if not begin - IN_FLIGHT <= trouble.sent <= end + (TIMEOUT if trouble.way == "tcp_kept_open" else 0)
        ]

    def summary(self) -> str:
        return (
            f"{self.asked} queries, {len(self.troubles)} failed or late, {len(self.excused)} excused, "
            f"{self.repeated} asked again as a kept connection had ended, slowest {self.slowest * 1000:.0f} ms"
        )
