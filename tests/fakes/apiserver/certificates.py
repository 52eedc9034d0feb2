"""A certificate authority and a server certificate from it, as kubeadm makes them: by OpenSSL, in PEM files."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CONFIGURATION = """\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, digitalSignature, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = IP:127.0.0.1, IP:10.96.0.1, DNS:localhost, DNS:kubernetes.default.svc
"""
_EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make_certificates(folder: Path) -> None:
    """Write ca.crt, ca.key, apiserver.crt and apiserver.key, each replaced only once all are made."""
    new = folder / "new"
    new.mkdir()
    (new / "openssl.cnf").write_text(_CONFIGURATION)
    _openssl(new, "req", "-x509", *_EC_KEY, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=kubernetes",
             "-extensions", "authority", "-days", "365")  # fmt: skip
    _openssl(new, "req", *_EC_KEY, "-keyout", "apiserver.key", "-out", "apiserver.csr", "-subj", "/CN=kube-apiserver")
    _openssl(new, "x509", "-req", "-in", "apiserver.csr", "-out", "apiserver.crt", "-CA", "ca.crt", "-CAkey", "ca.key",
             "-CAcreateserial", "-extfile", "openssl.cnf", "-extensions", "server", "-days", "365")  # fmt: skip
    for path in new.iterdir():
        path.replace(folder / path.name)
    new.rmdir()


def _openssl(folder: Path, command: str, *arguments: str) -> None:
    configuration = () if command == "x509" else ("-config", "openssl.cnf")
    subprocess.run(["openssl", command, *configuration, *arguments], cwd=folder, check=True, capture_output=True)
