"""What a worker is made from, besides the Corefile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Launch:
    """What the command line says, and whose workers they are."""

    default_port: int
    root: Path
    manifests: Path | None
    plugin_dir: Path | None
    json_log: bool
    supervisor: int  # its process ID
