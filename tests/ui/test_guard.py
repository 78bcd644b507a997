"""The guard in front of the UI, over HTTP and websockets; the application behind it says when it was reached."""

import asyncio
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from marketdata_assets.cli import servers
from marketdata_assets.cli.instance import CannotRun
from marketdata_assets.local.process import free_port
from marketdata_assets.ui import guard
from marketdata_assets.ui.guard import Guard, token_file

TOKEN = "let-me-in"
PROXY = "quant.example"
JSON = {"Content-Type": "application/json"}
LOGIN = {"Authorization": f"Bearer {TOKEN}"}


async def reached(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"reached {request.method} {request.url.path}")


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("reached")
    await websocket.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    routes = [
        WebSocketRoute("/graphql", talk),
        Route("/{path:path}", reached, methods=["GET", "POST", "PUT", "DELETE", "OPTIONS"]),
    ]
    found = free_port()
    config = uvicorn.Config(Guard(Starlette(routes=routes), [PROXY], TOKEN), port=found, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield found
    server.should_exit = True
    thread.join()


def ask(port: int, method: str, path: str, headers: dict[str, str], **sent: str) -> httpx.Response:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, follow_redirects=False) as client:
        return client.request(method, path, headers=headers, **sent)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", {}),
        ("GET", "/runs", {"Sec-Fetch-Site": "cross-site"}),  # a link on another page
        ("GET", "/graphql", {"Accept": "text/html"}),  # the editor of queries
        ("POST", "/graphql", JSON),
        ("POST", "/graphql", JSON | {"Sec-Fetch-Site": "same-origin"}),
        ("POST", "/graphql", {"Content-Type": "application/json; charset=utf-8"}),
        ("POST", "/graphql", JSON | {"Host": "localhost:3999", "Origin": "http://localhost:3999"}),  # a tunnel
        ("POST", "/graphql", JSON | {"Host": PROXY, "Origin": f"https://{PROXY}"}),
        ("POST", "/graphql", JSON | {"Host": f"{PROXY}:8443", "Origin": f"https://{PROXY}:8443"}),
        ("POST", "/graphql", JSON | {"Host": "[::1]:3999", "Origin": "http://[::1]:3999"}),
    ],
)
def test_who_is_logged_in_reaches_the_ui(port: int, method: str, path: str, headers: dict[str, str]) -> None:
    answer = ask(port, method, path, LOGIN | headers)
    assert answer.text == f"reached {method} {path}"
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/graphql?query=mutation{x}", {}, 405),
        ("GET", "/graphql?query=mutation{x}", {"Origin": "http://foreign.example"}, 403),
        ("GET", "/graphql/?query=mutation{x}", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("GET", "/prefix/graphql?query=mutation{x}", {"Sec-Fetch-Site": "same-site"}, 403),
        ("HEAD", "/graphql?query=mutation{x}", {}, 405),
        ("OPTIONS", "/graphql", {"Origin": "http://foreign.example"}, 403),
        ("POST", "/graphql?query=mutation{x}", {}, 415),
        ("POST", "/graphql", {"Content-Type": "text/plain; application/json"}, 415),
        ("POST", "/graphql", {"Content-Type": "application/graphql"}, 415),
        ("POST", "/graphql", JSON | {"Origin": "http://foreign.example"}, 403),
        ("POST", "/graphql", JSON | {"Origin": "null"}, 403),
        ("POST", "/graphql", JSON | {"Origin": "http://["}, 403),
        ("POST", "/graphql", JSON | {"Host": "localhost:3999", "Origin": "http://localhost:5000"}, 403),
        ("POST", "/graphql", JSON | {"Host": "localhost:3999", "Origin": "http://localhost.foreign.example:3999"}, 403),
        ("POST", "/graphql", JSON | {"Sec-Fetch-Site": "same-site"}, 403),
        ("POST", "/report_asset_materialization/x", JSON | {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", "/report_asset_materialization/x", {"Content-Type": "text/plain"}, 415),
        ("DELETE", "/x", {"Origin": "http://foreign.example"}, 403),
        # A foreign name that resolves to this machine makes its page the same site: only Host tells.
        ("GET", "/", {"Host": "rebound.example"}, 421),
        ("POST", "/graphql", JSON | {"Host": "rebound.example", "Origin": "http://rebound.example"}, 421),
        ("GET", "/server_info", {"Host": f"rebound.example#@{PROXY}"}, 421),
        ("GET", "/server_info", {"Host": "localhost:port"}, 421),
        ("GET", "/server_info", {"Host": "quant.example.foreign.example"}, 421),
    ],
)
def test_other_sites_are_refused_also_with_the_login(
    port: int, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = ask(port, method, path, LOGIN | headers)
    assert (answer.status_code, "reached" in answer.text) == (status, False), answer.text
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Cookie": "marketdata_ui=let-me-in"}])
def test_without_the_token_nothing_is_shown(port: int, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/"), ("GET", "/?token=wrong"), ("POST", "/graphql"), ("GET", "/logs/x.out")):
        answer = ask(port, method, path, JSON | headers)
        assert (answer.status_code, "reached" in answer.text) == (401, False)
    assert ask(port, "GET", "/server_info", headers).text == "reached GET /server_info"


def test_a_link_with_the_token_logs_a_browser_in(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as browser:
        assert "<form>" in browser.get("/runs", headers={"Accept": "text/html"}).text
        first = browser.get(f"/runs?token={TOKEN}&view=all")
        assert (first.status_code, first.headers["location"]) == (303, "/runs?view=all")
        cookie = first.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert browser.get("/runs").text == "reached GET /runs"
        assert TOKEN not in cookie
        assert f"Max-Age={30 * 86_400}" in cookie
        assert "Secure" not in cookie


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def client(token: str = TOKEN, clock: Clock | None = None, sessions: Path | None = None, **headers: str) -> TestClient:
    guarded = Guard(PlainTextResponse("reached"), [PROXY], token, clock or Clock(), sessions)
    return TestClient(guarded, base_url="http://127.0.0.1:3000", headers=headers, follow_redirects=False)


def logged_in(browser: TestClient) -> str:
    name, _, value = browser.get(f"/?token={TOKEN}").headers["set-cookie"].partition(";")[0].partition("=")
    browser.cookies.clear()
    return f"{name}={value}"


def test_a_session_ends_and_is_of_one_port_and_one_token() -> None:
    clock = Clock()
    browser = client(clock=clock)
    cookie, other = logged_in(browser), logged_in(browser)
    assert cookie != other
    ask = {"Cookie": cookie}
    assert browser.get("/", headers=ask).text == "reached"
    assert client("another token", clock).get("/", headers=ask).status_code == 401
    moved = {"Cookie": cookie.replace("_3000=", "_3100="), "Host": "127.0.0.1:3100"}
    assert browser.get("/", headers=moved).status_code == 401
    clock.now += 30 * 86_400 - 1
    assert browser.get("/", headers=ask).text == "reached"
    clock.now += 1
    assert browser.get("/", headers=ask).status_code == 401


def test_a_session_is_revoked_alone_and_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MARKETDATA_HOME", str(tmp_path))

    def sessions(revoked: str | None = None) -> tuple[list[str], dict[str, str]]:
        servers.ui_sessions(revoked=revoked, as_json=True)
        said = json.loads(capsys.readouterr().out)
        return said["revoked"], {one["browser"]: one["id"] for one in said["sessions"]}

    browser = client(sessions=tmp_path / "dagster" / "ui_sessions")
    assert sessions() == ([], {})
    cookies = {}
    for name in ("work", "lost\u001b[2J", "phone"):
        browser.headers["User-Agent"] = name
        cookies[name] = logged_in(browser)
    _, found = sessions()
    assert [*found] == ["work", "lost\\u001b[2J", "phone"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "dagster" / "ui_sessions").iterdir()} == {0o600}

    def inside() -> list[str]:
        return [name for name, one in cookies.items() if browser.get("/", headers={"Cookie": one}).status_code == 200]

    with pytest.raises(CannotRun, match=r"no session \.\./\.\./ui_token"):
        sessions("../../ui_token")
    assert len(inside()) == 3
    lost = found["lost\\u001b[2J"]
    assert sessions(lost)[0] == [lost]
    assert inside() == ["work", "phone"]
    assert [*sessions("all")[1]] == []
    assert inside() == []
    cookies = {"again": logged_in(browser)}
    assert inside() == ["again"]


def test_an_ended_session_is_forgotten_and_a_full_disk_locks_nobody_out(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    logged_in(client(sessions=folder))
    [old] = guard.sessions(folder)
    os.utime(folder / old, (0, 0))
    assert guard.sessions(folder) == {}
    logged_in(client(sessions=folder))
    assert [path.name for path in folder.iterdir()] == [*guard.sessions(folder)]
    (tmp_path / "file").touch()
    browser = client(sessions=tmp_path / "file" / "sessions")
    assert browser.get("/", headers={"Cookie": logged_in(browser)}).text == "reached"


@pytest.mark.parametrize(
    "value", ["", TOKEN, "..", "9999999999..", "9999999999.a.b", "1.2.3.4", "9" * 5000 + ".a.b", "\u0663.a.b", "-1.a.b"]
)
def test_no_other_cookie_is_a_session(value: str) -> None:
    cookie = f"marketdata_ui_3000={value}".encode()
    assert client().get("/", headers={"Cookie": cookie}).status_code == 401  # type: ignore[dict-item]


def test_a_changed_session_is_none() -> None:
    browser = client()
    name, _, value = logged_in(browser).partition("=")
    until, nonce, signature = value.split(".")
    for changed in (
        f"{int(until) + 9}.{nonce}.{signature}",
        f"{until}.0{nonce}.{signature}",
        f"{until}.{nonce}.{'0' * 64}",
    ):
        assert browser.get("/", headers={"Cookie": f"{name}={changed}"}).status_code == 401


@pytest.mark.parametrize(
    ("host", "proto", "secure"),
    [(PROXY, "https", True), (PROXY, "http", False), (PROXY, "", False), ("127.0.0.1:3000", "https", False)],
)
def test_the_cookie_of_tls_is_secure_where_a_setting_names_the_proxy(host: str, proto: str, secure: bool) -> None:
    said = client(Host=host, **{"X-Forwarded-Proto": proto}).get(f"/?token={TOKEN}")
    assert ("Secure" in said.headers["set-cookie"]) == secure
    direct = TestClient(Guard(PlainTextResponse("x"), [], TOKEN), base_url="https://localhost", follow_redirects=False)
    assert "Secure" in direct.get(f"/?token={TOKEN}").headers["set-cookie"]


@pytest.mark.parametrize("path", ["/%00", "/logs/%1b[2J", "/?a=%00", "/static/%00.js", "/%0d%0aX: y", "/%c2%9b"])
def test_an_address_with_a_control_character_is_no_address(port: int, path: str) -> None:
    assert ask(port, "GET", path, LOGIN).status_code == 400


def test_answers_have_no_secret_whatever_the_ui_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "canary-11c9")

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            kind = "text/javascript" if scope["path"].endswith(".js") else "application/json"
            await Response('{"error": "no canary-11c9"}', media_type=kind)(scope, receive, send)
            return
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        await socket.send_text("no canary-11c9")
        await socket.close()

    browser = TestClient(Guard(told), base_url="http://localhost")
    answer = browser.get("/graphql", headers={"Accept": "text/html"})
    assert answer.json() == {"error": "no ***********"}
    assert "canary" in browser.get("/bundle.js").text  # a file of the package, which a weak password would break
    with browser.websocket_connect("/graphql", headers={"Host": "localhost"}) as talking:
        assert talking.receive_text() == "no ***"


def test_a_link_with_the_token_leads_to_no_other_site(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(f"GET //foreign.example/?token={TOKEN} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
        assert b"\r\nlocation: /foreign.example/\r\n" in raw.recv(10_000)


@pytest.mark.parametrize(
    ("origin", "login", "reached"),
    [
        (None, LOGIN, True),
        ("http://127.0.0.1:{port}", LOGIN, True),
        ("http://foreign.example", LOGIN, False),
        ("http://127.0.0.1:1", LOGIN, False),
        (None, {}, False),
    ],
)
def test_websockets_of_other_sites_are_refused(
    port: int, origin: str | None, login: dict[str, str], reached: bool
) -> None:
    async def said() -> str:
        where = origin.format(port=port) if origin else None
        try:
            async with connect(f"ws://127.0.0.1:{port}/graphql", origin=where, additional_headers=login) as socket:  # type: ignore[arg-type]
                return str(await socket.recv())
        except InvalidStatus as error:
            return f"status {error.response.status_code}"

    assert asyncio.run(said()) == ("reached" if reached else "status 403")


def test_only_the_owner_reads_the_token_and_a_second_start_keeps_it(tmp_path: Path) -> None:
    file = token_file(tmp_path / "dagster")
    before = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(before.strip()) >= 40
    assert token_file(tmp_path / "dagster").read_text() == before
    assert [path.name for path in file.parent.iterdir()] == ["ui_token"]
    assert token_file(tmp_path / "other").read_text() != before
