"""Sockets through a proxy, as the environment names it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest
from in_loop import in_loop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from marketdata_assets.collector.connections import adapter_for
from marketdata_assets.collector.connections.proxy import proxy_of
from marketdata_assets.collector.connections.socket import CANNOT_CONNECT, Socket


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


@in_loop
async def test_a_socket_goes_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    venue = await ws_create_server(lambda _: Greeter(), "127.0.0.1", 0)
    port, targets, heard = venue.sockets[0].getsockname()[1], list[str](), list[bytes]()
    proxy = await asyncio.start_server(tunnel(port, targets), "127.0.0.1", 0)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
    monkeypatch.setenv("NO_PROXY", "")
    session = adapter_for("binance", "spot").socket_session()
    socket = Socket(1, "ws://venue.test:81/stream", session, (), lambda _, raws, __: heard.extend(raws))
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


def test_which_sockets_have_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("HTTP_PROXY", "plain:3128")
    monkeypatch.setenv("NO_PROXY", "inside.test")
    assert proxy_of("wss://stream.venue.test:9443/stream") == "http://proxy:3128"
    assert proxy_of("ws://venue.test/stream") == "http://plain:3128"
    assert proxy_of("wss://inside.test/stream") is None
    assert proxy_of("ws://127.0.0.1:8080/stream") is None
    for name in ("HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name)
    assert proxy_of("wss://stream.venue.test/stream") is None
