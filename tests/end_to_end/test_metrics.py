"""The metrics of kubeadm's whole chain: names, labels and buckets that dashboards know, and counts that are right."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.end_to_end.client import Asked, ask, ask_all, compose, compose_opt
from tests.end_to_end.http import get
from tests.end_to_end.load import Load, Question
from tests.end_to_end.server import SAMPLE, Ports, serving
from tests.fakes.apiserver import APIServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client.metrics_core import Metric

NXDOMAIN, SERVFAIL, REFUSED = 3, 2, 5
T = [0.00025 * 2**power for power in range(16)]
B = [float(size) for size in (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16000, 32000, 48000, 64000)]
S = [0.00025, 0.0025, 0.025, 0.25, 2.5]
# Of CoreDNS 1.14.7's plugins in this chain: type, labels, a histogram's bounds.
Families = dict[str, tuple[str, set[str], list[float]]]
FAMILIES: Families = {
    "coredns_build_info": ("gauge", {"version", "revision", "goversion"}, []),
    "coredns_panics": ("counter", set(), []),
    "coredns_plugin_enabled": ("gauge", {"server", "zone", "view", "name"}, []),
    "coredns_dns_requests": ("counter", {"server", "zone", "view", "proto", "family", "type"}, []),
    "coredns_dns_request_duration_seconds": ("histogram", {"server", "zone", "view"}, T),
    "coredns_dns_request_size_bytes": ("histogram", {"server", "zone", "view", "proto"}, B),
    "coredns_dns_do_requests": ("counter", {"server", "zone", "view"}, []),
    "coredns_dns_response_size_bytes": ("histogram", {"server", "zone", "view", "proto"}, B),
    "coredns_dns_responses": ("counter", {"server", "zone", "view", "rcode", "plugin"}, []),
    "coredns_cache_entries": ("gauge", {"server", "type", "zones", "view"}, []),
    "coredns_cache_requests": ("counter", {"server", "zones", "view"}, []),
    "coredns_cache_hits": ("counter", {"server", "type", "zones", "view"}, []),
    "coredns_cache_misses": ("counter", {"server", "zones", "view"}, []),
    "coredns_forward_healthcheck_broken": ("counter", set(), []),
    "coredns_forward_max_concurrent_rejects": ("counter", set(), []),
    "coredns_proxy_request_duration_seconds": ("histogram", {"proxy_name", "to", "rcode"}, T),
    "coredns_proxy_conn_cache_hits": ("counter", {"proxy_name", "to", "proto"}, []),
    "coredns_proxy_conn_cache_misses": ("counter", {"proxy_name", "to", "proto"}, []),
    "coredns_hosts_entries": ("gauge", {"hostsfile"}, []),
    "coredns_hosts_reload_timestamp_seconds": ("gauge", set(), []),
    "coredns_health_request_duration_seconds": ("histogram", set(), S),
    "coredns_health_request_failures": ("counter", set(), []),
    "coredns_reload_failed": ("counter", set(), []),
}
COREFILE = """\
.:{port} {{
    errors
    log . {{
        class denial
    }}
    health 127.0.0.1:{health}
    ready 127.0.0.1:{ready}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    hosts {hosts} {{
        10.0.0.20 harbor.superopsmsb.com
        fallthrough
    }}
    prometheus 127.0.0.1:{metrics}
    forward . 127.0.0.1:{upstream} {{
        max_concurrent 1000
    }}
    cache 30
    loop
    reload
    loadbalance
}}
"""


class Scrape:
    """What /metrics says, once promtool has nothing to say of it."""

    def __init__(self, port: int) -> None:
        answer = get(port, "/metrics")
        assert answer.status == 200
        assert shutil.which("promtool"), "this test needs promtool, of the Debian package prometheus"
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=answer.body, capture_output=True, text=True, check=False
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
        self.families: dict[str, Metric] = {one.name: one for one in text_string_to_metric_families(answer.body)}
        names = [line.split()[2] for line in answer.body.splitlines() if line.startswith("# TYPE")]
        assert names == sorted(set(names))

    def counts(self, name: str, *labels: str, zone: str = ".") -> dict[str, float]:
        """Return a zone's samples, by the values of some labels."""
        found: defaultdict[str, float] = defaultdict(float)
        for family in self.families.values():
            for sample in family.samples:
                if sample.name == name and sample.labels.get("zone", zone) == zone:
                    found[" ".join(sample.labels[label] for label in labels)] += sample.value
        return {key: value for key, value in found.items() if value}


class Chain(NamedTuple):
    port: int
    metrics: int
    upstream: int


@pytest.fixture
def ports() -> Iterator[Ports]:
    with Ports() as held:
        yield held


@pytest.fixture
def chain(ports: Ports, tmp_path: Path) -> Iterator[Chain]:
    port, health, ready, metrics, upstream = (ports.take() for _ in range(5))
    (tmp_path / "upstream").mkdir()
    (tmp_path / "hosts").write_text("10.0.0.1 example.org www.example.org\n10.0.0.9 *.apps.example.org\n")
    text = COREFILE.format(port=port, health=health, ready=ready, metrics=metrics, upstream=upstream, hosts="hosts")
    others = "192.0.2.1 one.example.com\n192.0.2.2 two.example.com"
    with (
        serving(tmp_path / "upstream", f".:{upstream} {{\n hosts /dev/null {{\n{others}\n}}\n}}\n"),
        serving(tmp_path, text, "--manifests", str(SAMPLE)),
    ):
        wait_for_the_probe(metrics)
        yield Chain(port, metrics, upstream)


def wait_for_the_probe(metrics: int) -> None:
    """Return once loop has had its reply: what comes after is a test's own."""
    end = time.monotonic() + 20
    while not re.search(
        r'^coredns_dns_responses_total\{.*rcode="SERVFAIL"', get(metrics, "/metrics").body, re.MULTILINE
    ):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def asked() -> list[tuple[Asked, int]]:
    """Return messages and how often each is sent: to plugins of every kind, again and again the same."""
    service = "superopsmsb-nginx-service.default.svc.cluster.local"
    do = compose_opt(1232, flags=0x8000)
    return [
        (Asked(compose(service)), 50),
        (Asked(compose(service), tcp=True), 7),
        (Asked(compose(service, "AAAA")), 11),
        (Asked(compose(service, opt=do)), 5),
        (Asked(compose("no-such.default.svc.cluster.local")), 13),
        (Asked(compose("1.0.96.10.in-addr.arpa", "PTR")), 3),
        (Asked(compose("harbor.superopsmsb.com")), 17),
        (Asked(compose("www.example.org", "TXT")), 2),
        (Asked(compose("one.example.com")), 19),
        (Asked(compose("two.example.com"), tcp=True), 4),
        (Asked(compose("three.example.com")), 6),
    ]


def test_counts_are_exact(chain: Chain, asked: list[tuple[Asked, int]]) -> None:
    before = Scrape(chain.metrics)
    batch = [message for message, times in asked for _ in range(times)]
    replies = ask_all(chain.port, batch)
    assert None not in replies
    after = Scrape(chain.metrics)

    def grown(name: str, *labels: str) -> dict[str, float]:
        old = before.counts(name, *labels)
        new = {key: value - old.get(key, 0) for key, value in after.counts(name, *labels).items()}
        return {key: value for key, value in new.items() if value}

    total = sum(times for _, times in asked)
    requests = {"udp 1 A": 110, "tcp 1 A": 11, "udp 1 AAAA": 11, "udp 1 PTR": 3, "udp 1 TXT": 2}
    assert grown("coredns_dns_requests_total", "proto", "family", "type") == requests
    assert sum(requests.values()) == total
    rcodes = Counter(octets[3] & 15 for octets in replies if octets is not None)
    assert rcodes == {0: total - 13 - 6, NXDOMAIN: 13, SERVFAIL: 6}
    assert grown("coredns_dns_responses_total", "rcode", "plugin") == {
        "NOERROR errors": rcodes[0],
        "NXDOMAIN errors": rcodes[NXDOMAIN],
        "SERVFAIL errors": rcodes[SERVFAIL],
    }
    assert grown("coredns_dns_do_requests_total") == {"": 5}
    assert grown("coredns_dns_request_duration_seconds_count") == {"": total}
    sizes = {"udp": sum(len(one.message) for one in batch if not one.tcp)}
    sizes["tcp"] = sum(len(one.message) for one in batch if one.tcp)
    assert grown("coredns_dns_request_size_bytes_sum", "proto") == sizes
    assert grown("coredns_dns_response_size_bytes_count", "proto") == {"udp": total - 11, "tcp": 11}
    sent = {"udp": 0, "tcp": 0}
    for one, octets in zip(batch, replies, strict=True):
        sent["tcp" if one.tcp else "udp"] += len(octets or b"")
    assert grown("coredns_dns_response_size_bytes_sum", "proto") == sent
    forwarded = grown("coredns_proxy_request_duration_seconds_count", "to", "rcode")
    to = f"127.0.0.1:{chain.upstream}"
    assert forwarded.keys() == {f"{to} NOERROR", f"{to} SERVFAIL"}
    assert 2 <= forwarded[f"{to} NOERROR"] <= 19 + 4  # equal questions in flight are one
    assert 1 <= forwarded[f"{to} SERVFAIL"] <= 6
    assert sum(grown("coredns_forward_requests_total").values()) == sum(forwarded.values())
    assert grown("coredns_cache_requests_total", "zones") == {".": total}
    [misses] = grown("coredns_cache_misses_total").values()
    hits = grown("coredns_cache_hits_total", "type")
    assert sum(hits.values()) + misses == total
    # What the cluster knows it says at once: the first time alone is a miss. An upstream's SERVFAIL takes a while.
    assert 12 + 10 <= hits["denial"] <= 12 + 10 + 5
    kinds = len(asked)
    assert kinds - 1 <= misses <= kinds - 3 + 19 + 4 + 6  # the same question over UDP and TCP is one
    assert after.counts("coredns_cache_entries", "type")["denial"] in {3, 4}  # with loop's probe, or without
    assert after.counts("coredns_hosts_entries", "hostsfile") == {"hosts": 5 + 2}
    assert after.counts("coredns_reload_failed_total") == {}


def test_what_no_block_answers_is_dropped(ports: Ports, tmp_path: Path) -> None:
    port, metrics = ports.take(), ports.take()
    with serving(tmp_path, f"a.test:{port} {{\n    prometheus 127.0.0.1:{metrics}\n    whoami\n}}\n"):
        for name in ("a.test", "b.test", "c.test"):
            ask(port, compose(name))
        scrape = Scrape(metrics)
        assert scrape.counts("coredns_dns_responses_total", "rcode", "plugin", zone="dropped") == {"REFUSED ": 2}
        assert scrape.counts("coredns_dns_responses_total", "rcode", "plugin", zone="a.test.") == {"NOERROR whoami": 1}


def test_what_no_plugin_made_has_no_plugin(ports: Ports, tmp_path: Path) -> None:
    """hosts and forward leave it to the server to say SERVFAIL and REFUSED; an upstream's own is the plugin's."""
    port, metrics, silent = ports.take(), ports.take(), ports.take()
    block = "{zone}:{port} {{\n    prometheus 127.0.0.1:{metrics}\n    errors\n    {plugin}\n}}\n"
    plugins = {"hosts.test": "hosts /dev/null", "forward.test": f"forward . 127.0.0.1:{silent}"}
    text = "".join(
        block.format(zone=zone, port=port, metrics=metrics, plugin=plugin) for zone, plugin in plugins.items()
    )
    with serving(tmp_path, text) as server:
        for zone in plugins:
            octets = ask(port, compose(zone), timeout=10)
            assert octets is not None
            assert octets[3] & 15 == SERVFAIL
        scrape = Scrape(metrics)
        for zone in plugins:
            assert scrape.counts("coredns_dns_responses_total", "rcode", "plugin", zone=f"{zone}.") == {"SERVFAIL ": 1}
            assert scrape.counts("coredns_dns_response_size_bytes_sum", zone=f"{zone}.") == {}
        assert server.end() == 0
    [line] = [line for line in server.output.all if line.startswith("[ERROR]")]
    why = "read: connection refused|i/o timeout"  # the latter where the machine is too busy to try again
    pattern = (
        rf"\[ERROR\] plugin/errors: 2 forward\.test\. A: read udp 127\.0\.0\.1:\d+->127\.0\.0\.1:{silent}: ({why})"
    )
    assert re.fullmatch(pattern, line)


def test_families_labels_and_buckets(chain: Chain, asked: list[tuple[Asked, int]]) -> None:
    ask_all(chain.port, [message for message, _ in asked])
    scrape = Scrape(chain.metrics)
    check(scrape, FAMILIES)
    enabled = scrape.counts("coredns_plugin_enabled", "name")
    seen = {"prometheus", "errors", "log", "loadbalance", "cache", "kubernetes", "hosts", "forward", "loop"}
    assert enabled == dict.fromkeys(seen, 1)


def check(scrape: Scrape, families: Families) -> None:
    """Compare each family's type, labels and bounds."""
    for name, (kind, labels, bounds) in families.items():
        family = scrape.families[name]
        assert family.type == kind, name
        assert family.samples, name
        found = {frozenset(sample.labels.keys() - {"le"}) for sample in family.samples}
        assert found == {frozenset(labels)}, name
        le = sorted({float(sample.labels["le"]) for sample in family.samples if "le" in sample.labels})
        assert le == [*bounds, float("inf")] if bounds else le == [], name


D = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
OF_AN_API_SERVER: Families = {
    "coredns_kubernetes_dns_programming_duration_seconds": (
        "histogram",
        {"service_kind"},
        [0.001 * 2**power for power in range(20)],
    ),
    "coredns_kubernetes_rest_client_request_duration_seconds": ("histogram", {"verb", "host"}, D),
    "coredns_kubernetes_rest_client_rate_limiter_duration_seconds": ("histogram", {"verb", "host"}, D),
    "coredns_kubernetes_rest_client_requests": ("counter", {"code", "method", "host"}, []),
}


def test_families_of_an_api_server(ports: Ports, tmp_path: Path) -> None:
    port, metrics = ports.take(), ports.take()
    with APIServer(tmp_path / "api") as api:
        kubeconfig = api.kubeconfig(tmp_path / "kubeconfig")
        block = f"    kubernetes cluster.local {{\n        kubeconfig {kubeconfig}\n    }}\n"
        with serving(tmp_path, f".:{port} {{\n    prometheus 127.0.0.1:{metrics}\n{block}}}\n"):
            scrape = Scrape(metrics)
            check(scrape, OF_AN_API_SERVER)
            requests = scrape.counts("coredns_kubernetes_rest_client_requests_total", "code", "method")
            assert requests.keys() == {"200 GET"}
            [host] = scrape.counts("coredns_kubernetes_rest_client_requests_total", "host")
            assert host == f"127.0.0.1:{api.port}"


ZONES = 50
SCRAPES = 10
LANES = 16


def test_a_scrape_of_fifty_zones_holds_up_no_answer(ports: Ports, tmp_path: Path) -> None:
    """Were it made in one piece, no more replies could come during a scrape than there are queries in flight."""
    port, metrics = ports.take(), ports.take()
    names = [f"zone{number}.test" for number in range(ZONES)]
    block = "{name}:{port} {{\n    prometheus 127.0.0.1:{metrics}\n    errors\n    whoami\n}}\n"
    corefile = "".join(block.format(name=name, port=port, metrics=metrics) for name in names)
    kinds = ("A", "AAAA", "SRV", "TXT", "MX", "PTR")
    questions = [Question(name, kind) for name in names for kind in kinds]
    during = 0
    with serving(tmp_path, corefile) as server:
        with Load(port, questions, datagrams=LANES // 2, streams=LANES // 2, rate=5000) as load:
            load.wait_for(1000)
            for _ in range(SCRAPES):
                before = len(load.record.seconds)
                assert get(metrics, "/metrics").status == 200
                during += len(load.record.seconds) - before
            load.wait_for(50)
        assert load.record.lost == []
        assert during > 2 * SCRAPES * LANES
        scrape = Scrape(metrics)
        assert len({sample.labels["zone"] for sample in scrape.families["coredns_dns_requests"].samples}) == ZONES
        assert server.end() == 0
