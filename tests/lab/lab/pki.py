"""A throw-away certificate authority, a server and a client certificate (elliptic curves: quick to make)."""

import subprocess
from pathlib import Path

from .waiting import LabError

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]


def make(directory: Path) -> None:
    """Writes ca, server and client .crt and .key files into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    _openssl(directory, "ca", "/CN=laboratory", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    for name in ("server", "client"):
        _openssl(
            directory,
            name,
            f"/CN={name}",
            *("-CA", "ca.crt", "-CAkey", "ca.key"),
            *("-addext", f"extendedKeyUsage={name}Auth"),
            *("-addext", "keyUsage=critical,digitalSignature,keyAgreement"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
        )


def _openssl(directory: Path, name: str, subject: str, *extra: str) -> None:
    files = ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
    command = ["openssl", "req", "-x509", *_KEY, "-subj", subject, *files, *extra]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"openssl could not make the {name} certificate: {done.stderr.strip()}")
