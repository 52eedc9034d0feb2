"""The upstream of the recordings: NSD (Debian package nsd) serves example.com."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.end_to_end.client import ask, compose
from tests.end_to_end.server import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
CONFIGURATION = """
server:
  ip-address: {host}@{port}
  server-count: 1
  zonesdir: "{zones}"
  database: ""
  username: ""
  pidfile: ""
  xfrdfile: "{folder}/xfrd.state"
  xfrdir: "{folder}"
  zonelistfile: "{folder}/zone.list"
  logfile: "{folder}/log"
  minimal-responses: no
  rrl-ratelimit: 0
  hide-version: yes
remote-control:
  control-enable: no
zone:
  name: {zone}
  zonefile: {file}
"""


def installed() -> bool:
    return _path() is not None


def _path() -> str | None:
    return shutil.which("nsd") or shutil.which("nsd", path="/usr/sbin")


@contextmanager
def nsd(zone_file: Path, port: int) -> Iterator[str]:
    """Serve a file named after its zone; yield the address once it answers."""
    path = _path()
    assert path is not None
    zone = zone_file.stem
    with tempfile.TemporaryDirectory() as folder:
        text = CONFIGURATION.format(
            host=HOST, port=port, zones=zone_file.parent.absolute(), folder=folder, zone=zone, file=zone_file.name
        )
        configuration = Path(folder, "nsd.conf")
        configuration.write_text(text)
        with subprocess.Popen([path, "-d", "-c", str(configuration)], stderr=subprocess.DEVNULL) as process:
            try:
                deadline = time.monotonic() + PATIENCE
                while ask(port, compose(zone, "SOA"), timeout=0.2) is None:
                    log = Path(folder, "log")
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise AssertionError(log.read_text() if log.exists() else "nsd says nothing")
                yield f"{HOST}:{port}"
            finally:
                process.terminate()
