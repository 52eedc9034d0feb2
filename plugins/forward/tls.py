"""tls [CA] | [CERT KEY] | [CERT KEY CA]: whom to trust, and who we are."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubedns.corefile import readers
from kubedns.corefile.errors import Kind
from kubedns.corefile.files import reason

if TYPE_CHECKING:
    from pathlib import Path

    from kubedns.corefile.values import Property

MOST_FILES = 3


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files; `digest` is of what they held when they were read: a new one makes new connections."""

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    digest: str = ""

    def context(self, protocol: str | None = None) -> ssl.SSLContext:
        """Return what connections are made with; the system's own authorities, unless there is another.

        `protocol` is what is spoken inside (RFC 7301). Raises ssl.SSLError and OSError, but not after read_tls().
        """
        context = ssl.create_default_context(cafile=self.authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        if protocol is not None:
            context.set_alpn_protocols([protocol])
        return context


def read_tls(line: Property, root: Path) -> TlsFiles:
    """Raises CorefileError at a file that can't be read or holds something else."""
    words = line.arguments
    if len(words) > MOST_FILES:
        raise readers.wrong_arguments(line, cure="write CA, or CERT KEY, or CERT KEY CA")
    pair = words[:2] if len(words) > 1 else ()  # a certificate and its key, before the authority
    digest = hashlib.sha256()
    for word in words:
        try:
            digest.update((root / word.text).read_bytes())
        except (OSError, ValueError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            text = f"could not load TLS cert: {why}" if word in pair else f"error reading {root / word.text}: {why}"
            raise word.error(text, "let the server read it, or name another file", Kind.BARE) from None
    authority = root / words[-1].text if len(words) > len(pair) else None
    certificate, key = (root / word.text for word in pair) if pair else (None, None)
    try:
        TlsFiles(authority).context()
    except ssl.SSLError as error:
        cure = "name a PEM file that holds the authority's certificate"
        raise line.last.error(f"could not read root certs: {error.reason or error}", cure, Kind.BARE) from None
    files = TlsFiles(authority, certificate, key, digest.hexdigest())
    try:
        files.context()
    except (ssl.SSLError, OSError) as error:
        cure = "write the certificate's PEM file, then the file with its key, which must not be encrypted"
        raise words[0].error(f"could not load TLS cert: {error}", cure, Kind.BARE) from None
    return files
