"""A proxy of the environment: used for servers elsewhere, never for those of this machine."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from marketdata_assets.alerts import Alert, AlertNotSent, post
from marketdata_assets.http_client import HttpClient, RetryPolicy, SocksProxy
from marketdata_assets.proxies import environment_proxy

DEAD = "http://127.0.0.1:1"
ONCE = RetryPolicy(timeout=5, max_retries=0)
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server() -> Iterator[str]:
    """A server of this machine that answers everything with OK."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET  # noqa: N815 - the name is the library's

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


async def answer(url: str) -> object:
    client = HttpClient(url, ONCE)
    try:
        return await client.request("GET", "/", {})
    finally:
        await client.close()


@pytest.mark.parametrize("proxy", [DEAD, "socks5://127.0.0.1:1"])
def test_servers_of_this_machine_are_reached_past_a_dead_proxy(
    server: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES[:3]:
        monkeypatch.setenv(name, proxy)
    for url in (server, server.replace("127.0.0.1", "localhost")):
        found = asyncio.run(answer(url))
        assert isinstance(found, httpx.Response), found
        post(url, Alert("title", [], {}))


def test_servers_elsewhere_are_reached_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", DEAD)
    assert not isinstance(asyncio.run(answer("https://api.example.com")), httpx.Response)
    with pytest.raises(AlertNotSent):
        post("https://hooks.example.com", Alert("title", [], {}))


def test_a_socks_proxy_is_named_with_the_package_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://user:canary@127.0.0.1:1")
    with pytest.raises(SocksProxy, match=r"socks5://\.\.\., .*pip install socksio.*HTTPS_PROXY") as raised:
        asyncio.run(answer("https://api.example.com"))
    assert "canary" not in str(raised.value)
    monkeypatch.setenv("HTTPS_PROXY", DEAD)  # then it is not used
    asyncio.run(answer("https://api.example.com"))


def test_which_servers_have_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://secure:1")
    monkeypatch.setenv("HTTP_PROXY", "plain:1")
    monkeypatch.setenv("NO_PROXY", "inside.example.com")
    assert (
        environment_proxy("https://api.example.com/x")
        == environment_proxy("wss://api.example.com")
        == "http://secure:1"
    )
    assert environment_proxy("http://api.example.com:8123") == "http://plain:1"
    assert environment_proxy("https://inside.example.com") is None
    assert [environment_proxy(f"http://{host}:1") for host in ("127.0.0.1", "localhost", "[::1]")] == [None] * 3
