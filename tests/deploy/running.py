"""The image's files, made by the Dockerfile's own step, and its container, started by runc as kubelet would have it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.end_to_end.server import PATIENCE, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DOCKERFILE = (ROOT / "Dockerfile").read_text()
CAPABILITY = "CAP_NET_BIND_SERVICE"
DEVICES = ("null", "zero", "full", "random", "urandom")


def container_spec() -> dict[str, Any]:
    """Return the container of the Deployment's manifest."""
    documents = yaml.safe_load_all((ROOT / "deploy" / "kubedns.yaml").read_text())
    (deployment,) = [document for document in documents if document["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(container)


def instruction(name: str) -> str:
    """Return what the Dockerfile's last instruction of that name says."""
    *_, last = re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)
    return str(last)


def build(folder: Path) -> Path:
    """Run the Dockerfile's step that makes the image's files, with this Python; return their folder."""
    (step,) = re.findall(r"^RUN .*?\bpython (tools/image\.py) /image$", DOCKERFILE, re.MULTILINE)
    rootfs = folder / "rootfs"
    subprocess.run([sys.executable, step, str(rootfs)], cwd=ROOT, check=True, timeout=600, stdin=subprocess.DEVNULL)
    return rootfs


@contextmanager
def built() -> Iterator[Path]:
    """Yield the image's files, beside the repository: on many machines /tmp honours no file's capability."""
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".image-") as folder:
        yield build(Path(folder))


def configuration(
    rootfs: Path, identity: str, network: str, binds: Mapping[str, Path], environment: Mapping[str, str]
) -> dict[str, Any]:
    """Return a bundle's config.json (OCI runtime specification): the image's settings, the manifest's constraints."""
    spec = container_spec()
    context = spec["securityContext"]
    limit = int(spec["resources"]["limits"]["memory"].removesuffix("Mi")) << 20
    variables = [*shlex.split(instruction("ENV")), *(f"{name}={value}" for name, value in environment.items())]
    names = [f"CAP_{name}" for name in context["capabilities"]["add"]]
    mounts: list[dict[str, Any]] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
    ]
    mounts += [
        {"destination": target, "type": "bind", "source": str(source), "options": ["rbind", "ro"]}
        for target, source in binds.items()
    ]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": context["runAsUser"], "gid": context["runAsGroup"]},
            "args": [*json.loads(instruction("ENTRYPOINT")), *spec["args"]],
            "env": variables,
            "cwd": instruction("WORKDIR"),
            # As containerd has it: none is inheritable or ambient.
            "capabilities": {"bounding": names, "effective": names, "permitted": names},
            "noNewPrivileges": not context["allowPrivilegeEscalation"],
        },
        "root": {"path": str(rootfs), "readonly": context["readOnlyRootFilesystem"]},
        "mounts": mounts,
        "linux": {
            "namespaces": [*({"type": kind} for kind in ("pid", "ipc", "uts", "mount")),
                           {"type": "network", "path": network}],
            "resources": {"memory": {"limit": limit}},
            "cgroupsPath": f"/{identity}",
        },
    }  # fmt: skip


@dataclass
class Container:
    """A container that runs; `started` is when runc was, by the monotonic clock."""

    identity: str
    state: Path
    pid: int
    started: float
    process: subprocess.Popen[str]

    def runc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return _runc(self.state, *arguments)

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run the image's interpreter in the container."""
        (interpreter, *_) = json.loads(instruction("ENTRYPOINT"))
        return self.runc("exec", self.identity, interpreter, "-c", code)

    def status(self, name: str) -> str:
        """Return a line of the process's status (proc(5))."""
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        (value,) = re.findall(rf"^{name}:\s*(.*)$", text, re.MULTILINE)
        return str(value)

    def memory(self, *names: str) -> int:
        """Return a number of the memory cgroup in octets; version 1 and version 2 have names of their own."""
        lines = Path(f"/proc/{self.pid}/cgroup").read_text(encoding="ascii").splitlines()
        ours = [line.split(":", 2) for line in lines if line.endswith(f"/{self.identity}")]
        for _, controllers, path in ours:
            for mounted in ("memory", "unified", "") if controllers in {"memory", ""} else ():
                for name in names:
                    file = Path("/sys/fs/cgroup", mounted, path.lstrip("/"), name)
                    if file.exists():
                        return int(file.read_text())
        raise AssertionError(f"no memory cgroup: {lines}")


@contextmanager
def running(
    rootfs: Path, network: str, binds: Mapping[str, Path], environment: Mapping[str, str]
) -> Iterator[Container]:
    """Start the image in a network namespace; it is killed at the end if it still runs."""
    identity = f"kubedns-test-{os.getpid()}"
    with tempfile.TemporaryDirectory() as folder:
        bundle, state = Path(folder), Path(folder, "state")
        described = configuration(rootfs, identity, network, binds, environment)
        (bundle / "config.json").write_text(json.dumps(described))
        pidfile = bundle / "pid"
        started = time.monotonic()
        process = subprocess.Popen(
            ["runc", "--root", str(state), "run", "--bundle", str(bundle), "--pid-file", str(pidfile), identity],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            while not pidfile.exists() or not pidfile.read_text():
                if process.poll() is not None or time.monotonic() > started + PATIENCE:
                    process.kill()
                    raise AssertionError(process.communicate()[0])
                time.sleep(0.005)
            yield Container(identity, state, int(pidfile.read_text()), started, process)
        finally:
            _runc(state, "delete", "--force", identity)
            told, _ = process.communicate(timeout=PATIENCE)
            print(told)  # noqa: T201 - shown where a test fails


def _runc(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["runc", "--root", str(state), *arguments],
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
