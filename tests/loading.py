"""A Corefile's text, made into a configuration as the command line makes it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubedns.corefile.parse import parse
from kubedns.plugin.registry import find_plugins
from kubedns.server.configuration import Configuration, Setting, configure

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "kubedns" / "sample"


def load(
    text: str,
    name: str = "Corefile",
    port: int = 53,
    plugins: Path | None = None,
    root: Path = ROOT,
    manifests: Path | None = SAMPLE,
    previous: Mapping[Any, Any] | None = None,
) -> Configuration:
    """Return the configuration, set up and not started, with the sample cluster if not another; CorefileErrors."""
    registry = find_plugins(plugins)
    corefile = parse(
        text,
        name,
        directives=registry.order,
        unsupported=registry.unsupported,
        environment={},
        path=None,
        warn=_refuse,
    )
    return configure(corefile, Setting(registry, port, root, manifests), previous or {})


def _refuse(warning: str) -> None:
    raise AssertionError(warning)
