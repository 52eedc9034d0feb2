"""What the benchmark runs but the servers: two programs in C, compiled here, and dnsperf."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.processes import BenchError

HERE = Path(__file__).parent
COMPILED = ("-O2", "-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True, slots=True)
class Programs:
    """The paths of what has been compiled."""

    echo: Path
    latency: Path


def prepare(folder: Path) -> Programs:
    """Compile into the folder. Raises BenchError, which names all that is missing and how to get it."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    missing = [] if shutil.which("dnsperf") else ["dnsperf, which asks (Debian: apt-get install dnsperf)"]
    if compiler is None:
        missing.append("a C compiler for the echo (Debian: apt-get install gcc libc6-dev; or make bench CC=clang)")
    if len(os.sched_getaffinity(0)) < 2:
        missing.append("two cores: one for the server, one for who asks")
    if missing or compiler is None:
        raise BenchError("The benchmark needs what is not here:\n" + "".join(f"- {each}\n" for each in missing))
    return Programs(*(_compile(compiler, HERE / source, folder) for source in ("echo.c", "latency.c")))


def _compile(compiler: str, source: Path, folder: Path) -> Path:
    target = folder / source.stem
    done = subprocess.run([compiler, *COMPILED, "-o", target, source], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{compiler} does not compile {source}:\n{done.stderr}")
    return target
