"""What is counted, under CoreDNS's names and under those that it has dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest

from kubedns.metrics import Folded
from plugins.forward.metrics import families, rcode_label
from tests.fakes.upstream import HOST, Upstream, answering, closed_port, reply
from tests.plugins.forward.forwarding import asked, forwarding, refused, run
from tests.plugins.helpers import query
from tests.waiting import until

if TYPE_CHECKING:
    from tests.fakes.upstream import Asked


def scraped(to: str) -> dict[str, float]:
    """Return the samples of a name server, without `le` but for the total, by name and labels."""
    registry = CollectorRegistry()
    registry.register(Folded(families))
    found = {}
    for line in generate_latest(registry).decode().splitlines():
        if f'to="{to}"' in line and 'le="' not in line and "_sum{" not in line:
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def test_exchanges() -> None:
    async def work() -> None:
        upstream = Upstream(answering())
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            for _ in range(3):
                await asked(plugin, query(transport="tcp"))
            upstream.behaviour = lambda one: [b"\0" * 20, reply(one, rcode="NXDOMAIN")]
            await asked(plugin)
            to = upstream.address
            assert scraped(to) == {
                f'coredns_proxy_request_duration_seconds_count{{proxy_name="forward",rcode="NOERROR",to="{to}"}}': 3,
                f'coredns_proxy_request_duration_seconds_count{{proxy_name="forward",rcode="NXDOMAIN",to="{to}"}}': 1,
                f'coredns_forward_request_duration_seconds_count{{rcode="NOERROR",to="{to}"}}': 3,
                f'coredns_forward_request_duration_seconds_count{{rcode="NXDOMAIN",to="{to}"}}': 1,
                f'coredns_proxy_conn_cache_hits_total{{proto="tcp",proxy_name="forward",to="{to}"}}': 2,
                f'coredns_proxy_conn_cache_misses_total{{proto="tcp",proxy_name="forward",to="{to}"}}': 1,
                f'coredns_proxy_conn_cache_misses_total{{proto="udp",proxy_name="forward",to="{to}"}}': 1,
                f'coredns_forward_requests_total{{to="{to}"}}': 4,
                f'coredns_forward_responses_total{{rcode="NOERROR",to="{to}"}}': 3,
                f'coredns_forward_responses_total{{rcode="NXDOMAIN",to="{to}"}}': 1,
                f'kubedns_forward_strays_total{{to="{to}"}}': 1,
            }

    run(work())


def test_failed_checks() -> None:
    async def work() -> None:
        to = f"{HOST}:{closed_port()}"
        async with forwarding(f"forward . {to} {{\nhealth_check 10ms\n}}") as plugin:
            await refused(plugin)
            new, old = "coredns_proxy_healthcheck_failures_total", "coredns_forward_healthcheck_failures_total"
            await until(lambda: scraped(to).get(f'{new}{{proxy_name="forward",to="{to}"}}', 0) > 2)
            assert scraped(to)[f'{old}{{to="{to}"}}'] > 2

    run(work())


def test_what_has_no_upstream_is_there_from_the_start() -> None:
    registry = CollectorRegistry()
    registry.register(Folded(families))
    text = generate_latest(registry).decode()
    for name in ("coredns_forward_healthcheck_broken_total", "coredns_forward_max_concurrent_rejects_total"):
        assert f"\n{name} " in text


def test_rcodes() -> None:
    assert [rcode_label(rcode) for rcode in (0, 2, 16, 23, 100, -1)] == [
        "NOERROR",
        "SERVFAIL",
        "BADSIG",
        "BADCOOKIE",
        "100",
        "other",
    ]


def test_an_upstream_that_makes_up_rcodes_makes_no_series_without_end() -> None:
    def odd(one: Asked) -> list[bytes]:
        octets = bytearray(reply(one))
        number = len(upstream.asked)
        octets[11] = 1
        return [bytes(octets) + b"\0\0\x29\4\xd0" + bytes((number, 0, 0, 0, 0, 0))]

    upstream = Upstream(odd)

    async def work() -> None:
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:
            for number in range(100):
                await plugin.resolve(query(f"n{number}.test.", edns=1232), None)  # type: ignore[arg-type]
            series = [name for name in scraped(upstream.address) if name.startswith("coredns_forward_responses_total")]
            assert len(series) == 41
            assert any('rcode="other"' in name for name in series)

    run(work())
