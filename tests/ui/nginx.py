"""nginx in front of the UI, set up by the block of docs/deploy.md, for https://quant.example on a port of its own."""

import datetime as dt
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from marketdata_assets.local.process import free_port, port_is_free

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy.md"
NAME = "quant.example"
LOGIN = "quant:of-nginx"
AROUND = """pid {folder}/pid;
error_log stderr;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {server}
}}
"""


@contextmanager
def proxied(ui_port: int, folder: Path) -> Iterator[str]:
    """`NAME:PORT` of the proxy, over HTTPS, in front of the UI at this port; its login is LOGIN."""
    if shutil.which("nginx") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs nginx: make system-packages")
    port = free_port()
    user, _, password = LOGIN.partition(":")
    (folder / "quant.htpasswd").write_text(f"{user}:{{PLAIN}}{password}\n")
    _write_certificate(folder)
    [server] = re.findall(r"```nginx\n(.*?)```", DEPLOY.read_text(), re.DOTALL)
    for named, ours in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/nginx/": f"{folder}/",
        "127.0.0.1:3000": f"127.0.0.1:{ui_port}",
    }.items():
        assert named in server
        server = server.replace(named, ours)
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder, server=server))
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off; master_process off;"]
    process = subprocess.Popen(command)
    try:
        while port_is_free(port):
            assert process.poll() is None, "nginx has ended"
            time.sleep(0.05)
        yield f"{NAME}:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _write_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    today = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "quant.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "quant.key").write_bytes(key.private_bytes(pem, kind, plain))
