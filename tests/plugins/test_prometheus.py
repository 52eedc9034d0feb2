"""prometheus: what is counted of an exchange, under which labels, and how it is shown."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import socket
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Info
from prometheus_client.parser import text_string_to_metric_families

from kubedns import metrics
from kubedns.cluster.statistics import ResourceStatistics, Statistics
from kubedns.corefile.errors import CorefileError
from kubedns.httpd import Request
from kubedns.plugin.contract import Observes, ResolveError, ServerBlock
from kubedns.server.chain import link_chain
from kubedns.server.dispatch import Dispatcher, Served
from kubedns.wire.client import Peer
from kubedns.wire.records import RR, txt
from kubedns.wire.reply import Reply
from plugins import prometheus
from plugins.prometheus import cluster, exchanges, exposition
from tests.end_to_end.client import ask, compose
from tests.end_to_end.server import Ports, serving
from tests.plugins.helpers import directive, placed
from tests.server.running import Stepped, stepping
from tests.wire.asking import datagram, header, opt, with_opt

if TYPE_CHECKING:
    from pathlib import Path

    from kubedns.plugin.contract import Next
    from kubedns.wire.query import Query

UDP = Peer("udp", ("192.0.2.7", 40212), ("192.0.2.53", 53))
TCP6 = Peer("tcp", ("2001:db8::7", 40212), ("2001:db8::53", 53))
ZONES = ("example.org.", "example.net.", "a.example.org.")
NOT_SERVED = header()  # announces a question and ends
TEXT = 16


class Answers:
    """Answers, fails or makes mistakes by the name it is asked for."""

    async def resolve(self, query: Query, _: Next) -> Reply:
        first = query.labels[0]
        if first == b"fails":
            raise ResolveError("no answer")
        if first == b"mistaken":
            raise KeyError
        if first == b"broken":
            return Reply([RR(query.name, TEXT, 1, 0, bytes(65536))])
        if first == b"asks":
            assert query.lookup is not None
            return await query.lookup(query.ask(query.name[5:], TEXT))
        return Reply([txt(query.spelled, "x", 0)], rcode=23 if first == b"odd" else 3 if first == b"nx" else 0)


class Listener:
    """A listener with one block: prometheus and what answers; and its metrics as Prometheus reads them."""

    def __init__(self, stepped: Stepped, server: str) -> None:
        self.server = server
        self._stepped = stepped
        plugins: list[tuple[str, object]] = []
        block = ServerBlock(ZONES, plugins=plugins)
        self.plugin = prometheus.setup(directive("prometheus 127.0.0.1:0"), block)
        assert isinstance(self.plugin, Observes)
        answers = Answers()
        plugins += [("prometheus", self.plugin), ("health", object()), ("errors", answers), ("whoami", answers)]
        chain = link_chain([("errors", answers)])
        self._dispatcher = Dispatcher(
            server, [Served(zone, chain, (self.plugin,)) for zone in ZONES], stepped.stepper, observers=[self.plugin]
        )
        self.plugin.begin()

    def ask(self, message: bytes, client: Peer = UDP) -> int:
        """Return the size of the reply."""
        reply = self._stepped.call(lambda: self._dispatcher.answer(message, client, 0.0))
        assert isinstance(reply, bytes)
        return len(reply)

    def samples(self, name: str) -> dict[str, float]:
        """Return values by label values, sorted by label and joined; server and view, always the same, left out."""
        found = {}
        response = self._stepped.wait(self.plugin.answer(Request("GET", "/metrics")))
        for family in text_string_to_metric_families(response.body.decode()):
            for sample in family.samples:
                labels = dict(sample.labels)
                if sample.name == name and labels.pop("server", self.server) == self.server:
                    labels.pop("view", None)
                    found[" ".join(labels[label] for label in sorted(labels))] = sample.value
        return found


@pytest.fixture
def listener(request: pytest.FixtureRequest) -> Iterator[Listener]:
    """Counters live as long as the process, so each test has a listener of its own."""
    with stepping() as stepped:
        made = Listener(stepped, f"dns://{request.node.name}")
        yield made
        stepped.wait(made.plugin.stop())


# Requests by family, proto, type and zone; replies by plugin, rcode and zone.
COUNTED = [
    ("plain", datagram("x.example.org."), UDP, "1 udp A example.org.", "errors NOERROR example.org."),
    ("IPv6, TCP", datagram("x.example.org."), TCP6, "2 tcp A example.org.", "errors NOERROR example.org."),
    ("other case", datagram("EXAMPLE.NET.", 64), UDP, "1 udp SVCB example.net.", "errors NOERROR example.net."),
    (
        "longest zone",
        datagram("z.a.example.org.", 999),
        UDP,
        "1 udp other a.example.org.",
        "errors NOERROR a.example.org.",
    ),
    ("a reply's RCODE", datagram("nx.example.org."), UDP, "1 udp A example.org.", "errors NXDOMAIN example.org."),
    (
        "unusual RCODE",
        with_opt(datagram("odd.example.org."), opt(1232)),
        UDP,
        "1 udp A example.org.",
        "errors BADCOOKIE example.org.",
    ),
    ("no answer", datagram("fails.example.org."), UDP, "1 udp A example.org.", " SERVFAIL example.org."),
    ("an exception", datagram("mistaken.example.org."), UDP, "1 udp A dropped", " SERVFAIL dropped"),
    ("a reply that is none", datagram("broken.example.org."), UDP, "1 udp A dropped", " SERVFAIL dropped"),
    ("no block", datagram("nowhere.test."), UDP, "1 udp A dropped", " REFUSED dropped"),
    ("class CH", datagram("x.example.org.", 1, 3), UDP, "1 udp A dropped", " REFUSED dropped"),
    ("no question", NOT_SERVED, UDP, "1 udp other dropped", " SERVFAIL dropped"),
]


@pytest.mark.parametrize(
    ("message", "client", "request_labels", "reply_labels"),
    [row[1:] for row in COUNTED],
    ids=[row[0] for row in COUNTED],
)
def test_counts(listener: Listener, message: bytes, client: Peer, request_labels: str, reply_labels: str) -> None:
    size = listener.ask(message, client)
    assert listener.samples("coredns_dns_requests_total") == {request_labels: 1}
    assert listener.samples("coredns_dns_responses_total") == {reply_labels: 1}
    zone = request_labels.rsplit(maxsplit=1)[-1]
    sizes = f"{client.transport} {zone}"
    assert listener.samples("coredns_dns_request_size_bytes_sum") == {sizes: len(message)}
    made = reply_labels.startswith("errors") or zone == "dropped"
    assert listener.samples("coredns_dns_response_size_bytes_sum") == {sizes: size if made else 0}
    assert listener.samples("coredns_dns_response_size_bytes_count") == {sizes: 1}
    assert listener.samples("coredns_dns_request_duration_seconds_count") == {zone: 1}
    assert listener.samples("coredns_dns_do_requests_total") == {}


@pytest.mark.parametrize(
    "message",
    [with_opt(datagram("x.example.org."), opt(1232, 1 << 16)), header(5 << 11), header(0, (0, 0, 0, 0))],
    ids=["EDNS version", "UPDATE", "no question announced"],
)
def test_what_is_no_query_is_not_counted(listener: Listener, message: bytes) -> None:
    listener.ask(message)
    assert listener.samples("coredns_dns_requests_total") == {}


def test_what_a_plugin_asks_is_counted(listener: Listener) -> None:
    listener.ask(datagram("asks.a.example.org."))
    assert listener.samples("coredns_dns_requests_total") == {
        "1 udp A a.example.org.": 1,
        "1 udp TXT a.example.org.": 1,
    }
    listener.ask(datagram("asks.x.example.org."))
    listener.ask(datagram("asks.example.org."))
    assert listener.samples("coredns_dns_requests_total")["1 udp TXT example.org."] == 2


def test_ds_is_counted_in_the_longest_zone_of_the_block_that_answers(listener: Listener) -> None:
    listener.ask(datagram("a.example.org.", 43))
    assert listener.samples("coredns_dns_requests_total") == {"1 udp DS a.example.org.": 1}


def test_do(listener: Listener) -> None:
    for flags in (0, 0x8000, 0x8000):
        listener.ask(with_opt(datagram("x.example.org."), opt(1232, flags)))
    assert listener.samples("coredns_dns_do_requests_total") == {"example.org.": 2}
    assert listener.samples("coredns_dns_requests_total") == {"1 udp A example.org.": 3}


def test_plugins(listener: Listener) -> None:
    """Those that see queries, under the first zone."""
    names = {f"{name} example.org.": 1 for name in ("prometheus", "errors", "whoami")}
    assert listener.samples("coredns_plugin_enabled") == names
    listener._stepped.wait(listener.plugin.stop())  # noqa: SLF001 - as a reload does
    assert listener.samples("coredns_plugin_enabled") == {}


def test_kinds_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "MOST_KINDS", 2)
    labels = exchanges.Labels("dns://bounded", ".")
    observe = exchanges.observer(labels, "errors")
    asked = _query()
    for rcode in range(100):
        observe(asked, rcode, 40, 0.0)
    series = exchanges.every_series.pop(labels)
    series.fold()
    kinds = series.kinds
    assert list(kinds.values()) == [[1], [1], [98]]
    assert exchanges.rcode_label(list(kinds)[-1][3]) == "other"


@pytest.mark.parametrize(("rcode", "label"), [(0, "NOERROR"), (16, "BADVERS"), (23, "BADCOOKIE"), (12, "RCODE12")])
def test_rcodes(rcode: int, label: str) -> None:
    assert exchanges.rcode_label(rcode) == label


@pytest.mark.parametrize(
    ("size", "bound"), [(0, 0), (1, 100), (100, 100), (101, 200), (512, 1023), (64000, 64000), (64001, None)]
)
def test_sizes(size: int, bound: int | None) -> None:
    bucket = exchanges.BUCKETS[size]
    assert (exchanges.SIZES[bucket] if bucket < len(exchanges.SIZES) else None) == bound
    assert len(exchanges.BUCKETS) == 65536


@pytest.mark.parametrize(
    ("seconds", "bound"), [(0.0, "0.00025"), (0.00025, "0.00025"), (0.0003, "0.0005"), (8.0, "8.192"), (9.0, "+Inf")]
)
def test_durations(seconds: float, bound: str) -> None:
    labels = exchanges.Labels("dns://durations", ".")
    exchanges.observer(labels, "")(_query(), 0, 40, seconds)
    (family,) = (
        one
        for one in exchanges.families()
        if one.name.endswith("duration_seconds") and any(s.labels["server"] == labels.server for s in one.samples)
    )
    del exchanges.every_series[labels]
    counts = {sample.labels["le"]: sample.value for sample in family.samples if sample.name.endswith("_bucket")}
    bounds = list(counts)
    assert [counts[one] for one in bounds] == [int(at >= bounds.index(bound)) for at in range(len(bounds))]
    assert bounds[0] == "0.00025"
    assert bounds[-1] == "+Inf"
    assert len(bounds) == 17


def _query() -> Query:
    from tests.plugins.helpers import query  # noqa: PLC0415 - its name is that of many an argument here

    return query()


def test_text() -> None:
    registry = CollectorRegistry()
    counter = Counter("b_things", 'A "thing"\nor \\two.', ["of"], registry=registry)
    counter.labels('q"\\\n').inc(2.5)
    Counter("empty", "Nothing yet.", ["of"], registry=registry)
    Gauge("a", "First.", registry=registry).set(float("inf"))
    Info("c", "Last.", registry=registry).info({"y": "2", "x": "1"})
    assert b"".join(asyncio.run(exposition.render(registry.collect()))).decode() == (
        "# HELP a First.\n# TYPE a gauge\na +Inf\n"
        '# HELP b_things_total A "thing"\\nor \\\\two.\n# TYPE b_things_total counter\n'
        'b_things_total{of="q\\"\\\\\\n"} 2.5\n'
        '# HELP c_info Last.\n# TYPE c_info gauge\nc_info{x="1",y="2"} 1\n'
    )


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "1"), (1.0, "1"), (0.25, "0.25"), (float("-inf"), "-Inf"), (float("nan"), "NaN"), (1e300, "1e+300")],
)
def test_number(number: float, text: str) -> None:
    assert metrics.number_text(number) == text


def test_other_work_goes_on_while_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "SLICE", 0.0)
    all_labels = [exchanges.Labels("dns://many", f"{number}.test.") for number in range(50)]
    for labels in all_labels:
        exchanges.observer(labels, "")(_query(), 0, 40, 0.0)

    async def work() -> tuple[int, int]:
        task = asyncio.create_task(exposition.render(metrics.registry.collect()))
        turns = 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        pieces = await task
        assert gzip.decompress(await exposition.compress(pieces)) == b"".join(pieces)
        return turns, b"".join(pieces).count(b"dns://many")

    turns, lines = asyncio.run(work())
    for labels in all_labels:
        del exchanges.every_series[labels]
    assert lines > 2000
    assert turns > 250


class Live:
    """A cluster, as the kubernetes plugin shares it."""

    def __init__(self, host: str) -> None:
        self.source = self
        self.statistics = Statistics(host)
        self.statistics.requests["200", "GET"] += 2
        self.statistics.requests["<error>", "GET"] += 1
        self.statistics.list_durations.observe(0.02)
        self.statistics.programming["cluster_ip"].observe(0.5)
        self.statistics.resources["Service"] = ResourceStatistics(lambda: 5, 1.0, watching=True, events=7, lists=3)


def test_clusters() -> None:
    """Two that read the same API server are one; what else is shared has none."""
    shared = [Live("a:6443"), object(), Live("b:6443"), Live("a:6443")]
    registry = CollectorRegistry()
    registry.register(metrics.Folded(lambda: cluster.families(cluster.all_statistics(shared))))
    text = b"".join(asyncio.run(exposition.render(registry.collect()))).decode()
    lines = text.splitlines()
    for line in (
        'coredns_kubernetes_rest_client_requests_total{code="200",host="a:6443",method="GET"} 4',
        'coredns_kubernetes_rest_client_requests_total{code="<error>",host="b:6443",method="GET"} 1',
        'coredns_kubernetes_rest_client_request_duration_seconds_bucket{host="a:6443",le="0.01",verb="GET"} 0',
        'coredns_kubernetes_rest_client_request_duration_seconds_bucket{host="a:6443",le="0.025",verb="GET"} 2',
        'coredns_kubernetes_dns_programming_duration_seconds_count{service_kind="cluster_ip"} 3',
        'coredns_kubernetes_dns_programming_duration_seconds_bucket{le="0.001",service_kind="cluster_ip"} 0',
        'kubedns_kubernetes_events_total{host="a:6443",resource="Service"} 14',
        'kubedns_kubernetes_relists_total{host="b:6443",resource="Service"} 2',
        'kubedns_kubernetes_objects{host="a:6443",resource="Service"} 10',
        'kubedns_kubernetes_watching{host="b:6443",resource="Service"} 1',
        'coredns_kubernetes_rest_client_rate_limiter_duration_seconds_bucket{host="a:6443",le="0.005",verb="GET"} 2',
        'coredns_kubernetes_rest_client_rate_limiter_duration_seconds_sum{host="a:6443",verb="GET"} 0',
    ):
        assert lines.count(line) == 1
    assert len(lines) == len(set(lines))
    assert list(cluster.families(cluster.all_statistics([object()]))) == []


def test_the_process(tmp_path: Path) -> None:
    with Ports() as ports:
        port, shown, taken, health = ports.take(), ports.take(), ports.take(), ports.take()
        corefile = (
            f"a.test:{port} {{\n    prometheus 127.0.0.1:{shown}\n    errors\n    health 127.0.0.1:{health}\n"
            f"    whoami\n}}\nb.test:{port} {{\n    prometheus 127.0.0.1:{taken}\n    whoami\n}}\n"
        )
        with socket.socket() as foreign:
            foreign.bind(("127.0.0.1", taken))
            foreign.listen()
            with serving(tmp_path, corefile) as server:
                said = f"listen tcp 127.0.0.1:{taken}: bind: address already in use"
                assert f"[ERROR] Failed to start metrics handler: {said}" in server.output.all
                for name in ("a.test", "b.test", "c.test"):
                    assert ask(port, compose(name)) is not None
                before = scrape(shown)
                for name, plugin, zone in (
                    ("a", "errors", "a.test."),
                    ("b", "whoami", "b.test."),
                    ("c", "", "dropped"),
                ):
                    labels = {"server": f"dns://:{port}", "zone": zone, "view": "", "plugin": plugin}
                    labels["rcode"] = "REFUSED" if name == "c" else "NOERROR"
                    assert before["coredns_dns_responses_total", *sorted(labels.items())] == 1
                assert before["kubedns_udp_received_total", ("server", f"dns://:{port}")] == 3
                assert before["process_resident_memory_bytes",] > 1e6
                assert before["go_goroutines",] > 0
                assert before["coredns_health_request_failures_total",] == 0
                assert before["coredns_panics_total",] == 0
                server.reload()
                after = scrape(shown)
                for key in [key for key in before if key[0] == "coredns_dns_requests_total"]:
                    assert after[key] == 1


def scrape(port: int) -> dict[tuple[object, ...], float]:
    """Return each sample's value by its name and sorted labels, after promtool has found nothing to blame."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n")
        head, _, body = b"".join(iter(lambda: client.recv(1 << 16), b"")).partition(b"\r\n\r\n")
    assert b"\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8; escaping=underscores\r\n" in head
    text = gzip.decompress(body)
    if shutil.which("promtool"):
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    assert b"_created" not in text
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


REFUSED = [
    ("address", "prometheus 9153", "address 9153: missing port in address", "2:12"),
    ("twice", "prometheus\nprometheus", "this plugin can only be used once per Server Block", "3:1"),
    ("option", "prometheus {\nfoo\n}", "Corefile:3 - Error during parsing: unknown option: foo", "3:1"),
    (
        "runtime_metrics",
        "prometheus {\nruntime_metrics all\n}",
        "Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after 'all'",
        "3:17",
    ),
]


@pytest.mark.parametrize(("text", "message", "place"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(text: str, message: str, place: str) -> None:
    with pytest.raises(CorefileError) as raised:
        prometheus.setup(directive(text), ServerBlock((".",)))
    assert str(raised.value) == message
    assert placed(raised.value) == place
