"""tls FILE: a web configuration as Prometheus' exporters have it, of which the part that is about TLS is read."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import yaml

from kubedns.corefile.files import reason
from kubedns.log import plugin_log

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECTION = "tls_server_config"
WORDS = ("cert_file", "key_file", "client_auth_type", "client_ca_file", "min_version", "max_version")
VERSIONS = {
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
# By client_auth_type. To ask for a certificate and believe whatever comes is nothing that OpenSSL has for a server.
CLIENTS = {
    "": ssl.CERT_NONE,
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
MOST_OCTETS = 1 << 20

log = plugin_log("prometheus")
Signature = tuple[tuple[int, int, int], ...]


class TlsError(Exception):
    """What is wrong with a web configuration or a file that it names."""


class Secured:
    """Contexts for connections, by the files as they are: a certificate that is renewed is the next connection's."""

    def __init__(self, path: Path) -> None:
        """`path` is the web configuration; names in it are relative to its folder."""
        self._path = path
        self._files: tuple[Path, ...] = ()
        self._signature: Signature = ()
        self._newest: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Return what a listener is opened with; raises TlsError."""
        context = self._newest = self._load()
        context.sni_callback = self._hand_over
        return context

    def _hand_over(self, connection: ssl.SSLObject, _: str | None, context: ssl.SSLContext) -> None:
        """Called in each handshake."""
        try:
            if _signature(self._files) != self._signature:
                self._newest = self._load()
        except (TlsError, OSError) as error:
            log.error(f"{error}: connections get the certificate that was there before")
        if self._newest is not None and self._newest is not context:
            connection.context = self._newest

    def _load(self) -> ssl.SSLContext:
        self._files, self._signature = (self._path,), ()  # whatever comes of it, these have been looked at
        try:
            section = _section(self._path)
            folder = self._path.parent
            certificate, key = folder / section["cert_file"], folder / section["key_file"]
            authority = folder / section["client_ca_file"] if section.get("client_ca_file") else None
            self._files = tuple(path for path in (self._path, certificate, key, authority) if path is not None)
            self._signature = _signature(self._files)
            return _context(section, certificate, key, authority)
        except OSError as error:  # ssl.SSLError is one
            raise TlsError(f"{self._path}: {reason(error)}") from None


def _signature(files: tuple[Path, ...]) -> Signature:
    states = [path.stat() for path in files]
    return tuple((state.st_ino, state.st_size, state.st_mtime_ns) for state in states)


def _section(path: Path) -> Mapping[str, str]:
    """Return the section about TLS; an option that is not read is an error: it might be one that keeps people out."""
    with path.open("rb") as file:
        octets = file.read(MOST_OCTETS)
    try:
        whole: Any = yaml.safe_load(octets)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise TlsError(f"{path}: {' '.join(str(error).split())}") from None
    section = whole.get(SECTION) if isinstance(whole, dict) else None
    if not isinstance(section, dict) or not isinstance(whole, dict):
        raise TlsError(f"{path}: no {SECTION} in it")
    for name in [*(name for name in whole if name != SECTION), *(name for name in section if name not in WORDS)]:
        raise TlsError(f"{path}: {name} is not supported")
    for name, value in section.items():
        if not isinstance(value, str):
            raise TlsError(f"{path}: {name} is no text")
    for name in ("cert_file", "key_file"):
        if not section.get(name):
            raise TlsError(f"{path}: missing {name}")
    return section


def _context(section: Mapping[str, str], certificate: Path, key: Path, authority: Path | None) -> ssl.SSLContext:
    """Raises TlsError for a word that is none, OSError for a file."""
    asked = section.get("client_auth_type", "")
    if asked not in CLIENTS:
        raise TlsError(f"client_auth_type {asked} is not supported: write one of {', '.join(filter(None, CLIENTS))}")
    if authority is not None and CLIENTS[asked] == ssl.CERT_NONE:
        raise TlsError("client_ca_file without a client_auth_type that verifies")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for name, default in (("min_version", "TLS12"), ("max_version", "TLS13")):
        version = section.get(name, default)
        if version not in VERSIONS:
            raise TlsError(f"{name} {version} is not supported: write one of {', '.join(VERSIONS)}")
    context.minimum_version = VERSIONS[section.get("min_version", "TLS12")]
    context.maximum_version = VERSIONS[section.get("max_version", "TLS13")]
    context.load_cert_chain(certificate, key, password="")
    context.verify_mode = CLIENTS[asked]
    if authority is not None:
        context.load_verify_locations(authority)
    elif context.verify_mode != ssl.CERT_NONE:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    return context
