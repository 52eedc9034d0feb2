"""Dashboard and alerts in a real Prometheus that scrapes a running server: every query finds data, or says why."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.end_to_end.client import DO, Asked, ask_all, compose, compose_opt
from tests.end_to_end.server import PATIENCE, Ports, serving
from tests.fakes.apiserver import APIServer
from tests.loading import ROOT, SAMPLE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RULES = ROOT / "deploy" / "prometheus" / "kubedns.rules.yaml"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "kubedns.json").read_text())
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = {f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]}
THRESHOLD = re.compile(r"^(.*?)\s*(==|>)\s*[\d.* ]+\)?$", re.DOTALL)
# What public alerts and dashboards for CoreDNS ask, under names that its older releases had, too.
OF_OTHERS = (
    'sum(rate(coredns_forward_requests_total{job="kube-dns"}[5m])) by (to)',
    'sum(rate(coredns_forward_responses_total{job="kube-dns"}[5m])) by (to, rcode)',
    "histogram_quantile(0.99, sum(rate(coredns_forward_request_duration_seconds_bucket[5m])) by (to, le))",
    'sum(rate(coredns_forward_healthcheck_failures_total{job="kube-dns"}[5m])) by (to)',
    'sum(rate(coredns_forward_healthcheck_broken_total{job="kube-dns"}[5m]))',
    'sum(rate(coredns_dns_requests_total{job="kube-dns"}[5m])) by (proto, family, zone)',
    'sum(rate(coredns_dns_do_requests_total{job="kube-dns"}[5m]))',
    'histogram_quantile(0.90, sum(rate(coredns_dns_request_size_bytes_bucket{proto="tcp"}[5m])) by (le, proto))',
    "sum(coredns_plugin_enabled) by (name)",
    "max(coredns_hosts_entries)",
    "process_cpu_seconds_total",
    "process_open_fds",
    "go_goroutines",
)
COREFILE = """\
.:{dns} {{
    errors
    health 127.0.0.1:{health}
    ready 127.0.0.1:{ready}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        fallthrough in-addr.arpa
    }}
    hosts {{
        192.0.2.1 router.example
        fallthrough
    }}
    prometheus 127.0.0.1:{metrics}
    cache 30
    forward broken.example 127.0.0.1:{nobody}
    forward . 127.0.0.1:{upstream}
    reload 2s 0s
    loadbalance
}}
"""
# An upstream whose own upstream is nobody: it says SERVFAIL to one zone, and answers the rest.
UPSTREAM = """\
servfail.example:{upstream} {{
    forward . 127.0.0.1:{nobody}
}}
.:{upstream} {{
    whoami
}}
"""
SCRAPING = """\
global: {{scrape_interval: 250ms, evaluation_interval: 250ms, scrape_timeout: 250ms}}
rule_files: [{rules}]
scrape_configs:
- job_name: kube-dns
  static_configs: [{{targets: ["127.0.0.1:{metrics}"]}}]
"""
HEADLESS = next(
    each
    for path in sorted(SAMPLE.glob("*.yaml"))
    for each in yaml.safe_load_all(path.read_text())
    if each["metadata"]["name"].startswith("superopsmsb-nginx-headless-")
)
NAMES = (
    "kubernetes.default.svc.cluster.local.",
    "no-such-service.default.svc.cluster.local.",
    "router.example.",
    "www.example.org.",
    "www.servfail.example.",
    "www.broken.example.",
)


pytestmark = pytest.mark.xdist_group("monitoring")  # one Prometheus is enough


class Prometheus:
    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1/"

    def get(self, path: str, **values: str) -> Any:
        url = f"{self._url}{path}?{urllib.parse.urlencode(values)}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as reply:  # noqa: S310 - our own
            return json.load(reply)["data"]

    def answers(self) -> bool:
        try:
            return bool(self.get("status/runtimeinfo"))
        except OSError:
            return False

    def query(self, expression: str) -> list[str]:
        """Return the values that are numbers: a rate over no time at all is none."""
        found = self.get("query", query=expression)["result"]
        return [each["value"][1] for each in found if each["value"][1] != "NaN"]

    def wait_for(self, expression: str) -> list[str]:
        end = time.monotonic() + PATIENCE
        while not (found := self.query(expression)) and time.monotonic() < end:
            time.sleep(0.1)
        return found


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("monitoring")
    assert shutil.which("prometheus"), "these tests need the Debian package prometheus: `make test` installs it"
    with ExitStack() as undo:
        ports = undo.enter_context(Ports())
        names = ("dns", "health", "ready", "metrics", "upstream", "nobody", "web")
        port = {name: ports.take() for name in names}
        api = undo.enter_context(APIServer(folder / "api", bookmark_every=1.0))
        for path in sorted(SAMPLE.glob("*.yaml")):
            api.put(*yaml.safe_load_all(path.read_text()))
        kubeconfig = api.kubeconfig(folder / "kubeconfig")
        for name in ("upstream", "server"):
            (folder / name).mkdir()
        undo.enter_context(serving(folder / "upstream", UPSTREAM.format(**port)))
        server = undo.enter_context(serving(folder / "server", COREFILE.format(kubeconfig=kubeconfig, **port)))
        prometheus = undo.enter_context(_scraping(folder, port))
        _use(port["dns"], api)
        (folder / "server" / "Corefile").write_text(". {\n    nothing\n}\n")
        server.output.wait_for("reload failed")
        for _ in range(4):  # counters have to grow between scrapes
            before = prometheus.query("count_over_time(up[1h])")
            while prometheus.query("count_over_time(up[1h])") == before:
                time.sleep(0.1)
            _use(port["dns"], api)
        yield prometheus


def _use(port: int, api: APIServer) -> None:
    """Ask by UDP and TCP what gives every RCODE, twice, and change the cluster."""
    batch = [Asked(compose(name, opt=compose_opt(flags=DO)), tcp=tcp) for name in NAMES for tcp in (False, True)]
    ask_all(port, [*batch, *batch])
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    changed = copy.deepcopy(HEADLESS)
    changed["metadata"]["annotations"] = {"endpoints.kubernetes.io/last-change-trigger-time": stamp}
    api.put(changed)


@contextmanager
def _scraping(folder: Path, port: dict[str, int]) -> Iterator[Prometheus]:
    """Run a Prometheus with our rules until the end of the block."""
    configuration = folder / "prometheus.yaml"
    configuration.write_text(SCRAPING.format(rules=RULES, **port))
    command = [
        *("prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}"),
        *(f"--web.listen-address=127.0.0.1:{port['web']}", "--log.level=warn"),
    ]
    with (folder / "prometheus.log").open("wb") as told, subprocess.Popen(command, stdout=told, stderr=told) as process:
        try:
            prometheus = Prometheus(port["web"])
            end = time.monotonic() + PATIENCE
            while not prometheus.answers():
                assert process.poll() is None, (folder / "prometheus.log").read_text()
                assert time.monotonic() < end
                time.sleep(0.05)
            yield prometheus
        finally:
            process.terminate()


def sides(rule: dict[str, Any]) -> str:
    """Return what an alert compares, without what it is compared with."""
    found = THRESHOLD.match(rule["expr"])
    assert found, rule["expr"]
    return found[1]


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']} {rule['labels']['severity']}")
def test_an_alert_finds_what_it_compares(rule: dict[str, Any], prometheus: Prometheus) -> None:
    if rule["alert"] == "CoreDNSDown":  # what is absent, no server that is up, has no data: it is there the other way
        assert prometheus.wait_for('up{job="kube-dns"} == 1')
        assert rule["expr"] == 'absent(up{job="kube-dns"} == 1)'
        return
    assert prometheus.wait_for(sides(rule)) != []


def test_a_query_with_a_wrong_name_finds_nothing(prometheus: Prometheus) -> None:
    assert prometheus.query("coredns_dns_request_total") == []


def test_prometheus_takes_the_alerts(prometheus: Prometheus) -> None:
    (group,) = prometheus.get("rules")["groups"]
    assert [rule["name"] for rule in group["rules"]] == [rule["alert"] for rule in ALERTS]
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}  # unknown: not yet evaluated
    assert {rule["name"] for rule in group["rules"] if rule["state"] == "firing"} <= {"KubednsReloadFailed"}


@pytest.mark.parametrize("panel", QUERIES)
def test_a_panel_finds_data(panel: str, prometheus: Prometheus) -> None:
    expression = QUERIES[panel].replace("$__rate_interval", "1m").replace("$job", ".+").replace("$instance", ".+")
    assert "$" not in expression
    assert prometheus.wait_for(expression) != []


@pytest.mark.parametrize("expression", OF_OTHERS)
def test_dashboards_made_for_coredns_find_data(expression: str, prometheus: Prometheus) -> None:
    assert prometheus.wait_for(expression) != []


@pytest.mark.parametrize("variable", ["job", "instance"])
def test_a_variable_of_the_dashboard_has_values(variable: str, prometheus: Prometheus) -> None:
    (query,) = [each["query"] for each in DASHBOARD["templating"]["list"] if each["name"] == variable]
    assert query.startswith("label_values(coredns_build_info")
    assert query.endswith(f", {variable})")
    assert prometheus.wait_for(f"count by ({variable}) (coredns_build_info)") == ["1"]


def test_the_dashboard_is_whole() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in DASHBOARD["panels"])
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}


def test_promtool_finds_the_rules_good() -> None:
    assert promtool("check", "rules", str(RULES)).endswith(f"SUCCESS: {len(ALERTS)} rules found\n\n")


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path)
    shutil.copy(ROOT / "tests" / "deploy" / "rules.test.yaml", tmp_path)
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "rules.test.yaml"))


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
