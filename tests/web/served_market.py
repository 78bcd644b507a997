"""A database with a few months of invented stocks, and the market page over some servers, behind the guard."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import uvicorn
from starlette.types import Receive, Scope, Send

from marketdata_assets.bars import kline
from marketdata_assets.local.errors import NoServer
from marketdata_assets.local.process import free_port
from marketdata_assets.stores.mongo import Server
from marketdata_assets.ui.guard import Guard
from marketdata_assets.web.application import application
from marketdata_assets.web.database import Servers
from marketdata_demo.sample_bars import STOCKS, weekdays, write_year
from tests.bars.bar_files import months, run

TOKEN = "let-me-in"
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
"""A name that is a picture where a page takes it for HTML."""
CODE, NAME = "600001.SH", "示例银行"


def load_market(dsn: str, folder: Path) -> None:
    """Three stocks from January 2023 to March 2024; the second one has a hostile name."""
    write_year(folder, 2023, STOCKS[:3])
    write_year(folder, 2024, STOCKS[:3], until=[day for day in weekdays(2024) if day.month == 3][-1])
    asked = months(2023) + months(2024)[:3]
    assert not run(dsn, folder, asked).failed
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE stock_1min_qfq SET name = %s WHERE code = '000001.SZ'", [HOSTILE])
    kline.refresh(dsn, asked)


def on(postgres: str | None = None, clickhouse: str | None = None, mongo: str | None = None) -> Servers:
    """The servers at these addresses; those without one are missing."""

    def at(store: str, variable: str, address: str | None) -> Callable[[], str]:
        def found() -> str:
            if address is None:
                raise NoServer(store, variable)
            return address

        return found

    uri = at("MongoDB", "MARKETDATA_MONGO_URI", mongo)
    return Servers(
        at("Postgres", "MARKETDATA_POSTGRES_DSN", postgres),
        at("ClickHouse", "MARKETDATA_CLICKHOUSE_URL", clickhouse),
        lambda: Server(uri()),
    )


@contextmanager
def served(servers: Servers, wait: float = 0.0) -> Iterator[str]:
    """The URL of the page, as `marketdata web` serves it; every answer about data takes `wait` seconds more."""
    port = free_port()
    page = application(servers)

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path", "").startswith("/api/"):
            await asyncio.sleep(wait)
        await page(scope, receive, send)

    guarded = Guard(waiting if wait else page, token=TOKEN)
    server = uvicorn.Server(uvicorn.Config(guarded, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def get(url: str, path: str, params: dict[str, str] | None = None, **headers: str) -> httpx.Response:
    """What the page answers to someone who is logged in."""
    login = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.get(url + path, params=params, headers=login | headers, trust_env=False, timeout=60)


def answer(url: str, path: str, **params: str) -> dict[str, Any]:
    """The JSON of an answer that is good."""
    given = get(url, path, params or None)
    assert given.status_code == 200, given.text
    found = given.json()
    assert isinstance(found, dict)
    return found
