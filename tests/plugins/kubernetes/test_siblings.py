"""Names made of an address: what a reply's siblings say of the names beside it is what these are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugins.helpers import query
from tests.plugins.kubernetes.cluster import SAMPLE, at, elsewhere, endpoints, next_plugin, sample, service, step

if TYPE_CHECKING:
    from kubedns.wire.reply import Reply
    from tests.plugins.kubernetes.cluster import Running

INSECURE = "pods insecure"
ODD = (
    *SAMPLE,
    endpoints("prod/states", at("10.244.3.7"), at("10.244.3.8", hostname="named"), suffix="y"),
    endpoints("prod/db", at("10.244.3.7"), suffix="z"),  # an address of two Services
    endpoints("prod/raw", at("10.244.3.9", pod="raw-1"), at("10.244.3.9", pod="raw-2"), suffix="w"),
    service("prod/apart", "10.244.3.10"),
)
LABELS = [*map(str, range(257)), "00", "007", "+1", "a", "2a"]


def reply_to(running: Running, name: str, rrtype: str) -> Reply:
    asked = query(name, rrtype)
    asked.lookup = elsewhere
    return step(running.plugin.resolve(asked, next_plugin))


@pytest.mark.parametrize("options", ["", "endpoint_pod_names", "namespaces prod", "ttl 30\nfallthrough"])
@pytest.mark.parametrize("network", ["3.244.10", "0.96.10", "1.244.10"])
def test_reverse_names_beside_one(options: str, network: str) -> None:
    running = sample(f"{INSECURE}\n{options}", made=ODD)
    replies = {label: reply_to(running, f"{label}.{network}.in-addr.arpa.", "PTR") for label in LABELS}
    speaking = [reply for reply in replies.values() if reply.siblings is not None]
    assert speaking or options == "namespaces prod"
    assert all(len(reply.answer) == 1 for reply in speaking)
    for siblings in [reply.siblings for reply in speaking]:
        assert siblings is not None
        for label, reply in replies.items():
            record = siblings.answer(bytes((len(label), *label.encode())), 0.0)
            if record is None:
                assert len(reply.answer) != 1 or reply.siblings is None
            else:
                assert reply.octets(query(f"{label}.{network}.in-addr.arpa.", "PTR")).endswith(record)
                assert len(reply.answer) == 1


def test_pods_beside_one() -> None:
    running = sample(INSECURE)
    place = "default.pod.cluster.local."
    siblings = reply_to(running, f"10-0-0-1.{place}", "A").siblings
    assert siblings is not None
    labels = [
        "10-0-0-2",
        "0-0-0-0",
        "255-255-255-255",
        "256-0-0-1",
        "1-2-3",
        "1-2-3-4-5",
        "fd00--1",
        "x",
        "1--2-3",
        "10.0",
    ]
    for label in labels[:-1]:
        record = siblings.answer(bytes((len(label), *label.encode())), 0.0)
        reply = reply_to(running, f"{label}.{place}", "A")
        if record is None:
            assert not reply.answer
        else:
            assert reply.octets(query(f"{label}.{place}", "A")).endswith(record)
    assert siblings.answer(b"\x0410.0", 0.0) is None


@pytest.mark.parametrize(
    ("options", "zones", "name", "rrtype"),
    [
        ("pods verified", "cluster.local", "10-244-1-10.prod.pod.cluster.local.", "A"),
        (INSECURE, "cluster.local", "fd00--1.prod.pod.cluster.local.", "AAAA"),
        (INSECURE, "cluster.local prod.pod.cluster.local", "10-0-0-1.default.pod.cluster.local.", "A"),
        (INSECURE, "in-addr.arpa cluster.local", "20.0.96.10.in-addr.arpa.", "PTR"),
        (INSECURE, "home.arpa in-addr.arpa", "20.0.96.10.in-addr.arpa.", "PTR"),
        (INSECURE, "cluster.local in-addr.arpa 96.10.in-addr.arpa", "20.1.244.10.in-addr.arpa.", "PTR"),
        (INSECURE, "cluster.local", "web.default.svc.cluster.local.", "A"),
    ],
)
def test_says_nothing_of_others(options: str, zones: str, name: str, rrtype: str) -> None:
    """Pods that must be there, other types, zones apart, names that the question's could shorten."""
    reply = reply_to(sample(options, zones), name, rrtype)
    assert reply.answer
    assert reply.siblings is None
