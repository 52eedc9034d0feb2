"""The servers that are measured: kubedns, the echo in C, and NSD with the same records as a static zone."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from bench import cluster
from bench.processes import HOST, ROOT, BenchError, Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMPILED = ("-O2", "-Wall", "-Wextra")
TTL = 30
REVERSE_ZONE = "in-addr.arpa"
# kubeadm's Corefile without what a question about the cluster never comes to: loop and forward.
DIRECTIVES = {
    "errors": "errors",
    "health": "health localhost:{health} {{\n        lameduck 5s\n    }}",
    "ready": "ready localhost:{ready}",
    "kubernetes": f"kubernetes {cluster.ZONE} in-addr.arpa ip6.arpa {{{{\n        pods insecure\n"
    f"        fallthrough in-addr.arpa ip6.arpa\n        ttl {TTL}\n    }}}}",
    "prometheus": "prometheus localhost:{metrics}",
    "cache": f"cache 30 {{{{\n        disable success {cluster.ZONE}\n        disable denial {cluster.ZONE}\n    }}}}",
    "reload": "reload",
    "loadbalance": "loadbalance",
}


def free_ports(count: int) -> list[int]:
    """Return ports that nobody has on this host, for UDP and TCP both."""
    held: list[socket.socket] = []
    try:
        while len(held) < 2 * count:
            tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
            held += [tcp, udp]
            tcp.bind((HOST, 0))
            udp.bind(tcp.getsockname())
        return [tcp.getsockname()[1] for tcp in held[::2]]
    finally:
        for one in held:
            one.close()


def corefile(supported: frozenset[str], *, only: frozenset[str] | None = None) -> str:
    """Return kubeadm's Corefile as far as the server has its directives, or those named alone."""
    health, ready, metrics = free_ports(3)
    chosen = [text for name, text in DIRECTIVES.items() if name in supported and (only is None or name in only)]
    lines = [text.format(health=health, ready=ready, metrics=metrics) for text in chosen]
    return ".:53 {\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


def supported_directives() -> frozenset[str]:
    """Ask the server which plugins it has."""
    done = subprocess.run(
        [sys.executable, "-m", "kubedns", "-plugins"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode:
        raise BenchError(f"kubedns -plugins failed:\n{done.stderr}")
    return frozenset(done.stdout.split())


def start_kubedns(folder: Path, core: int, corefile_text: str) -> Server:
    """Start the server with the manifests that are in the folder."""
    path = folder / "Corefile"
    [port] = free_ports(1)
    path.write_text(corefile_text.replace(".:53", f".:{port}"), encoding="ascii")
    command = [sys.executable, "-m", "kubedns", "-conf", str(path), "--manifests", str(folder / "cluster.json")]
    return Server("kubedns", port, core, command, folder)


def compile_echo(source: Path, folder: Path) -> Path:
    """Return the compiled echo."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise BenchError(
            "The benchmark compares with a server in C, and there is no C compiler.\n"
            "Install one (Debian: apt-get install gcc libc6-dev), or name it: make bench CC=clang"
        )
    target = folder / "echo"
    done = subprocess.run([compiler, *COMPILED, "-o", target, source], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{compiler} does not compile {source}:\n{done.stderr}")
    return target


def start_echo(program: Path, folder: Path, core: int) -> Server:
    [port] = free_ports(1)
    return Server("echo", port, core, [str(program), str(port)], folder)


def find_nsd() -> str | None:
    """Return NSD's path; None where it is not installed."""
    return shutil.which("nsd", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))


def start_nsd(program: str, folder: Path, core: int) -> Server:
    """Write the zones and start NSD in the foreground, with one process to answer."""
    [port] = free_ports(1)
    (folder / f"{cluster.ZONE}.zone").write_text("".join(_zone()), encoding="ascii")
    (folder / f"{REVERSE_ZONE}.zone").write_text("".join(_reverse_zone()), encoding="ascii")
    zones = "".join(f"zone:\n  name: {zone}\n  zonefile: {zone}.zone\n" for zone in (cluster.ZONE, REVERSE_ZONE))
    settings = {
        "ip-address": f"{HOST}@{port}",
        "server-count": "1",
        "zonesdir": f'"{folder}"',
        "database": '""',
        "username": '""',
        "pidfile": '""',
        "xfrdfile": f'"{folder}/xfrd.state"',
        "xfrdir": f'"{folder}"',
        "zonelistfile": f'"{folder}/zone.list"',
        "minimal-responses": "yes",
        "ipv4-edns-size": "4096",
        "rrl-ratelimit": "0",
    }
    lines = "".join(f"  {key}: {value}\n" for key, value in settings.items())
    (folder / "nsd.conf").write_text(
        f"server:\n{lines}remote-control:\n  control-enable: no\n{zones}", encoding="ascii"
    )
    return Server("nsd", port, core, [program, "-d", "-c", str(folder / "nsd.conf")], folder)


def _head(zone: str) -> str:
    return (
        f"$ORIGIN {zone}.\n$TTL {TTL}\n"
        f"@ SOA ns.dns.{cluster.ZONE}. hostmaster.{cluster.ZONE}. 1 7200 1800 86400 {TTL}\n"
        f"@ NS ns.dns.{cluster.ZONE}.\n"
    )


def _zone() -> Iterator[str]:
    yield _head(cluster.ZONE)
    yield f"ns.dns A {HOST}\n"
    for number in range(cluster.SERVICES):
        own = f"{cluster.domain_name(number)}."
        addresses = cluster.endpoints(number)
        names = [f"{str(address).replace('.', '-')}.{own}" for address in addresses]
        yield from (f"{name} A {address}\n" for name, address in zip(names, addresses, strict=True))
        if not cluster.headless(number):
            yield f"{own} A {cluster.cluster_ip(number)}\n_http._tcp.{own} SRV 0 100 {cluster.PORT} {own}\n"
            continue
        yield from (f"{own} A {address}\n" for address in addresses)
        weight = 100 // cluster.ENDPOINTS
        yield from (f"_http._tcp.{own} SRV 0 {weight} {cluster.ENDPOINT_PORT} {name}\n" for name in names)


def _reverse_zone() -> Iterator[str]:
    yield _head(REVERSE_ZONE)
    for number in range(cluster.SERVICES):
        for address in cluster.endpoints(number):
            dashed = str(address).replace(".", "-")
            yield f"{address.reverse_pointer}. PTR {dashed}.{cluster.domain_name(number)}.\n"
