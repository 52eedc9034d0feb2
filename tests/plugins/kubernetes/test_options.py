"""The options of the kubernetes directive: what they mean, and what is said, and where, of those that are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kubedns.corefile.errors import CorefileError
from kubedns.plugin.contract import ServerBlock
from kubedns.wire.name import name
from plugins.kubernetes.options import Options, read_options
from tests.loading import load
from tests.plugins.helpers import directive, placed

if TYPE_CHECKING:
    from typing import Any

CLUSTER = "cluster.local."
COUNT = "Corefile:{line} - Error during parsing: Wrong argument count or unexpected line ending after '{word}'"
PARSING = "Corefile:3 - Error during parsing: "


def read(text: str, *zones: str) -> Options:
    return read_options(directive(text), ServerBlock(zones or (CLUSTER,)))


def test_defaults() -> None:
    options = read("kubernetes")
    assert options == Options((name(CLUSTER),), name(CLUSTER))
    assert (options.ttl, options.pods, options.startup_timeout) == (5, "disabled", 5.0)
    assert not any((options.endpoint_pod_names, options.noendpoints, options.ignore_empty_service))
    assert (options.namespaces, options.fallthrough, options.endpoint) == (frozenset(), (), "")
    assert (options.tls, options.kubeconfig) == (None, None)


READ: dict[str, tuple[str, dict[str, Any]]] = {
    "ttl": ("ttl 30", {"ttl": 30}),
    "ttl, lowest": ("ttl 0", {"ttl": 0}),
    "ttl, highest": ("ttl 3600", {"ttl": 3600}),
    "ttl, further words": ("ttl 7 x y", {"ttl": 7}),
    "the last ttl": ("ttl 7\nttl 8", {"ttl": 8}),
    "pods": ("pods insecure", {"pods": "insecure"}),
    "endpoint_pod_names": ("endpoint_pod_names", {"endpoint_pod_names": True}),
    "noendpoints": ("noendpoints", {"noendpoints": True}),
    "namespaces": ("namespaces a b", {"namespaces": frozenset({"a", "b"})}),
    "namespaces on two lines": ("namespaces a\nnamespaces b", {"namespaces": frozenset({"a", "b"})}),
    "fallthrough": ("fallthrough", {"fallthrough": (b"\0",)}),
    "fallthrough zones": ("fallthrough A.test 10.0.0.0/8", {"fallthrough": (name("a.test"), name("10.in-addr.arpa"))}),
    "ignore": ("ignore empty_service further words", {"ignore_empty_service": True}),
    "ignore nothing": ("ignore", {}),
    "startup_timeout": ("startup_timeout 1m30s", {"startup_timeout": 90.0}),
    "endpoint": ("endpoint http://127.0.0.1:8001", {"endpoint": "http://127.0.0.1:8001"}),
    "tls": ("tls a b c", {"tls": ("a", "b", "c")}),
    "kubeconfig": ("kubeconfig f", {"kubeconfig": ("f", "")}),
    "kubeconfig context": ("kubeconfig f c", {"kubeconfig": ("f", "c")}),
    "no effect": ("apiserver_qps 1.5\napiserver_burst 10\napiserver_max_inflight 0", {}),
}


@pytest.mark.parametrize(("lines", "expected"), READ.values(), ids=READ)
def test_option(lines: str, expected: dict[str, Any]) -> None:
    assert read(f"kubernetes {{\n{lines}\n}}") == Options((name(CLUSTER),), name(CLUSTER), **expected)


@pytest.mark.parametrize("option", ["labels", "namespace_labels"])
def test_label_selectors(option: str) -> None:
    """Blanks make words of an expression; they are put together again."""
    options = read(f"kubernetes {{\n{option} team in (a, b),!old\n}}")
    selector = options.labels if option == "labels" else options.namespace_labels
    assert selector.matches({"team": "b"})
    assert not selector.matches({"team": "b", "old": ""})
    assert not selector.matches({"team": "c"})


def test_several_endpoints(capsys: pytest.CaptureFixture[str]) -> None:
    assert read("kubernetes {\nendpoint http://a http://b\n}").endpoint == "http://a"
    assert (
        "[WARNING] plugin/kubernetes: Multiple endpoints have been deprecated, "
        "only the first specified endpoint 'http://a' is used\n"
    ) in "".join(capsys.readouterr())


ZONES = {
    "the block's": ("", ["a.test", "b.test"], "a.test"),
    "named": ("C.test b.test", ["c.test", "b.test"], "c.test"),
    "reverse first": ("10.in-addr.arpa cluster.local", ["10.in-addr.arpa", "cluster.local"], "cluster.local"),
    "in-addr.arpa first": ("in-addr.arpa cluster.local", ["in-addr.arpa", "cluster.local"], "in-addr.arpa"),
    "ip6.arpa first": ("ip6.arpa cluster.local", ["ip6.arpa", "cluster.local"], "ip6.arpa"),
    "network": ("10.96.0.0/15 k.test", ["96.10.in-addr.arpa", "97.10.in-addr.arpa", "k.test"], "k.test"),
    "IPv6 network": ("fd00::/16 k.test", ["0.0.d.f.ip6.arpa", "k.test"], "k.test"),
    "root": (".", ["."], "."),
    "what is no zone": ("a..b k.test", ["k.test"], "k.test"),
}


@pytest.mark.parametrize(("words", "zones", "primary"), ZONES.values(), ids=ZONES)
def test_zones(words: str, zones: list[str], primary: str) -> None:
    options = read(f"kubernetes {words}", "a.test.", "b.test.")
    assert options.zones == tuple(map(name, zones))
    assert options.primary == name(primary)


def _count(option: str, word: str = "", column: int = 1) -> tuple[str, str, str]:
    return option, COUNT.format(line=3, word=word or option), f"3:{column}"


REFUSED = {
    **{
        f"{option}, nothing": _count(option)
        for option in (
            "endpoint",
            "tls",
            "kubeconfig",
            "apiserver_qps",
            "apiserver_burst",
            "apiserver_max_inflight",
            "namespaces",
            "namespace_labels",
            "labels",
            "pods",
            "ttl",
            "startup_timeout",
        )
    },
    "tls, two": _count("tls a b", "b", 7),
    "tls, four": _count("tls a b c d", "d", 11),
    "kubeconfig, three": _count("kubeconfig a b c", "c", 16),
    "pods, two": _count("pods verified x", "x", 15),
    "endpoint_pod_names": _count("endpoint_pod_names x", "x", 20),
    "noendpoints": _count("noendpoints x", "x", 13),
    "apiserver_qps": (
        "apiserver_qps x",
        f'{PARSING}invalid apiserver_qps "x": strconv.ParseFloat: parsing "x": invalid syntax',
        "3:15",
    ),
    "apiserver_qps, negative": ("apiserver_qps -1", f"{PARSING}apiserver_qps must be >= 0", "3:15"),
    "apiserver_burst": (
        "apiserver_burst 1.5",
        f'{PARSING}invalid apiserver_burst "1.5": strconv.Atoi: parsing "1.5": invalid syntax',
        "3:17",
    ),
    "apiserver_burst, negative": ("apiserver_burst -1", f"{PARSING}apiserver_burst must be >= 0", "3:17"),
    "apiserver_max_inflight": (
        "apiserver_max_inflight -7",
        f"{PARSING}apiserver_max_inflight must be >= 0",
        "3:24",
    ),
    "namespaces and labels": (
        "namespaces a\nnamespace_labels b",
        "Corefile:5 - Error during parsing: namespaces and namespace_labels cannot both be set",
        "5:1",
    ),
    "pods": ("pods all", "wrong value for pods: all,  must be one of: disabled, verified, insecure", "3:6"),
    "ttl": ("ttl x", 'strconv.Atoi: parsing "x": invalid syntax', "3:5"),
    "ttl, negative": ("ttl -1", f"{PARSING}ttl must be in range [0, 3600]: -1", "3:5"),
    "ttl, too long": ("ttl 3601", f"{PARSING}ttl must be in range [0, 3600]: 3601", "3:5"),
    "ignore": ("ignore all", "unable to parse ignore value: 'all'", "3:8"),
    "startup_timeout": (
        "startup_timeout 5",
        'failed to parse startup_timeout: 5, time: missing unit in duration "5"',
        "3:17",
    ),
    "startup_timeout, nothing left": ("startup_timeout 0s", "startup_timeout must be positive: 0s", "3:17"),
    "startup_timeout, negative": ("startup_timeout -1s", "startup_timeout must be positive: -1s", "3:17"),
    **{
        f"unknown {option}": (f"{option} x", f"{PARSING}unknown property '{option}'", "3:1")
        for option in ("upstream", "transfer", "resyncperiod", "autopath", "wildcard", "TTL")
    },
}


def _refusal(text: str) -> tuple[CorefileError, str]:
    with pytest.raises(CorefileError) as raised:
        load(f".:53 {{\n{text}\n}}\n")
    (error,) = raised.value.errors
    return error, placed(error)


@pytest.mark.parametrize(("lines", "text", "place"), REFUSED.values(), ids=REFUSED)
def test_refused(lines: str, text: str, place: str) -> None:
    error, found = _refusal(f"kubernetes cluster.local {{\n{lines}\n}}")
    assert str(error) == f"plugin/kubernetes: {text}"
    assert found == place


@pytest.mark.parametrize(("option", "start"), [("labels", "label"), ("namespace_labels", "namespace_label")])
@pytest.mark.parametrize("expression", ["a in b", "a,,b", "=", "a=b=c"])
def test_selectors_refused(option: str, start: str, expression: str) -> None:
    error, found = _refusal(f"kubernetes cluster.local {{\n{option} {expression}\n}}")
    text = (
        f"unable to parse {start} selector value: '{expression}': couldn't parse the selector string \"{expression}\": "
    )
    assert str(error).startswith(f"plugin/kubernetes: {text}")
    assert "found '" in str(error)
    assert found == f"3:{len(option) + 2}"


@pytest.mark.parametrize("words", ["10.in-addr.arpa", "10.0.0.0/8 fd00::/16", "a..b"])
def test_no_forward_zone(words: str) -> None:
    error, found = _refusal(f"kubernetes {words}")
    assert str(error) == "plugin/kubernetes: non-reverse zone name must be used"
    assert found == "2:1"
    assert "kubernetes cluster.local in-addr.arpa ip6.arpa" in error.cure


def test_once_per_server_block() -> None:
    error, found = _refusal("kubernetes a.test\nkubernetes b.test")
    assert str(error) == "plugin/kubernetes: this plugin can only be used once per Server Block"
    assert found == "3:1"


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        ("tll 5", "did you mean 'ttl'?"),
        ("pods verifed", "did you mean 'verified'?"),
        ("namespace a", "did you mean 'namespaces'?"),
    ],
)
def test_cures(line: str, cure: str) -> None:
    error, _ = _refusal(f"kubernetes cluster.local {{\n{line}\n}}")
    assert error.cure == cure


def test_all_mistakes_at_once() -> None:
    with pytest.raises(CorefileError) as raised:
        load(".:53 {\nkubernetes cluster.local {\nttl x\npods all\nnope\n}\n}\n")
    assert [placed(error) for error in raised.value.errors] == ["3:5", "4:6", "5:1"]
