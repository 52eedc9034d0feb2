"""Other name servers, where they are installed: told the same records, asked the same questions.

Each runs in the foreground with one process or thread to answer, gives replies of up to 4,096 octets by UDP, and
forwards what is not the cluster's to the same upstream, if it can.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.ours import CACHED_FORM, KUBEADM_FORM, TTL, Ports, corefile
from bench.processes import HOST, Server, free_ports
from bench.questions import Needs
from bench.zones import ZONES, dnsmasq_hosts, dnsmasq_services, write_zones, zone_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.ours import Form

LARGEST = 4096
RECORDS = frozenset({Needs.RECORDS})
FORWARDING = frozenset({Needs.RECORDS, Needs.UPSTREAM})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer works: a folder of its own, its port, the upstream's, and a kubeconfig if there is an API server."""

    folder: Path
    port: int
    upstream: int
    kubeconfig: Path | None


@dataclass(frozen=True, slots=True)
class Peer:
    """`prepare` writes what the program needs and returns its arguments; `version` is how it is asked for its own."""

    name: str
    program: str
    version: str
    gives: frozenset[Needs]
    prepare: Callable[[Place], list[str]]
    needs_api_server: bool = False

    def path(self) -> str | None:
        """Return where the program is; None where it is not installed."""
        return shutil.which(self.program, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))

    def about(self) -> str:
        """Return the program's version as it tells it."""
        done = subprocess.run([self.path() or self.program, self.version], capture_output=True, text=True, check=False)
        found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
        return found[0] if found else "unknown"

    def start(self, folder: Path, core: int, upstream: int, kubeconfig: Path | None) -> Server:
        own = folder / self.name.replace(", ", "-").replace(" ", "-")
        own.mkdir(exist_ok=True)
        [port] = free_ports(1)
        command = [self.path() or self.program, *self.prepare(Place(own, port, upstream, kubeconfig))]
        server = Server(self.name, port, core, command, own / "log")
        server.gives = self.gives
        return server


def _settings(values: dict[str, str]) -> str:
    return "".join(f"  {key}: {value}\n" for key, value in values.items())


def _nsd(place: Place) -> list[str]:
    write_zones(place.folder)
    settings = {
        "ip-address": f"{HOST}@{place.port}",
        "server-count": "1",
        "zonesdir": f'"{place.folder}"',
        "database": '""',
        "username": '""',
        "pidfile": '""',
        "xfrdfile": f'"{place.folder}/xfrd.state"',
        "xfrdir": f'"{place.folder}"',
        "zonelistfile": f'"{place.folder}/zone.list"',
        "minimal-responses": "yes",
        "ipv4-edns-size": str(LARGEST),
        "rrl-ratelimit": "0",
    }
    zones = "".join(f"zone:\n  name: {zone}\n  zonefile: {zone_file(place.folder, zone)}\n" for zone in ZONES)
    text = f"server:\n{_settings(settings)}remote-control:\n  control-enable: no\n{zones}"
    return ["-d", "-c", _write(place, text)]


def _unbound(place: Place) -> list[str]:
    write_zones(place.folder)
    settings = {
        "interface": f"{HOST}@{place.port}",
        "directory": f'"{place.folder}"',
        "do-daemonize": "no",
        "username": '""',
        "chroot": '""',
        "pidfile": '""',
        "use-syslog": "no",
        "num-threads": "1",
        "module-config": '"iterator"',
        "do-not-query-localhost": "no",
        "edns-buffer-size": str(LARGEST),
        "max-udp-size": str(LARGEST),
        "minimal-responses": "yes",
        "outgoing-range": "4096",
        "num-queries-per-thread": "2048",
        "local-zone": '"10.in-addr.arpa." nodefault',
    }
    zones = "".join(
        f"auth-zone:\n  name: {zone}\n  zonefile: {zone_file(place.folder, zone)}\n"
        "  for-downstream: yes\n  for-upstream: no\n  fallback-enabled: no\n"
        for zone in ZONES
    )
    forward = f'forward-zone:\n  name: "."\n  forward-addr: {HOST}@{place.upstream}\n'
    control = "remote-control:\n  control-enable: no\n"
    return ["-d", "-p", "-c", _write(place, f"server:\n{_settings(settings)}{control}{forward}{zones}")]


def _knot(place: Place) -> list[str]:
    write_zones(place.folder)
    settings = {
        "rundir": f'"{place.folder}"',
        "listen": f"{HOST}@{place.port}",
        "udp-workers": "1",
        "tcp-workers": "1",
        "background-workers": "1",
        "udp-max-payload": str(LARGEST),
    }
    zones = "".join(
        f'  - domain: {zone}\n    file: "{zone_file(place.folder, zone)}"\n'
        "    journal-content: none\n    zonefile-sync: -1\n"
        for zone in ZONES
    )
    text = (
        f'server:\n{_settings(settings)}database:\n  storage: "{place.folder}/database"\n'
        f"log:\n  - target: stderr\n    any: warning\nzone:\n{zones}"
    )
    return ["-c", _write(place, text)]


def _dnsmasq(place: Place) -> list[str]:
    hosts = place.folder / "hosts"
    hosts.write_text("".join(dnsmasq_hosts()), encoding="ascii")
    return ["--keep-in-foreground", f"--conf-file={_write(place, ''.join(_dnsmasq_lines(place, hosts)))}"]


def _dnsmasq_lines(place: Place, hosts: Path) -> Iterator[str]:
    yield from (f"{word}\n" for word in ("no-resolv", "no-hosts", "bind-interfaces", "pid-file="))
    yield f"port={place.port}\nlisten-address={HOST}\naddn-hosts={hosts}\n"
    yield from (f"local=/{zone}/\n" for zone in ZONES)
    yield f"server={HOST}#{place.upstream}\ncache-size=10000\nlocal-ttl={TTL}\n"
    yield f"dns-forward-max=1000\nedns-packet-max={LARGEST}\nlog-facility=-\n"
    yield from dnsmasq_services()


def _coredns(form: Form) -> Callable[[Place], list[str]]:
    def prepare(place: Place) -> list[str]:
        health, ready, metrics = free_ports(3)
        ports = Ports(place.port, health, ready, metrics, place.upstream)
        return ["-conf", _write(place, corefile(replace(form, kubeconfig=place.kubeconfig), ports))]

    return prepare


def _write(place: Place, text: str) -> str:
    path = place.folder / "configuration"
    path.write_text(text, encoding="utf-8")
    return str(path)


PEERS = (
    Peer("nsd", "nsd", "-v", RECORDS, _nsd),
    Peer("knot", "knotd", "-V", RECORDS, _knot),
    Peer("unbound", "unbound", "-V", FORWARDING, _unbound),
    Peer("dnsmasq", "dnsmasq", "--version", FORWARDING, _dnsmasq),
    Peer("coredns", "coredns", "-version", frozenset(Needs), _coredns(KUBEADM_FORM), needs_api_server=True),
    Peer("coredns, cache 30", "coredns", "-version", frozenset(Needs), _coredns(CACHED_FORM), needs_api_server=True),
)


def installed() -> list[Peer]:
    return [peer for peer in PEERS if peer.path()]
