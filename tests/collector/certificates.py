"""Certificates that nobody vouches for."""

import shutil
import subprocess
from pathlib import Path

import pytest


def certificate(folder: Path, names: str) -> tuple[Path, Path]:
    """A key, and a certificate for `names` (as `IP:127.0.0.1`) that signs itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    key, made = folder / "key.pem", folder / "certificate.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=test", "-addext", f"subjectAltName={names}", "-keyout", str(key)]
    subprocess.run([*command, "-out", str(made)], check=True, capture_output=True)
    return key, made
