"""kubedns as it is measured: kubeadm's Corefile in its two forms, and an upstream in C to forward to."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench import cluster
from bench.processes import ALL, HOST, Server, free_ports
from bench.questions import KEPT, Needs

if TYPE_CHECKING:
    from pathlib import Path

TTL = 30
UNCACHED = f" {{\n        disable success {cluster.ZONE}\n        disable denial {cluster.ZONE}\n    }}"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a server listens, for questions and on its three HTTP ports, and where it forwards to."""

    dns: int
    health: int
    ready: int
    metrics: int
    upstream: int

    @classmethod
    def choose(cls, upstream: int) -> Ports:
        dns, health, ready, metrics = free_ports(4)
        return cls(dns, health, ready, metrics, upstream)


@dataclass(frozen=True, slots=True)
class Form:
    """What differs between Corefiles: `cache 30`'s rest, a kubeconfig, which directives are left, workers."""

    cache: str = UNCACHED
    kubeconfig: Path | None = None
    only: frozenset[str] | None = None
    workers: int = 1


KUBEADM_FORM = Form()
CACHED_FORM = Form(cache="")


def corefile(form: Form, ports: Ports) -> str:
    """Return kubeadm's Corefile, or the form's directives of it.

    `health` is without its lameduck, which is for the end alone: a benchmark has no time to wait for it.
    """
    kubeconfig = f"        kubeconfig {form.kubeconfig}\n" if form.kubeconfig else ""
    if form.workers > 1:
        kubeconfig += "        startup_timeout 60s\n"  # what is there when workers are forked they share
    directives = {
        "errors": "errors",
        "health": f"health {HOST}:{ports.health}",
        "ready": f"ready {HOST}:{ports.ready}",
        "kubernetes": f"kubernetes {cluster.ZONE} in-addr.arpa ip6.arpa {{\n        pods insecure\n"
        f"        fallthrough in-addr.arpa ip6.arpa\n        ttl {TTL}\n{kubeconfig}    }}",
        "prometheus": f"prometheus {HOST}:{ports.metrics}",
        "forward": f"forward . {HOST}:{ports.upstream} {{\n        max_concurrent 1000\n    }}",
        "cache": f"cache 30{form.cache}",
        "loop": "loop",
        "reload": "reload",
        "loadbalance": "loadbalance",
    }
    lines = [f"    {text}\n" for name, text in directives.items() if form.only is None or name in form.only]
    if form.workers > 1:
        lines.append(f"    multisocket {form.workers}\n")
    return f".:{ports.dns} {{\n{''.join(lines)}}}\n"


class Kubedns(Server):
    """The server in a process of its own, with its Corefile in a folder of its own."""

    def __init__(self, name: str, core: int, form: Form, upstream: int, folder: Path) -> None:
        """The cluster is read from `folder`/cluster.json unless the form has a kubeconfig."""
        self.ports = Ports.choose(upstream)
        own = folder / name.replace(", ", "-").replace(" ", "-")
        own.mkdir(exist_ok=True)
        path = own / "Corefile"
        path.write_text(corefile(form, self.ports), encoding="utf-8")
        command = [sys.executable, "-m", "kubedns", "-conf", str(path)]
        if form.kubeconfig is None:
            command += ["--manifests", str(folder / "cluster.json")]
        super().__init__(name, self.ports.dns, core, command, own / "log")
        self.gives = ALL if form.only is None or "forward" in form.only else ALL - {Needs.UPSTREAM}

    @property
    def metrics_url(self) -> str:
        return f"http://{HOST}:{self.ports.metrics}/metrics"


def start_echo(name: str, program: Path, folder: Path, core: int, *, upstream: bool = False) -> Server:
    """Start the echo; as an upstream it answers what a cache can keep."""
    [port] = free_ports(1)
    words = [str(program), str(port), *([KEPT[0]] if upstream else [])]
    return Server(name, port, core, words, folder / f"{name}.log")


def only(form: Form, directives: frozenset[str] | None) -> Form:
    """Return a form with these directives alone; None: all."""
    return replace(form, only=directives)
