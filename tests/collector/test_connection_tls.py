"""Sockets over TLS: the venue's certificate has to be vouched for."""

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from marketdata_assets.collector.connections import adapter_for
from marketdata_assets.collector.connections.socket import CANNOT_CONNECT, Socket


class Greeter(WSListener):
    """Says one word to whoever comes."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, b"hello")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of this machine that nobody vouches for, with its key."""
    file = tmp_path / "own.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    try:
        subprocess.run([*command, "-keyout", file, "-out", tmp_path / "cert.pem"], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl to make a certificate")
    file.write_text(file.read_text() + (tmp_path / "cert.pem").read_text())
    return file


async def _greeted(certificate: Path) -> list[bytes]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await ws_create_server(lambda _: Greeter(), "localhost", 0, ssl=context)
    heard: list[bytes] = []
    url = f"wss://localhost:{server.sockets[0].getsockname()[1]}/"
    socket = Socket(1, url, adapter_for("binance", "spot").socket_session(), (), lambda _, raws, __: heard.extend(raws))
    try:
        await socket.open(5.0)
        while not heard:
            await asyncio.sleep(0.01)
        await socket.leave(1.0)
    finally:
        server.close()
    return heard


def test_a_trusted_certificate_is_accepted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert asyncio.run(asyncio.wait_for(_greeted(certificate), 20.0)) == [b"hello"]


def test_an_untrusted_certificate_is_rejected(certificate: Path) -> None:
    with pytest.raises(CANNOT_CONNECT, match="certificate"):
        asyncio.run(asyncio.wait_for(_greeted(certificate), 20.0))
