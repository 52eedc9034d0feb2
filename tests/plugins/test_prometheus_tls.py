"""prometheus over TLS: who is let in, what is refused, and a certificate that is renewed."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from kubedns.corefile.errors import CorefileError
from kubedns.plugin.contract import ServerBlock
from plugins import prometheus
from tests.plugins.helpers import directive, placed

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

WEB = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
VERIFYING = f"{WEB}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: client.crt\n"
OK = b"HTTP/1.1 200 OK\r\n"


def certificate(folder: Path, name: str) -> None:
    """Write a certificate that is signed by its own key, and the key."""
    subject = ("-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost")
    files = ("-keyout", f"{name}.key", "-out", f"{name}.crt")
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-x509", "-days", "2")
    subprocess.run(["openssl", "req", *kind, *files, *subject], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("server", "client"):
        certificate(tmp_path, name)
    return tmp_path


def set_up(folder: Path, web: str = WEB) -> prometheus.Prometheus:
    (folder / "web.yml").write_text(web)
    return prometheus.setup(directive("prometheus 127.0.0.1:0 {\ntls web.yml\n}"), ServerBlock((".",), root=folder))


async def scrape(plugin: prometheus.Prometheus, folder: Path, *, client: str | None = None) -> bytes:
    """Return the response's first octets, none where the connection is let go."""
    context = ssl.create_default_context(cafile=folder / "server.crt")
    if client is not None:
        context.load_cert_chain(folder / f"{client}.crt", folder / f"{client}.key")
    port = plugin._endpoint.listener.port  # noqa: SLF001 - nobody else needs to know which one port 0 became
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        received = await reader.read()
        writer.close()
        await writer.wait_closed()
    except (ssl.SSLError, ConnectionError):
        return b""
    assert not received or received.endswith(b"\n")
    return received[: len(OK)]


def run(work: Coroutine[None, None, None]) -> None:
    async def within_time() -> None:
        async with asyncio.timeout(20):
            await work

    asyncio.run(within_time())


def test_metrics_over_tls(folder: Path) -> None:
    async def main() -> None:
        plugin = set_up(folder)
        await plugin.start()
        assert await scrape(plugin, folder) == OK
        certificate(folder, "server")  # renewed: what the client trusts is the new one alone
        assert await scrape(plugin, folder) == OK
        await plugin.stop()

    run(main())


def test_a_certificate_that_is_gone_stays_in_use(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        plugin = set_up(folder)
        await plugin.start()
        (folder / "server.key").unlink()
        assert await scrape(plugin, folder) == OK
        await plugin.stop()
        assert "connections get the certificate that was there before" in capsys.readouterr().out

    run(main())


@pytest.mark.parametrize(
    ("web", "client", "expected"),
    [
        (VERIFYING, "client", OK),
        (VERIFYING, "server", b""),
        (VERIFYING, None, b""),
        (VERIFYING.replace("RequireAnd", "").replace("ClientCert", "ClientCertIfGiven"), None, OK),
        (VERIFYING.replace("RequireAnd", "").replace("ClientCert", "ClientCertIfGiven"), "server", b""),
        (f"{WEB}  client_auth_type: NoClientCert\n  max_version: TLS12\n", None, OK),
    ],
    ids=["known", "unknown", "none", "none, if given", "unknown, if given", "not asked for"],
)
def test_clients(folder: Path, web: str, client: str | None, expected: bytes) -> None:
    async def main() -> None:
        plugin = set_up(folder, web)
        await plugin.start()
        assert await scrape(plugin, folder, client=client) == expected
        await plugin.stop()

    run(main())


WRONG = {
    "no section": ("{}", "web.yml: no tls_server_config in it"),
    "no YAML": ("a: b: c", "web.yml: mapping values are not allowed here"),
    "no certificate": ("tls_server_config:\n  key_file: server.key\n", "web.yml: missing cert_file"),
    "no key": ("tls_server_config:\n  cert_file: server.crt\n", "web.yml: missing key_file"),
    "no file": (WEB.replace("server.key", "none"), "no such file or directory"),
    "no PEM file": (WEB.replace("server.key", "web.yml"), "web.yml: "),
    "passwords": (f"{WEB}basic_auth_users: {{}}\n", "web.yml: basic_auth_users is not supported"),
    "cipher suites": (f"{WEB}  cipher_suites: []\n", "web.yml: cipher_suites is not supported"),
    "no text": ("tls_server_config:\n  cert_file: []\n  key_file: x\n", "web.yml: cert_file is no text"),
    "any certificate": (f"{WEB}  client_auth_type: RequireAnyClientCert\n", "client_auth_type RequireAnyClientCert is"),
    "nobody verifies": (f"{WEB}  client_ca_file: client.crt\n", "client_ca_file without a client_auth_type"),
    "version": (f"{WEB}  min_version: TLS10\n", "min_version TLS10 is not supported: write one of TLS12, TLS13"),
}


@pytest.mark.parametrize(("web", "text"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_logged_and_nothing_listens(
    folder: Path, web: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        plugin = set_up(folder, web)
        await plugin.start()
        said = capsys.readouterr().out
        assert said.startswith("[ERROR] Failed to start metrics handler: ")
        assert text in said
        assert said.count("\n") == 1
        await plugin.stop()

    run(main())


REFUSED = {
    "tls a b": ("Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after 'b'", "3:7"),
    "tls": ("Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after 'tls'", "3:1"),
    "tls a\ntls b": ("Corefile:4 - Error during parsing: tls block already specified", "4:1"),
}


@pytest.mark.parametrize(("text", "message", "place"), [(text, *row) for text, row in REFUSED.items()], ids=REFUSED)
def test_refused(text: str, message: str, place: str) -> None:
    with pytest.raises(CorefileError) as raised:
        prometheus.setup(directive(f"prometheus {{\n{text}\n}}"), ServerBlock((".",)))
    assert str(raised.value) == message
    assert placed(raised.value) == place
