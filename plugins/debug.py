"""debug: log debug lines (docs/plugins/debug.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubedns.corefile import readers
from kubedns.plugin.contract import Settings

if TYPE_CHECKING:
    from kubedns.corefile.values import Directive
    from kubedns.plugin.contract import ServerBlock


def setup(directive: Directive, _: ServerBlock) -> Settings:
    """Raise CorefileError for any argument."""
    for use in directive.uses:
        readers.no_arguments(use)
    return Settings(debug=True)
