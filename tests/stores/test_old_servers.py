"""A server that is older than the oldest that the project works with is refused before anything is written."""

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from marketdata_assets import server_versions
from marketdata_assets.errors import TerminalError
from marketdata_assets.server_health import check
from marketdata_assets.server_versions import OLDEST, ServerTooOld, require
from marketdata_assets.stores import clickhouse, mongo, postgres
from marketdata_assets.stores.errors import StoreAway

Connect = Callable[[str], AbstractContextManager[Any]]


@pytest.mark.parametrize("server", OLDEST)
def test_oldest_version_and_all_newer_ones_pass(server: str) -> None:
    first, *rest = OLDEST[server]
    require(server, server_versions.oldest(server))
    require(server, ".".join(map(str, (first, *rest, 1))))
    require(server, f"{first + 1}.0")


@pytest.mark.parametrize(
    ("server", "version"),
    [
        ("PostgreSQL", "14.23 (Debian 14.23-1.pgdg120+1)"),
        ("MongoDB", "5.0.31"),
        ("ClickHouse", "23.8.16.40"),
        ("ClickHouse", "18.16.1"),
        ("NATS", "2.10.22"),
        ("NATS", "2.9.25"),
    ],
)
def test_older_version_is_refused_with_the_one_that_is_required(server: str, version: str) -> None:
    with pytest.raises(ServerTooOld) as caught:
        require(server, version)
    assert str(caught.value).startswith(f"{server} {version} is too old: {server_versions.oldest(server)} or newer")
    assert isinstance(caught.value, TerminalError), "nobody retries it"


@pytest.mark.parametrize("version", ["", "unknown", "devel"])
def test_version_without_a_number_is_not_judged(version: str) -> None:
    require("PostgreSQL", version)


@pytest.mark.servers
@pytest.mark.parametrize(
    ("address", "connect", "server"),
    [
        ("dsn", postgres.connect, "PostgreSQL"),
        ("clickhouse_url", clickhouse.connect, "ClickHouse"),
        ("mongo_uri", mongo.connect, "MongoDB"),
    ],
)
def test_connection_to_a_server_that_is_too_old_is_refused(
    address: str, connect: Connect, server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = request.getfixturevalue(address)
    with connect(url):
        pass
    monkeypatch.setitem(OLDEST, server, (99, 1))
    with (
        pytest.raises(ServerTooOld, match=rf"^{server} \d[\d.]+.* is too old: 99\.1 or newer is required"),
        connect(url),
    ):
        pass


@pytest.mark.servers
@pytest.mark.parametrize(
    ("address", "store", "server"),
    [
        ("dsn", "postgres", "PostgreSQL"),
        ("clickhouse_url", "clickhouse", "ClickHouse"),
        ("mongo_uri", "mongo", "MongoDB"),
    ],
)
def test_doctor_reports_a_server_that_is_too_old(
    address: str, store: str, server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = request.getfixturevalue(address)
    assert check(store, url).ok
    monkeypatch.setitem(OLDEST, server, (99, 1))
    health = check(store, url)
    assert not health.ok
    assert health.version
    assert "99.1 or newer is required" in health.remedy


class OldClickHouse(BaseHTTPRequestHandler):
    """Answers as 18.16 does: its settings have no column `readonly`, and a name of a database is looked up first."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if "database=" in self.path:
            self._answer(404, b"Code: 81, e.displayText() = DB::Exception: Database md doesn't exist")
        else:
            self._answer(500, b"Code: 47, e.displayText() = DB::Exception: Unknown identifier: readonly")

    def do_GET(self) -> None:
        self._answer(200, b"18.16.1\n")

    def log_message(self, *args: Any, **keywords: Any) -> None:
        """Keep the output of the tests clean."""

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize("path", ["", "/md"])
def test_clickhouse_that_the_client_library_cannot_talk_to_is_refused_by_its_version(path: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), OldClickHouse) as old:
        Thread(target=old.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{old.server_port}{path}"
        with pytest.raises(ServerTooOld, match=r"18\.16\.1"), clickhouse.connect(url):
            pass
        old.shutdown()


def test_clickhouse_without_a_response_is_not_asked_for_its_version() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/md"
        with pytest.raises(StoreAway), clickhouse.connect(url, timeout_seconds=1):
            pass
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
