"""Sockets through a proxy, as the environment names it, and over TLS, where the certificate has to be vouched for."""

import asyncio
import json
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from marketdata_assets.collector import config as configuration
from marketdata_assets.collector.assembly import network_of
from marketdata_assets.collector.connections import adapter_for
from marketdata_assets.collector.connections.socket import CANNOT_CONNECT, Network, Socket
from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.http_client import DIRECT, HttpClient, RetryPolicy
from marketdata_demo.venues.binance_venue import BinanceServer
from tests.collector.certificates import certificate
from tests.collector.in_loop import in_loop, until


class Greeter(WSListener):
    """Says one word to whoever comes."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, b"hello")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


def tunnel(port: int, targets: list[str]) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]:
    """Connects whoever sends CONNECT to a port of this machine, whatever the host."""

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while part := await source.read(4096):
                target.write(part)
                await target.drain()
        target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        targets.append(head.split()[1].decode())
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(copy(reader, back), copy(there, writer))

    return serve


@pytest.mark.parametrize("of_venue", [False, True])
@in_loop
async def test_a_socket_goes_through_the_proxy_of_the_environment_or_of_the_venue(
    of_venue: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    venue = await ws_create_server(lambda _: Greeter(), "127.0.0.1", 0)
    port, targets, heard = venue.sockets[0].getsockname()[1], list[str](), list[bytes]()
    proxy = await asyncio.start_server(tunnel(port, targets), "127.0.0.1", 0)
    own = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1" if of_venue else own)
    monkeypatch.setenv("NO_PROXY", "")
    session = adapter_for("binance", "spot").socket_session()
    network = Network(own) if of_venue else Network()
    take = lambda _, raws, __: heard.extend(raws)  # noqa: E731
    socket = Socket(1, "ws://venue.test:81/stream", session, (), take, network=network)
    try:
        await socket.open(5.0)
        while not heard:
            await asyncio.sleep(0.01)
        await socket.leave(1.0)
    finally:
        venue.close()
        proxy.close()
    assert (heard, targets) == ([b"hello"], ["venue.test:81"])


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "ftp://proxy:1", "http://", "rejects"])
@in_loop
async def test_a_proxy_that_cannot_be_used_is_a_failed_connection(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def reject(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(reject, "127.0.0.1", 0)
    rejecting = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    monkeypatch.setenv("HTTP_PROXY", rejecting if proxy == "rejects" else proxy)
    monkeypatch.setenv("NO_PROXY", "")
    session = adapter_for("binance", "spot").socket_session()
    with pytest.raises(CANNOT_CONNECT):
        await Socket(1, "ws://venue.test/stream", session, (), lambda *_: None).open(5.0)
    server.close()


@in_loop
async def test_the_proxy_of_a_venue_is_stronger_for_rest_and_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with BinanceServer() as proxy:
        binance, okx = {"proxy": proxy.url, "markets": {"spot": {}}}, {"proxy": DIRECT}
        text = json.dumps({"exchanges": {"binance": binance, "okx": okx}})
        config = configuration.parse(text, "test.yaml")
        network, direct = network_of(config, "binance"), network_of(config, "okx")
        assert network.proxy_of("wss://venue.test/stream") == proxy.url
        assert direct.proxy_of("wss://venue.test/stream") is None
        for one, answered in ((network, True), (direct, False)):
            client = HttpClient("http://localhost:1", RetryPolicy(max_retries=0, proxy=one.proxy))
            answer = await client.request("GET", "/api/v3/exchangeInfo", {})
            assert isinstance(answer, httpx.Response) == answered
            await client.close()
        assert len(proxy.lines) == 1


@pytest.mark.parametrize("proxy", ["socks5://h:1", "http://user:secret@h:1", "h:1", "http://h/path", ""])
def test_an_unusable_proxy_of_a_venue_is_refused(proxy: str) -> None:
    text = {"exchanges": {"binance": {"proxy": proxy, "markets": {"spot": {}}}}}
    with pytest.raises(InvalidConfigFile, match="must be http://host:port"):
        configuration.parse(json.dumps(text), "test.yaml")


def test_the_receive_buffer_is_that_of_the_configuration() -> None:
    text = {"exchanges": {"binance": {"markets": {"spot": {}}}}, "connections": {"receive_kilobytes": 64}}
    assert network_of(configuration.parse(json.dumps(text), "test.yaml"), "binance").receive_bytes == 65_536


def test_which_sockets_have_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("HTTP_PROXY", "plain:3128")
    monkeypatch.setenv("NO_PROXY", "inside.test")
    assert Network().proxy_of("wss://stream.venue.test:9443/stream") == "http://proxy:3128"
    assert Network().proxy_of("ws://venue.test/stream") == "http://plain:3128"
    assert Network().proxy_of("wss://inside.test/stream") is None
    assert Network().proxy_of("ws://127.0.0.1:8080/stream") is None
    for name in ("HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name)
    assert Network().proxy_of("wss://stream.venue.test/stream") is None


@pytest.mark.parametrize("trusted", [True, False])
@in_loop
async def test_a_certificate_is_accepted_where_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    key, own = certificate(tmp_path, "DNS:localhost")
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(own))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own, key)
    server = await ws_create_server(lambda _: Greeter(), "localhost", 0, ssl=context)
    url, heard = f"wss://localhost:{server.sockets[0].getsockname()[1]}/", list[bytes]()
    session = adapter_for("binance", "spot").socket_session()
    socket = Socket(1, url, session, (), lambda _, raws, __: heard.extend(raws))
    try:
        if not trusted:
            with pytest.raises(CANNOT_CONNECT, match="certificate"):
                await socket.open(5.0)
            return
        await socket.open(5.0)
        await until(lambda: heard == [b"hello"])
        await socket.leave(1.0)
    finally:
        server.close()
