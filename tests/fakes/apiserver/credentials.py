"""How a client is told of the server: a kubeconfig, or the files that kubelet mounts into a Pod."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_kubeconfig(path: Path, url: str, ca_file: Path, token: str) -> Path:
    """Write a kubeconfig that refers to the CA's file and holds the token."""
    value = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "fake", "cluster": {"server": url, "certificate-authority": str(ca_file)}}],
        "users": [{"name": "fake", "user": {"token": token}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        "current-context": "fake",
    }
    path.write_text(yaml.safe_dump(value, sort_keys=False))
    return path


def mount(folder: Path, files: Mapping[str, str]) -> Path:
    """Put files in place as kubelet does (k8s.io/kubernetes, atomic_writer.go): through a link that is swapped."""
    folder.mkdir(parents=True, exist_ok=True)
    stamped = folder / f"..{time.time_ns()}"
    stamped.mkdir()
    for name, text in files.items():
        (stamped / name).write_text(text)
    fresh = folder / "..data_tmp"
    fresh.symlink_to(stamped.name)
    data = folder / "..data"
    before = data.resolve() if data.is_symlink() else None
    fresh.replace(data)
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    if before is not None:
        for path in before.iterdir():
            path.unlink()
        before.rmdir()
    return folder
