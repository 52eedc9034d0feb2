"""A run that ends before its time: `python -m tests.e2e.midway FOLDER raise|wait`.

It builds a cluster, prints what the kernel would have to keep of it, as JSON, and fails, or waits to be killed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from tests.e2e.cluster import Cluster


def main(folder: Path, how: str) -> None:
    with Cluster(folder, "vxlan") as cluster:
        pids = cluster.network.world.pids()
        spaces = {str(link.readlink()) for pid in pids for link in Path(f"/proc/{pid}/ns").iterdir()}
        own = {str(link.readlink()) for link in Path("/proc/self/ns").iterdir()}
        print(json.dumps({"pids": pids, "namespaces": sorted(spaces - own)}), flush=True)  # noqa: T201 - what the test reads
        if how == "raise":
            raise RuntimeError("midway")
        time.sleep(3600)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
