"""The cluster as peers can be told it: two zone files (RFC 1035 §5), or dnsmasq's lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import cluster
from bench.ours import TTL
from bench.processes import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REVERSE = "in-addr.arpa"
ZONES = (cluster.ZONE, REVERSE)
WEIGHT = 100 // cluster.ENDPOINTS  # as CoreDNS shares a hundred out


def zone_file(folder: Path, zone: str) -> Path:
    return folder / f"{zone}.zone"


def write_zones(folder: Path) -> None:
    """Write both zones' files."""
    zone_file(folder, cluster.ZONE).write_text("".join(_forward()), encoding="ascii")
    zone_file(folder, REVERSE).write_text("".join(_reverse()), encoding="ascii")


def endpoint_names(number: int) -> list[str]:
    """Return the names of a Service's endpoints, without the last dot, as they are in `cluster.endpoints`."""
    own = cluster.domain_name(number)
    return [f"{str(address).replace('.', '-')}.{own}" for address in cluster.endpoints(number)]


def _head(zone: str) -> str:
    return (
        f"$ORIGIN {zone}.\n$TTL {TTL}\n"
        f"@ SOA ns.dns.{cluster.ZONE}. hostmaster.{cluster.ZONE}. 1 7200 1800 86400 {TTL}\n"
        f"@ NS ns.dns.{cluster.ZONE}.\n"
    )


def _forward() -> Iterator[str]:
    yield _head(cluster.ZONE)
    yield f"ns.dns A {HOST}\n"
    for number in range(cluster.SERVICES):
        own = f"{cluster.domain_name(number)}."
        addresses, names = cluster.endpoints(number), endpoint_names(number)
        yield from (f"{name}. A {address}\n" for name, address in zip(names, addresses, strict=True))
        if not cluster.headless(number):
            yield f"{own} A {cluster.cluster_ip(number)}\n_http._tcp.{own} SRV 0 100 {cluster.PORT} {own}\n"
            continue
        yield from (f"{own} A {address}\n" for address in addresses)
        yield from (f"_http._tcp.{own} SRV 0 {WEIGHT} {cluster.ENDPOINT_PORT} {name}.\n" for name in names)


def _reverse() -> Iterator[str]:
    yield _head(REVERSE)
    for number in range(cluster.SERVICES):
        for address, name in zip(cluster.endpoints(number), endpoint_names(number), strict=True):
            yield f"{address.reverse_pointer}. PTR {name}.\n"


def dnsmasq_hosts() -> Iterator[str]:
    """Yield the lines of a hosts file: an endpoint's first name is what its address points to."""
    for number in range(cluster.SERVICES):
        own = cluster.domain_name(number)
        for address, name in zip(cluster.endpoints(number), endpoint_names(number), strict=True):
            yield f"{address} {name}{f' {own}' if cluster.headless(number) else ''}\n"
        if not cluster.headless(number):
            yield f"{cluster.cluster_ip(number)} {own}\n"


def dnsmasq_services() -> Iterator[str]:
    """Yield a line for each SRV record: owner, target, port, priority, weight."""
    for number in range(cluster.SERVICES):
        own = cluster.domain_name(number)
        if not cluster.headless(number):
            yield f"srv-host=_http._tcp.{own},{own},{cluster.PORT},0,100\n"
            continue
        for name in endpoint_names(number):
            yield f"srv-host=_http._tcp.{own},{name},{cluster.ENDPOINT_PORT},0,{WEIGHT}\n"
