"""One cluster for all tests of a kind of network; each test leaves it as it found it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.spaces import environment

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.e2e.network import Kind

PROGRAMS = {
    "bridge": "iproute2",
    "conntrack": "conntrack",
    "curl": "curl",
    "dig": "bind9-dnsutils",
    "ip": "iproute2",
    "iptables-restore": "iptables",
    "nsenter": "util-linux",
    "nslookup": "bind9-dnsutils",
    "openssl": "openssl",
    "sysctl": "procps",
    "unbound": "unbound",
    "unshare": "util-linux",
}


@pytest.fixture(scope="session")
def _able() -> None:
    path = environment()["PATH"]
    missing = {package for program, package in PROGRAMS.items() if shutil.which(program, path=path) is None}
    assert not missing, (
        f"these tests need programs of the Debian packages {' '.join(sorted(missing))}: `make e2e` installs them"
    )
    assert os.geteuid() == 0, "these tests make network and mount namespaces: run them as root"


@pytest.fixture(scope="session", params=["vxlan", "host-gw"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, _able: None) -> Iterator[Cluster]:
    kind: Kind = request.param
    with Cluster(tmp_path_factory.mktemp(kind), kind) as cluster:
        yield cluster
    assert not cluster.troubles


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what all programs said where a test fails."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and cluster is not None:
        report.sections.append(("Programs", cluster.told()))
    return report
