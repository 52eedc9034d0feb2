"""The test's side of the API server: starts its process, and calls into it over a pipe."""

from __future__ import annotations

import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from tests.fakes.apiserver.certificates import make_certificates
from tests.fakes.apiserver.credentials import mount, write_kubeconfig
from tests.fakes.apiserver.request import FRAME, Answer, Call, Options, Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

ROOT = Path(__file__).parents[3]
PATIENCE = 10.0  # seconds


class APIServer:
    """An API server at 127.0.0.1, or elsewhere; as a context manager it runs within the block.

    `elsewhere` is an address and a port in another network namespace, and the command that runs a program there.

    All methods block until the server has done what they ask (a test that runs a loop itself calls those that wait in
    a thread), so none but resume and kill is to be called while it is paused.

    `resource` is a plural (services, …) or `*`, `verb` one of list, watch, get, create, update, patch, delete or `*`.
    Objects are stored as given, but for metadata's uid, creationTimestamp and resourceVersion.
    """

    def __init__(
        self,
        folder: Path,
        *,
        streaming_lists: bool = True,
        bookmark_every: float = 60.0,
        gzip: bool = True,
        multicluster: bool = False,
        elsewhere: tuple[str, int, Sequence[str]] | None = None,
    ) -> None:
        self.folder = folder
        self.ca_file = folder / "ca.crt"
        self._process: subprocess.Popen[bytes] | None = None
        self._calling = threading.Lock()  # a test may wait in a thread while its loop goes on
        # A socket that never listens keeps the port for the server's own, whatever happens to its process.
        self._port = socket.socket()
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._port.bind(("127.0.0.1", 0))
        host, port, self._enter = elsewhere or (*self._port.getsockname(), ())
        self._options = Options(
            host=host,
            port=port,
            certificate=str(folder / "apiserver.crt"),
            key=str(folder / "apiserver.key"),
            token=secrets.token_urlsafe(),
            admin_token=secrets.token_urlsafe(),
            streaming_lists=streaming_lists,
            bookmark_every=bookmark_every,
            gzip=gzip,
            multicluster=multicluster,
        )

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        make_certificates(self.folder)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._port.close()

    @property
    def port(self) -> int:
        return self._options.port

    @property
    def url(self) -> str:
        return f"https://{self._options.host}:{self.port}"

    @property
    def token(self) -> str:
        """The token of the service account kube-system:coredns, which may list and watch."""
        return self._options.token

    @property
    def admin_token(self) -> str:
        return self._options.admin_token

    # The process

    def start(self) -> None:
        """Start the process, without objects; port, CA and tokens are those of before."""
        self._process = subprocess.Popen(
            [
                *self._enter,
                sys.executable,
                "-m",
                "tests.fakes.apiserver.process",
                msgspec.json.encode(self._options).decode(),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._read()

    def stop(self) -> None:
        """End the process as SIGTERM ends it: its connections are closed by the kernel."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze the process: the kernel still takes connections, nobody answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    # Objects

    def put(self, *objects: Mapping[str, Any], announce: int = 1) -> int:
        """Create or update; return the last version. Watches are told `announce` times: 0 is a missed event."""
        return int(self._call("put", list(objects), announce))

    def load(self, path: Path) -> int:
        """Put all objects of a JSON List."""
        return int(self._call("load", str(path)))

    def delete(self, resource: str, name: str, namespace: str = "", *, announce: int = 1) -> int:
        return int(self._call("delete", resource, name, namespace, announce))

    def clear(self, resource: str) -> int:
        """Delete all objects of a resource."""
        return int(self._call("clear", resource))

    @property
    def version(self) -> int:
        return int(self._call("version"))

    def compact(self) -> None:
        """Let every version so far be too old for a watch to start from or a list to go on with."""
        self._call("compact")

    # Watches

    def watches(self, resource: str = "*") -> int:
        """Return how many are open."""
        return int(self._call("watches", resource))

    def send_bookmark(self, resource: str = "*") -> None:
        self._call("send_bookmark", resource)

    def inject(self, resource: str, line: bytes) -> None:
        """Put octets into every open watch, a line feed after them."""
        self._call("inject", resource, line if line.endswith(b"\n") else line + b"\n")

    def error_event(self, code: int, message: str = "made to fail by a test") -> bytes:
        """Return an ERROR event's line, for inject."""
        return bytes(self._call("error_event", code, message))

    def end_watches(self, resource: str = "*", how: str = "end") -> None:
        """End the open watches: end, line (cut, but framed well), chunk (cut within), close (FIN) or reset (RST)."""
        if how not in {"end", "line", "chunk", "close", "reset"}:
            raise ValueError(how)
        self._call("end_watches", resource, how)

    # Failures

    def fail(
        self,
        mode: str,
        *,
        verb: str = "*",
        resource: str = "*",
        count: int | None = 1,
        skip: int = 0,
        **values: float | str | None,
    ) -> None:
        """Let the next `count` requests fail, after `skip` good ones; None is until heal.

        In place of a reply: `status` (code, retry_after, message), `garbage`, `html` (code), `close`, `reset`,
        `silence`. A reply that leaves badly: `cut_line` and `cut_chunk` (lines or octets before the cut),
        `connection_close`, `drip` (octets, every). A watch that leaves things out: `mute`, `no_bookmarks`,
        `ignore_timeout`.
        """
        rule = {"mode": mode, "verb": verb, "resource": resource, "count": count, "skip": skip, "values": values}
        self._call("fail", rule)

    def heal(self) -> None:
        """Forget what fail said."""
        self._call("heal")

    def refuse(self) -> None:
        """Drop all connections (RST) and take no more until listen."""
        self._call("refuse")

    def listen(self) -> None:
        self._call("listen")

    def restart(self, *, compact: bool = False, new_epoch: bool = False, down: float = 0.0) -> None:
        """Drop all connections, be away for `down` seconds, and return once back; a new epoch's versions are lower."""
        self._call("restart", compact, new_epoch, down)

    # Credentials

    def kubeconfig(self, path: Path, *, admin: bool = False) -> Path:
        return write_kubeconfig(path, self.url, self.ca_file, self.admin_token if admin else self.token)

    def service_account(self, folder: Path) -> Path:
        """Mount, or replace, token, ca.crt and namespace."""
        files = {"token": self.token, "ca.crt": self.ca_file.read_text(), "namespace": "kube-system"}
        return mount(folder, files)

    def environment(self) -> dict[str, str]:
        """Return what kubelet sets in a container for its API server."""
        return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port)}

    def rotate_token(self, *, keep_old: bool = False) -> str:
        """Take a new token from now on, and the old one only if told so."""
        old, self._options.token = self.token, secrets.token_urlsafe()
        self.accept(self.token, *([old] if keep_old else []))
        return self.token

    def accept(self, *tokens: str) -> None:
        """Take these tokens and no others, but the administrator's, for the service account."""
        self._call("accept", list(tokens))

    def rotate_ca(self) -> None:
        """Make a new CA, and use a certificate from it for new connections."""
        make_certificates(self.folder)
        self._call("load_certificate")

    # What clients did

    def requests(self, verb: str = "*", resource: str = "*") -> list[Request]:
        return msgspec.convert(self._call("requests", verb, resource), list[Request])

    def count(self, verb: str = "*", resource: str = "*") -> int:
        return int(self._call("count", verb, resource))

    def forget_requests(self) -> None:
        self._call("forget_requests")

    def wait_for_requests(self, verb: str, resource: str, n: int = 1, timeout: float = PATIENCE) -> None:
        self._wait_for("count", (verb, resource), n, timeout)

    def wait_for_watches(self, resource: str = "*", n: int = 1, timeout: float = PATIENCE) -> None:
        self._wait_for("watches", (resource,), n, timeout)

    @property
    def cpu(self) -> float:
        """Seconds of CPU that the server's process has used."""
        return float(self._call("cpu"))

    # The pipe

    def _wait_for(self, what: str, arguments: tuple[str, ...], n: int, timeout: float) -> None:
        """Fail unless there are n, or more, in time."""
        end = time.monotonic() + timeout
        while (found := int(self._call(what, *arguments))) < n:
            if time.monotonic() >= end:
                seen = "\n".join(f"{each.status} {each.method} {each.path} {each.query}" for each in self.requests())
                raise AssertionError(f"{what} {arguments}: {found}, not {n}, after {timeout} s; requests:\n{seen}")
            time.sleep(0.01)

    def _call(self, method: str, *arguments: object) -> Any:
        frame = msgspec.msgpack.encode(Call(method, list(arguments)))
        pipe = self._running().stdin
        if pipe is None:
            raise RuntimeError("no pipe")
        with self._calling:
            pipe.write(FRAME.pack(len(frame)) + frame)
            pipe.flush()
            return self._read()

    def _read(self) -> Any:
        pipe = self._running().stdout
        if pipe is None:
            raise RuntimeError("no pipe")
        head = pipe.read(FRAME.size)
        if len(head) < FRAME.size:
            raise RuntimeError("the API server's process has ended")
        answer = msgspec.msgpack.decode(pipe.read(FRAME.unpack(head)[0]), type=Answer)
        if answer.error:
            raise RuntimeError(answer.error)
        return answer.value

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the API server has been stopped")
        return self._process

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        with process:
            pass
