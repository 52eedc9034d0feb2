"""Each option, what is wrong with it at its place, and what comes of it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from kubedns.corefile.errors import CorefileError, CorefileErrors
from kubedns.plugin.contract import ServerBlock
from kubedns.upstream.address import Address
from kubedns.upstream.settings import HealthCheck
from kubedns.wire.name import name
from plugins import forward
from plugins.forward.destinations import HostName, name_servers, read_destination
from plugins.forward.options import read_options
from tests.fakes.apiserver.certificates import make_certificates
from tests.plugins.helpers import directive, placed

if TYPE_CHECKING:
    from pathlib import Path

    from plugins.forward.options import Options

TO = "forward . 10.0.0.1"
PARSING = "Corefile:{} - Error during parsing: "
ENDING = "Wrong argument count or unexpected line ending after '{}'"


def read(text: str) -> Options:
    [use] = directive(text).uses
    return read_options(use, ServerBlock((".",)))


def option(line: str) -> str:
    return f"{TO} {{\n{line}\n}}"


ERRORS = [
    pytest.param("forward", "2:1", PARSING.format(2) + ENDING.format("forward"), id="nothing"),
    pytest.param("forward .", "2:9", PARSING.format(2) + ENDING.format("."), id="no TO"),
    pytest.param(f"forward {'a' * 64} 10.0.0.1", "2:9", f"unable to normalize '{'a' * 64}'", id="no zone"),
    pytest.param(
        "forward . grpc://10.0.0.1",
        "2:11",
        "'grpc' is not supported as a destination protocol in forward: grpc://10.0.0.1:443",
        id="grpc",
    ),
    pytest.param(
        "forward . quic://[2001:db8::1]:8853",
        "2:11",
        "'quic' is not supported as a destination protocol in forward: quic://[2001:db8::1]:8853",
        id="quic",
    ),
    pytest.param(
        "forward . https://10.0.0.1/dns-query",
        "2:11",
        'not an IP address, file, or valid domain: "https://10.0.0.1/dns-query"',
        id="a path",
    ),
    pytest.param(
        "forward . 10.0.0.1 10.0.0.1:port",
        "2:20",
        'not an IP address, file, or valid domain: "10.0.0.1:port"',
        id="port in letters",
    ),
    pytest.param(
        "forward . 10.0.0.1:65536",
        "2:11",
        'not an IP address, file, or valid domain: "10.0.0.1:65536"',
        id="port too high",
    ),
    pytest.param(
        "forward . /no/such/file", "2:11", 'not an IP address, file, or valid domain: "/no/such/file"', id="no file"
    ),
    pytest.param("forward . [::1", "2:11", 'not an IP address, file, or valid domain: "[::1"', id="an open bracket"),
    pytest.param("forward . a..b", "2:11", 'not an IP address, file, or valid domain: "a..b"', id="no name"),
    pytest.param(
        "forward . " + " ".join(f"10.0.0.{number}" for number in range(1, 17)),
        "2:152",
        "more than 15 TOs configured: 16",
        id="16 TOs",
    ),
    pytest.param("forward . /dev/null", "2:11", "no valid upstream addresses found", id="nothing"),
    pytest.param("forward . /dev/zero", "2:11", 'not an IP address, file, or valid domain: "/dev/zero"', id="device"),
    *(
        pytest.param(option(line), place, PARSING.format(3) + text, id=line)
        for line, place, text in [
            ("except", "3:1", ENDING.format("except")),
            ("force_tcp yes", "3:11", ENDING.format("yes")),
            ("prefer_udp yes", "3:12", ENDING.format("yes")),
            ("next_on_nodata 1", "3:16", ENDING.format("1")),
            ("failfast_all_unhealthy_upstreams 1", "3:34", ENDING.format("1")),
            ("expire", "3:1", ENDING.format("expire")),
            ("expire 10s 20s", "3:12", "unknown property '20s'"),
            ("max_fails", "3:1", ENDING.format("max_fails")),
            ("policy", "3:1", ENDING.format("policy")),
            ("policy fastest", "3:8", "unknown policy 'fastest'"),
            ("policy RANDOM", "3:8", "unknown policy 'RANDOM'"),
            ("health_check", "3:1", ENDING.format("health_check")),
            ("health_check 1s domain", "3:17", ENDING.format("domain")),
            ("next", "3:1", ENDING.format("next")),
            ("failover", "3:1", ENDING.format("failover")),
            ("resolver", "3:1", ENDING.format("resolver")),
            ("tls_servername", "3:1", ENDING.format("tls_servername")),
            ("tls a b c d", "3:11", ENDING.format("d")),
            ("force_tpc", "3:1", "unknown property 'force_tpc'"),
        ]
    ),
    *(
        pytest.param(option(line), place, text, id=line)
        for line, place, text in [
            ("expire 10", "3:8", 'time: missing unit in duration "10"'),
            ("expire -1s", "3:8", "expire can't be negative: -1s"),
            ("max_age -1s", "3:9", "max_age can't be negative: -1s"),
            ("max_age 5s", "3:9", "max_age (5s) must not be less than expire (10s)"),
            ("max_idle_conns -1", "3:16", "max_idle_conns can't be negative: -1"),
            ("max_idle_conns many", "3:16", 'strconv.Atoi: parsing "many": invalid syntax'),
            ("read_timeout 0s", "3:14", "read_timeout must be positive: 0s"),
            ("max_fails -1", "3:11", 'strconv.ParseUint: parsing "-1": invalid syntax'),
            ("max_fails 4294967296", "3:11", 'strconv.ParseUint: parsing "4294967296": value out of range'),
            ("max_connect_attempts x", "3:22", 'strconv.ParseUint: parsing "x": invalid syntax'),
            ("max_concurrent -4", "3:16", "max_concurrent can't be negative: -4"),
            ("doh_method get", "3:12", "doh_method must be either POST or GET"),
            ("health_check 5", "3:14", 'time: missing unit in duration "5"'),
            ("health_check -1ns", "3:14", "health_check can't be negative: -1"),
            ("health_check 1s x", "3:17", "health_check: unknown option x"),
            ("health_check 1s domain a..b", "3:24", "health_check: invalid domain name a..b"),
            ("next NXDOMAIN NOPE", "3:15", "NOPE is not a valid rcode"),
            ("failover nope", "3:10", "nope is not a valid rcode"),
            ("failover SERVFAIL NoError", "3:19", "NoError cannot be used in failover"),
            ("resolver dns.test", "3:10", 'resolver must be an IP address or IP:port: "dns.test"'),
            ("source_address here", "3:16", "invalid IP address: here"),
            ("tls /no/ca", "3:5", "error reading /no/ca: open /no/ca: no such file or directory"),
            ("tls /no/cert /no/key", "3:5", "could not load TLS cert: open /no/cert: no such file or directory"),
            (
                "tls /dev/null /no/key /no/ca",
                "3:15",
                "could not load TLS cert: open /no/key: no such file or directory",
            ),
            ("tls /dev/null /dev/null /no/ca", "3:25", "error reading /no/ca: open /no/ca: no such file or directory"),
        ]
    ),
    pytest.param(
        "forward . tls://10.0.0.1%bar {\ntls_servername foo\n}",
        "2:11",
        "both forward ('foo') and proxy level ('bar') TLS servernames are set for upstream proxy 'tls://10.0.0.1%bar'",
        id="two server names",
    ),
]


@pytest.mark.parametrize(("text", "place", "said"), ERRORS)
def test_error(text: str, place: str, said: str) -> None:
    with pytest.raises(CorefileError) as caught:
        read(text)
    [error] = caught.value.errors
    assert (str(error), placed(error)) == (said, place)
    assert error.cure or "unknown" in said


def test_all_errors_are_told() -> None:
    with pytest.raises(CorefileErrors) as caught:
        read("forward . grpc://a quic://b {\nexpire 1\npolicy x\n}")
    assert [placed(error) for error in caught.value.errors] == ["2:11", "2:20", "3:8", "4:8"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("1.2.3.4", Address("1.2.3.4", 53)),
        ("dns://1.2.3.4", Address("1.2.3.4", 53)),
        ("1.2.3.4:5300", Address("1.2.3.4", 5300)),
        ("[2001:DB8::1]:53", Address("2001:db8::1", 53)),
        ("::1", Address("::1", 53)),
        ("[::1]", Address("::1", 53)),
        ("fe80::2%eth0", Address("fe80::2", 53, scope="eth0")),
        ("tls://1.2.3.4", Address("1.2.3.4", 853, "tls")),
        ("tls://10.0.0.1%dns.test:8853", Address("10.0.0.1", 8853, "tls", "dns.test")),
        ("tls://[2001:db8::1%dns.test]:8853", Address("2001:db8::1", 8853, "tls", "dns.test")),
        ("https://10.0.0.1", Address("10.0.0.1", 443, "https")),
        ("https://[2001:db8::1%dns.test]:8443", Address("2001:db8::1", 8443, "https", "dns.test")),
        ("tls://::1%dns.test", Address("::1", 853, "tls", "dns.test")),
    ],
)
def test_address(text: str, address: Address) -> None:
    [use] = directive(f"forward . {text}").uses
    assert read_destination(use.arguments[1]) == address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dns.test", ("dns.test", 53, "dns", "")),
        ("dns.test:5300", ("dns.test", 5300, "dns", "")),
        ("tls://dns.test", ("dns.test", 853, "tls", "")),
        ("tls://dns.test%other.test:8853", ("dns.test", 8853, "tls", "other.test")),
    ],
)
def test_host_name(text: str, expected: tuple[str, int, str, str]) -> None:
    [use] = directive(f"forward . {text}").uses
    found = read_destination(use.arguments[1])
    assert isinstance(found, HostName)
    assert (found.name, found.port, found.transport, found.server_name) == expected


def test_resolv_conf() -> None:
    octets = (
        b"# nameserver 10.0.0.9\nsearch a.test\nnameserver 10.0.0.1\nnameserver fe80::2%eth0\nnameserver\noptions x\n"
    )
    found = name_servers(octets)
    assert found == [Address("10.0.0.1", 53), Address("fe80::2", 53, scope="eth0")]
    assert [each.text for each in found] == ["10.0.0.1:53", "[fe80::2]:53"]


def test_a_resolv_conf_without_name_servers_is_passed_over(tmp_path: Path) -> None:
    empty = tmp_path / "resolv.conf"
    empty.write_text("search a.test\n")
    assert read(f"forward . {empty} 10.0.0.1").destinations == [Address("10.0.0.1", 53)]
    with pytest.raises(CorefileError, match="no valid upstream addresses found"):
        read(f"forward . {empty}")


def test_equal_addresses_count_once() -> None:
    plugin = forward.setup(directive("forward . 10.0.0.2 10.0.0.1 dns://10.0.0.2:53 [::1]"), ServerBlock((".",)))
    assert plugin.upstreams() == ["10.0.0.2:53", "10.0.0.1:53", "[::1]:53"]


def test_defaults() -> None:
    options = read(TO)
    assert (options.zone, options.excepted, options.max_fails, options.most_attempts) == (b"\0", (), 2, None)
    assert (options.policy, options.max_concurrent, options.force_tcp, options.prefer_udp) == (
        "random",
        0,
        False,
        False,
    )
    settings = options.settings
    assert (settings.read_timeout, settings.expire, settings.max_age, settings.most_idle) == (2, 10, 0, 0)
    assert settings.check == HealthCheck(0.5, recursion_desired=True, name=b"\0")


def test_everything() -> None:
    options = read(
        """forward example.org 10.0.0.1 {
            except a.example.org b.example.org.
            except 10.0.0.0/15
            force_tcp
            prefer_udp
            expire 1m
            max_age 2m
            max_idle_conns 3
            read_timeout 500ms
            max_fails 5
            max_connect_attempts 0
            doh_method GET
            tls_servername dns.test
            policy round_robin
            health_check 5s no_rec domain example.net
            max_concurrent 1000
            next nxdomain ServFail
            next_on_nodata
            failfast_all_unhealthy_upstreams
            failover REFUSED NotImp
            resolver 10.0.0.9 [::1]:5300
            source_address 10.1.1.1
        }"""
    )
    zones = ["a.example.org", "b.example.org", "0.10.in-addr.arpa", "1.10.in-addr.arpa"]
    assert options.excepted == tuple(name(zone) for zone in zones)
    assert (options.force_tcp, options.prefer_udp, options.next_on_nodata, options.failfast) == (True,) * 4
    settings = options.settings
    assert (settings.expire, settings.max_age, settings.most_idle, settings.read_timeout) == (60, 120, 3, 0.5)
    assert (settings.source, settings.http_method) == ("10.1.1.1", "GET")
    assert settings.check == HealthCheck(5, recursion_desired=False, name=name("example.net"))
    assert (options.max_fails, options.most_attempts, options.max_concurrent) == (5, 0, 1000)
    assert (options.next, options.failover, options.policy) == (frozenset({3, 2}), frozenset({5, 4}), "round_robin")
    assert options.resolvers == (Address("10.0.0.9", 53), Address("::1", 5300))
    assert options.server_name == "dns.test"


def test_of_a_cidr_that_is_several_zones_the_first_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert read("forward 10.9.3.0/18 10.0.0.1").zone == name("0.9.10.in-addr.arpa.")
    said = "Unsupported CIDR notation: '10.9.3.0/18' expands to multiple zones. Using only '0.9.10.in-addr.arpa.'."
    assert capsys.readouterr().out == f"[WARNING] plugin/forward: {said}\n"


@pytest.mark.parametrize("files", ["ca", "cert key", "cert key ca"])
def test_tls_files(files: str, tmp_path: Path) -> None:
    make_certificates(tmp_path)
    paths = {"ca": tmp_path / "ca.crt", "cert": tmp_path / "apiserver.crt", "key": tmp_path / "apiserver.key"}
    options = read(option("tls " + " ".join(str(paths[each]) for each in files.split())))
    assert options.tls.context("http/1.1").minimum_version == ssl.TLSVersion.TLSv1_2
    again = read(option("tls " + " ".join(str(paths[each]) for each in files.split())))
    assert options.tls == again.tls
    make_certificates(tmp_path)
    renewed = read(option("tls " + " ".join(str(paths[each]) for each in files.split())))
    assert options.tls != renewed.tls


def test_a_file_that_holds_no_certificate(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("nothing\n")
    with pytest.raises(CorefileError, match="could not read root certs"):
        read(option(f"tls {tmp_path / 'ca'}"))
    with pytest.raises(CorefileError, match="could not load TLS cert"):
        read(option(f"tls {tmp_path / 'ca'} {tmp_path / 'ca'}"))
