"""What the tests of a Corefile share: CoreDNS's directives, and parsing with a name and an environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubedns.corefile.parse import parse

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from kubedns.corefile.errors import CorefileError
    from kubedns.corefile.values import Corefile, Directive

# In the order of CoreDNS's plugin.cfg.
# fmt: off
ORDER = (
    "root", "metadata", "geoip", "cancel", "proxyproto", "quic", "grpc_server", "https", "https3", "timeouts",
    "multisocket", "reload", "nsid", "bufsize", "bind", "debug", "trace", "ready", "health", "pprof", "shed",
    "prometheus", "errors", "log", "dnstap", "local", "dns64", "any", "chaos", "loadbalance", "tsig", "rewrite",
    "autopath", "acl", "cache", "header", "dnssec", "tls", "minimal", "template", "transfer", "hosts", "route53",
    "azure", "clouddns", "k8s_external", "kubernetes", "file", "auto", "secondary", "etcd", "loop", "forward", "grpc",
    "erratic", "whoami", "on", "sign", "view", "nomad",
)
# fmt: on


def lines(*parts: str) -> str:
    return "\n".join(parts)


def read(
    text: str,
    environment: Mapping[str, str] | None = None,
    path: Path | None = None,
    warnings: list[str] | None = None,
    unsupported: Collection[str] = (),
) -> Corefile:
    warned = warnings if warnings is not None else []
    return parse(
        text,
        "Corefile",
        directives=ORDER,
        unsupported=unsupported,
        environment=environment or {},
        path=path,
        warn=warned.append,
    )


def only_directive(text: str) -> Directive:
    """Return the one directive of a Corefile without errors."""
    corefile = read(text)
    assert corefile.errors == ()
    (block,) = corefile.blocks
    (directive,) = block.directives.values()
    return directive


def texts(errors: tuple[CorefileError, ...]) -> list[str]:
    return [str(error) for error in errors]


def shape(corefile: Corefile) -> list[tuple[list[str], dict[str, list[tuple[str, int]]]]]:
    """Return keys, and each directive's words with their lines, of each block."""
    return [
        (
            [key.text for key in block.keys],
            {name: [(word.text, word.line) for word in each.words] for name, each in block.directives.items()},
        )
        for block in corefile.blocks
    ]
