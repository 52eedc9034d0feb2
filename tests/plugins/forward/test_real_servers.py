"""NSD's and Unbound's own replies come through as they are, in plain text and by TLS."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from kubedns.upstream.statistics import statistics_of
from tests.fakes.apiserver.certificates import make_certificates
from tests.plugins.forward import real
from tests.plugins.forward.forwarding import addresses, asked, forwarding, gather, refused, run
from tests.plugins.helpers import query

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dnslib import DNSRecord

REPLIES = real.ZONE.parent / "replies.jsonl"


@pytest.fixture(scope="module")
def nsd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with real.nsd(tmp_path_factory.mktemp("nsd")) as address:
        yield address


class Secure(NamedTuple):
    plain: str
    tls: str
    authority: Path
    other_authority: Path


@pytest.fixture(scope="module")
def unbound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder, other = tmp_path_factory.mktemp("unbound"), tmp_path_factory.mktemp("other")
    make_certificates(folder)
    make_certificates(other)
    with ExitStack() as stack:
        plain, tls = stack.enter_context(real.unbound(folder, folder / "apiserver.crt", folder / "apiserver.key"))
        yield Secure(plain, tls, folder / "ca.crt", other / "ca.crt")


def exchanges() -> list[dict[str, Any]]:
    """Return what NSD itself was recorded to say, the plain queries of class IN."""
    lines = [json.loads(line) for line in REPLIES.read_text().splitlines()]
    return [
        line
        for line in lines
        if not {"class", "edns", "do", "cd", "ad", "bufsize"} & line.keys() and line.get("rd", True)
    ]


def told(record: DNSRecord) -> list[tuple[str, int, str]]:
    return sorted(
        (str(rr.rname).lower(), rr.rtype, str(rr.rdata).lower()) for rr in (*record.rr, *record.auth, *record.ar)
    )


@pytest.mark.parametrize("line", ["expire 10s", "force_tcp", "prefer_udp"])
def test_nsd_s_replies_come_through(nsd: str, line: str) -> None:
    async def work() -> None:
        async with forwarding(f"forward . {nsd} {{\n{line}\n}}") as plugin:
            checked = 0
            for exchange in exchanges():
                transport = "tcp" if exchange.get("tcp") else "udp"
                record = await asked(plugin, query(exchange["name"], exchange["type"], transport=transport))
                expected = exchange["reply"]
                assert record.header.rcode == getattr(real_rcodes, expected["rcode"]), exchange
                assert bool(record.header.aa) is ("AA" in expected["flags"].split()), exchange
                if not record.header.tc and "TC" not in expected["flags"].split():
                    sections = (record.rr, record.auth, record.ar)
                    counts = [len(expected[name]) for name in ("answer", "authority", "additional")]
                    assert [len(section) for section in sections] == counts, exchange
                    checked += 1
            assert checked > 100

    run(work())


class real_rcodes:  # noqa: N801 - as the recordings spell them
    NOERROR, NXDOMAIN, REFUSED, NOTIMP, FORMERR, SERVFAIL = 0, 3, 5, 4, 1, 2


def test_many_at_a_time(nsd: str) -> None:
    async def work() -> None:
        async with forwarding(f"forward . {nsd}") as plugin:
            for transport in ("udp", "tcp"):
                names = [f"n{number}.wild.example.com." for number in range(300)]
                records = await gather(*(asked(plugin, query(owner, transport=transport)) for owner in names))
                assert [str(record.q.qname) for record in records] == names
                assert all(addresses(record)[0] == "192.0.2.42" for record in records)

    run(work())


@pytest.mark.parametrize(
    ("suffix", "line"),
    [
        pytest.param("", "expire 10s", id="for the address"),
        pytest.param("%localhost", "expire 10s", id="for the name behind TO"),
        pytest.param("", "tls_servername localhost", id="for tls_servername"),
    ],
)
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_tls(unbound: Secure, suffix: str, line: str, transport: str) -> None:
    async def work() -> None:
        host, port = unbound.tls.split(":")
        text = f"forward . tls://{host}{suffix}:{port} {{\ntls {unbound.authority}\n{line}\n}}"
        before = dict(statistics_of(unbound.tls).hits), dict(statistics_of(unbound.tls).misses)
        async with forwarding(text) as plugin:
            for _ in range(3):
                record = await asked(plugin, query("www.test.", transport=transport))
                assert addresses(record) == ["192.0.2.80"]
        statistics = statistics_of(unbound.tls)
        assert statistics.misses["tcp-tls"] - before[1]["tcp-tls"] == 1
        assert statistics.hits["tcp-tls"] - before[0]["tcp-tls"] == 2
        assert statistics.misses["udp"] == 0

    run(work())


@pytest.mark.parametrize(
    ("suffix", "authority", "text"),
    [
        pytest.param("", "other_authority", "certificate", id="another authority"),
        pytest.param("", None, "certificate", id="the system's authorities"),
        pytest.param("%other.test", "authority", "Hostname mismatch", id="another name"),
    ],
)
def test_tls_with_a_bad_certificate(unbound: Secure, suffix: str, authority: str | None, text: str) -> None:
    async def work() -> None:
        host, port = unbound.tls.split(":")
        tls = f"tls {getattr(unbound, authority)}" if authority else "tls"
        async with forwarding(f"forward . tls://{host}{suffix}:{port} {{\n{tls}\nmax_fails 0\n}}") as plugin:
            error = await refused(plugin, query("www.test."))
            assert str(error).startswith("tls: failed to verify certificate: ")
            assert text in str(error)

    run(work())


def test_tls_to_who_speaks_none(unbound: Secure) -> None:
    async def work() -> None:
        async with forwarding(f"forward . tls://{unbound.plain} {{\nmax_fails 0\n}}") as plugin:
            assert str(await refused(plugin, query("www.test."))) != ""

    run(work())


def test_a_check_by_tls(unbound: Secure) -> None:
    async def work() -> None:
        text = f"forward . tls://{unbound.tls} {{\ntls {unbound.authority}\n}}"
        async with forwarding(text) as plugin:
            [server] = plugin.rules[0].servers
            assert (await server.probe(b"\1\0\0\1\0\0\0\0\0\0\0\0\2\0\1"))[2] & 0x80

    run(work())
