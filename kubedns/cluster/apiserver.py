"""Requests to an API server: the only file that imports the kubernetes client, and only once there is a request.

Rules of this file:

- The token is read from its file for each request: the kubelet replaces it about hourly, and a request is rare.
- TLS contexts never change, so another CA, certificate or kubeconfig on disk makes another client; the one before
  goes once its last reply is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import platform
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from kubedns import __version__
from kubedns.cluster.decoding import read_status
from kubedns.cluster.failures import UNAUTHORIZED, AccessError, ApiError, Lost, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kubedns.cluster.backoff import Timings
    from kubedns.cluster.statistics import Statistics

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
NO_CLUSTER = (
    "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined"
)
LONGEST_STATUS = 1 << 20  # octets of a refusal that are read
READ_BUFFER = 1 << 16  # octets that a reply runs ahead of its reader, twice over
_MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
USER_AGENT = f"kubedns/{__version__} ({sys.platform}/{_MACHINE}/python{platform.python_version()})"

Signature = tuple[tuple[int, int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Access:
    """How the API server is reached: by a kubeconfig (file, context or ""), else an endpoint, else as a pod.

    `tls` names certificate, key and CA for an endpoint; `mounted` is the folder with a pod's token and ca.crt. Names
    of files are as typed, and start at `root`.
    """

    endpoint: str = ""
    tls: tuple[str, str, str] | None = None
    kubeconfig: tuple[str, str] | None = None
    mounted: Path = SERVICE_ACCOUNT
    root: Path = Path()

    def check(self) -> None:
        """Raise AccessError for what is missing before anything is tried, in the words of client-go."""
        if self.kubeconfig is not None:
            self._require(self.kubeconfig[0], "stat", "kubeconfig")
        elif self.endpoint:
            self._check_tls()
        elif not (os.environ.get("KUBERNETES_SERVICE_HOST") and os.environ.get("KUBERNETES_SERVICE_PORT")):
            raise AccessError(NO_CLUSTER)
        else:
            self._require(str(self.mounted / "token"), "open", "")

    def _check_tls(self) -> None:
        wrong = []
        for what, path in zip(("client-cert", "client-key", "certificate-authority"), self.tls or (), strict=False):
            try:
                self._require(path, "open", "tls")
            except AccessError as error:
                wrong.append(f"unable to read {what} {path} for  due to {error}")
        if wrong:
            text = wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]"
            raise AccessError(f"invalid configuration: {text}", "tls")

    def _require(self, name: str, verb: str, option: str) -> None:
        try:
            with (self.root / name).open("rb"):
                return
        except OSError as error:
            raise AccessError(f"{verb} {name}: {(error.strerror or str(error)).lower()}", option) from None

    @property
    def files(self) -> tuple[Path, ...]:
        """What a client is made from, besides the token."""
        if self.kubeconfig is not None:
            return (self.root / self.kubeconfig[0],)
        if self.endpoint:
            return tuple(self.root / name for name in self.tls or ())
        return (self.mounted / "ca.crt",)


def _signature(paths: tuple[Path, ...]) -> Signature:
    """Return what changes when one of the files does."""

    def signature(path: Path) -> tuple[int, int, int, int] | None:
        try:
            state = path.stat()
        except OSError:
            return None
        return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns

    return tuple(map(signature, paths))


@dataclass(slots=True, eq=False)
class _Client:
    """An ApiClient, what it was made from, and how many requests of it are not over."""

    api: Any
    signature: Signature
    files: tuple[Path, ...]
    authorization: str
    url: str
    requests: int = 0
    retired: bool = False

    async def retire(self) -> None:
        """Close it, once nobody waits for a reply or reads one."""
        self.retired = True
        if not self.requests:
            await self.api.close()

    async def done(self) -> None:
        """Count a request that is over."""
        self.requests -= 1
        if self.retired and not self.requests:
            await self.api.close()


class Stream:
    """A reply whose body is read as it comes."""

    def __init__(self, response: Any, client: _Client, authorization: str) -> None:
        self._response = response
        self._client = client
        self.authorization = authorization
        self._closed = False

    @property
    def status(self) -> int:
        status: int = self._response.status
        return status

    @property
    def retry_after(self) -> float:
        """The header's seconds; 0 where there is none, or a date."""
        try:
            return max(0.0, float(self._response.headers.get("Retry-After", "0")))
        except ValueError:
            return 0.0

    async def read(self, silence: float) -> bytes:
        """Return the octets that came, none at the end; Lost where nothing comes for `silence` seconds."""
        try:
            async with asyncio.timeout(silence):
                octets: bytes = await self._response.content.readany()
        except Exception as error:  # noqa: BLE001 - whatever aiohttp or ssl raises, no more will come
            raise _lost(error, f"nothing heard for {silence:g} s") from None
        return octets

    async def refusal(self, silence: float) -> Refused:
        """Return what a reply other than 200 says."""
        text = b""
        with contextlib.suppress(Lost):
            while len(text) < LONGEST_STATUS and (octets := await self.read(silence)):
                text += octets
        return read_status(text, self.status, self.retry_after)

    async def close(self) -> None:
        """Give the connection up, unless the reply was read to its end."""
        if self._closed:
            return
        self._closed = True
        self._response.close()
        await self._client.done()


class APIServer:
    """The API server of an Access; `statistics` counts what it says."""

    def __init__(self, access: Access, timings: Timings, statistics: Statistics) -> None:
        self._access = access
        self._timings = timings
        self._statistics = statistics
        self._client: _Client | None = None
        self._making = asyncio.Lock()
        self._answered = asyncio.Event()

    @property
    def url(self) -> str:
        """Where it is, as far as that is known."""
        return self._client.url if self._client is not None else self._access.endpoint

    async def open(self) -> None:
        """Import the client and read the credentials; raises AccessError."""
        await asyncio.to_thread(_import_client)  # half a second that answers need not wait for
        await self._current()

    async def get(self, path: str, query: Mapping[str, str]) -> Stream:
        """Return the reply to a GET, whatever its status; raises Lost, or AccessError.

        On 401 the credentials are read again, and where they are others by now, so is the reply.
        """
        stream = await self._get(path, query)
        if stream.status == UNAUTHORIZED and await self._renewed(stream.authorization):
            await stream.close()
            stream = await self._get(path, query)
        return stream

    async def wait_for_reply(self, seconds: float) -> bool:
        """Wait as long, or until some request is replied to: what one finds out, all should know."""
        answered = self._answered
        try:
            async with asyncio.timeout(seconds):
                await answered.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        if self._client is not None:
            await self._client.api.close()
            self._client = None

    async def _get(self, path: str, query: Mapping[str, str]) -> Stream:
        aiohttp = _import_client().aiohttp
        client = await self._current()
        authorization = self._authorization(client)
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": USER_AGENT}
        if authorization:
            headers["Authorization"] = authorization
        url = f"{client.url}{path}?{urlencode(query)}"
        patience = aiohttp.ClientTimeout(total=None, sock_connect=self._timings.connect)
        client.requests += 1
        reply = None
        try:
            async with asyncio.timeout(self._timings.answer):
                reply = await client.api.call_api("GET", url, header_params=headers, _request_timeout=patience)
        except Exception as error:  # noqa: BLE001 - aiohttp, ssl, or a credential's source: there is no reply
            self._statistics.requests["<error>", "GET"] += 1
            raise _lost(error, f"no reply within {self._timings.answer:g} s") from None
        finally:
            if reply is None:
                await client.done()
        self._statistics.requests[str(reply.status), "GET"] += 1
        self._answered.set()
        self._answered = asyncio.Event()  # for those that wait from now on
        return Stream(reply.response, client, authorization)

    def _authorization(self, client: _Client) -> str:
        """Return the header's value as it is now."""
        if self._access.kubeconfig is not None or self._access.endpoint:
            return client.authorization
        try:
            token = (self._access.mounted / "token").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return client.authorization  # in the middle of being replaced
        client.authorization = f"Bearer {token}" if token else client.authorization
        return client.authorization

    async def _renewed(self, sent: str) -> bool:
        """Read the credentials again unless that has happened since; tell whether they are others."""
        client = self._client
        if client is not None and self._authorization(client) == sent and self._access.kubeconfig is not None:
            client = await self._replace(client)
        return client is not None and self._authorization(client) != sent

    async def _current(self) -> _Client:
        """Return the client of the files as they are now."""
        client = self._client
        if client is None or _signature(client.files) != client.signature:
            return await self._replace(client)
        return client

    async def _replace(self, before: _Client | None) -> _Client:
        async with self._making:
            if self._client is not before and self._client is not None:
                return self._client  # another request was faster
            try:
                self._client = await _make_client(self._access)
            except AccessError:
                if before is None:
                    raise
                return before  # in the middle of being replaced
            self._statistics.host = self._client.url.partition("://")[2].partition("/")[0]
            if before is not None:
                await before.retire()
            return self._client


@dataclass(frozen=True, slots=True)
class _Imported:
    client: Any
    config: Any
    aiohttp: Any


@cache
def _import_client() -> _Imported:
    """Import the client and what it stands on: 18 MB that readers of manifests do without."""
    import aiohttp  # noqa: PLC0415 - as said

    with _bare("kubernetes", "kubernetes.aio", "kubernetes.aio.utils"):
        from kubernetes.aio import client, config  # noqa: PLC0415 - as said

        return _Imported(client, config, aiohttp)


@contextlib.contextmanager
def _bare(*packages: str) -> Iterator[None]:
    """Within, modules of these packages are imported without what the packages themselves import.

    That is the whole client a second time for threads, with its own HTTP library: 8 MB and 0.2 s. Whoever imports one
    of the packages afterwards gets it whole.
    """
    bare = [name for name in packages if name not in sys.modules]
    try:
        for name in bare:
            spec = importlib.util.find_spec(name)
            if spec is not None:
                sys.modules[name] = importlib.util.module_from_spec(spec)
        yield
    finally:
        for name in bare:
            sys.modules.pop(name, None)


async def _make_client(access: Access) -> _Client:
    """Return a client of what is on disk now; raises AccessError."""
    imported = _import_client()
    configuration = imported.client.Configuration()
    files = access.files
    signature = _signature(files)  # before they are read: a change meanwhile makes another client
    try:
        await _configure(access, configuration, imported.config)
        # Some clusters' CAs lack what X.509 asks for in its strict reading, Python 3.13's default; Go's is ours.
        configuration.disable_strict_ssl_verification = True
        configuration.client_session_kwargs = {"read_bufsize": READ_BUFFER}
        configuration.retries = None
        api = imported.client.ApiClient(configuration)
    except ApiError:
        raise
    except Exception as error:  # YAML's, ssl's, the loaders' own, and theirs for what they did not expect
        where = access.kubeconfig[0] if access.kubeconfig else ", ".join(map(str, files))
        text = f"invalid configuration: {where}: {str(error) or type(error).__name__}"
        raise AccessError(text, "kubeconfig" if access.kubeconfig else "tls") from error
    authorization = str(configuration.api_key.get("BearerToken", ""))
    return _Client(api, signature, files, authorization, str(configuration.host).rstrip("/"))


async def _configure(access: Access, configuration: Any, config: Any) -> None:
    if access.kubeconfig is not None:
        file, context = access.kubeconfig
        await config.load_kube_config(
            config_file=str(access.root / file),
            context=context or None,
            client_configuration=configuration,
            persist_config=False,
        )
    elif access.endpoint:
        configuration.host = _with_scheme(access)
        if access.tls is not None:
            configuration.cert_file, configuration.key_file, configuration.ssl_ca_cert = map(str, access.files)
    else:
        loader = config.incluster_config.InClusterConfigLoader(
            str(access.mounted / "token"), str(access.mounted / "ca.crt"), try_refresh_token=False
        )
        loader.load_and_set(configuration)
        configuration.api_key = {}  # read for each request


def _with_scheme(access: Access) -> str:
    """Return the endpoint as a URL: a bare HOST:PORT means TLS where there are files for it."""
    if "://" in access.endpoint:
        return access.endpoint
    return f"{'https' if access.tls else 'http'}://{access.endpoint}"


def _lost(error: Exception, timed_out: str) -> Lost | AccessError:
    """Return the failure of ours for one of the transport's; `kind` tells troubles apart."""
    if isinstance(error, AccessError):
        return error
    cause = getattr(error, "os_error", error)
    if isinstance(error, TimeoutError):
        return Lost(timed_out, "timeout")
    certificate = getattr(error, "certificate_error", None)
    if certificate is not None:
        return Lost(f"its certificate can't be trusted: {certificate}", "certificate")
    if isinstance(cause, ConnectionRefusedError):
        return Lost(f"connection refused: {error}", "connection refused")
    if type(error).__name__ == "ClientPayloadError":
        return Lost("a reply broke off", "cut")
    return Lost(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, type(error).__name__)
