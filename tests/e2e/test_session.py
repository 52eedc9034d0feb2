"""Every row of the session that a kubeadm cluster's user goes through, asked from a pod on each node."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.e2e.cluster import COREFILE, DNS, EDITED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.cluster import Cluster
    from tests.e2e.network import Pod

# Neither the server's address nor what nslookup says about replies: that they are not recursive, or not authoritative.
ASIDE = re.compile(r"^(;; Got .*|Server:.*|Address:\t10\.96\.0\.10#53|Non-authoritative answer:|)\n", re.MULTILINE)
SUFFIX = "svc.cluster.local"
SERVICE = f"superopsmsb-nginx-service.default.{SUFFIX}"
HEADLESS = f"superopsmsb-nginx-headless.default.{SUFFIX}"
HEADLESS_ADDRESSES = ["10.244.1.3", "10.244.2.4", "10.244.3.2"]


@pytest.fixture(params=["node-12", "node-13", "node-15"])
def pod(request: pytest.FixtureRequest, cluster: Cluster) -> Pod:
    """One on a node without a replica, one beside a replica, one beside what it asks for."""
    return cluster.pods[request.param]


@pytest.fixture
def edited(cluster: Cluster) -> Iterator[Cluster]:
    cluster.edit(EDITED)
    yield cluster
    cluster.edit(COREFILE)


def nslookup(pod: Pod, name: str) -> str:
    return ASIDE.sub("", pod.space.run("nslookup", name).stdout).rstrip("\n")


def found(name: str, *addresses: str) -> str:
    return "\n".join(f"Name:\t{name}\nAddress: {address}" for address in addresses)


ANSWERS = {
    "superopsmsb-nginx-service": found(SERVICE, "10.97.135.126"),
    "10.97.135.126": f"126.135.97.10.in-addr.arpa\tname = {SERVICE}.",
    "kubernetes": found(f"kubernetes.default.{SUFFIX}", "10.96.0.1"),
    f"kube-dns.kube-system.{SUFFIX}": found(f"kube-dns.kube-system.{SUFFIX}", DNS),
    DNS: f"10.0.96.10.in-addr.arpa\tname = kube-dns.kube-system.{SUFFIX}.",
    "kube-dns": "** server can't find kube-dns: NXDOMAIN",
    "service-headless": "** server can't find service-headless: NXDOMAIN",
    f"10-244-3-64.{SERVICE}.": found(f"10-244-3-64.{SERVICE}", "10.244.3.64"),
    "10.244.2.4": f"4.2.244.10.in-addr.arpa\tname = 10-244-2-4.{HEADLESS}.",
    "superopsmsb-nginx-nodeport": found(f"superopsmsb-nginx-nodeport.default.{SUFFIX}", "10.106.138.242"),
    "svc-loadblancer": found(f"svc-loadblancer.default.{SUFFIX}", "10.104.39.177"),
    "www.example.org": found("www.example.org", "192.0.2.80"),
}


@pytest.mark.parametrize("asked", ANSWERS)
def test_nslookup(asked: str, pod: Pod) -> None:
    assert nslookup(pod, asked) == ANSWERS[asked]


def test_nslookup_of_a_headless_service(pod: Pod) -> None:
    lines = nslookup(pod, "superopsmsb-nginx-headless").splitlines()
    assert lines[::2] == [f"Name:\t{HEADLESS}"] * 3
    assert sorted(line.removeprefix("Address: ") for line in lines[1::2]) == HEADLESS_ADDRESSES


def test_addresses_come_in_turning_order(pod: Pod) -> None:
    command = ("dig", "+short", "+search", "superopsmsb-nginx-headless")
    assert len({pod.space.run(*command).stdout for _ in range(20)}) > 1


@pytest.mark.parametrize("name", ["superopsmsb-nginx-service", SERVICE, f"{SERVICE}."])
def test_curl(name: str, pod: Pod) -> None:
    assert pod.space.run("curl", "-sS", "--max-time", "10", f"http://{name}/").stdout == "nginx-6944855df5-8zjdn\n"


@pytest.mark.parametrize("flag", ["+notcp", "+tcp"])
@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (("superopsmsb-nginx-service",), ["10.97.135.126"]),
        (("external",), ["example.com."]),
        (("alias",), ["10.97.135.126", f"{SERVICE}."]),
        (("-x", "10.96.0.1"), [f"kubernetes.default.{SUFFIX}."]),
        (("www.baidu.com.",), ["192.0.2.66"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_dig(question: tuple[str, ...], expected: list[str], flag: str, pod: Pod) -> None:
    printed = pod.space.run("dig", "+short", "+search", flag, *question).stdout
    assert sorted(printed.splitlines()) == expected


def test_the_edited_configmap_is_answered_by_itself(edited: Cluster) -> None:
    for pod in edited.pods.values():
        assert nslookup(pod, "www.baidu.com") == "** server can't find www.baidu.com: SERVFAIL"
        assert nslookup(pod, "harbor.superopsmsb.com") == found("harbor.superopsmsb.com", "10.0.0.20")
        assert nslookup(pod, "kubernetes") == ANSWERS["kubernetes"]


@pytest.mark.parametrize("excepted", ["www.baidu.com", "www.baidu.com.", "example.com www.baidu.com."])
def test_excepted_names_are_written_with_a_dot_and_without(excepted: str, cluster: Cluster) -> None:
    cluster.edit(EDITED.replace("except www.baidu.com.", f"except {excepted}"))
    assert nslookup(cluster.pods["node-12"], "www.baidu.com") == "** server can't find www.baidu.com: SERVFAIL"
    cluster.edit(COREFILE)
    assert "192.0.2.66" in nslookup(cluster.pods["node-12"], "www.baidu.com")
