"""Test servers of the providers and clients of them, and a database with the tables of ticks."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks import tables
from marketdata_demo.servers.alpaca import AlpacaServer
from marketdata_demo.servers.tushare import TushareServer
from marketdata_demo.servers.yahoo import YahooServer
from tests.ticks.factor_bars import Computer
from tests.ticks.tick_clients import NOW, Clients
from tests.ticks.tick_loads import Loader


@pytest.fixture
def tushare_server() -> Iterator[TushareServer]:
    with TushareServer() as server:
        yield server


@pytest.fixture
def yahoo_server() -> Iterator[YahooServer]:
    with YahooServer(now=NOW) as server:
        yield server


@pytest.fixture
def alpaca_server() -> Iterator[AlpacaServer]:
    with AlpacaServer(now=dt.datetime(2025, 7, 1, 8, tzinfo=dt.UTC)) as server:
        yield server


@pytest.fixture
def clients(tmp_path: Path) -> Clients:
    return Clients(tmp_path)


@pytest.fixture
def client(request: pytest.FixtureRequest, clickhouse_server: str) -> Iterator[Client]:
    """A client of a database with empty tables; one of the test's own where other processes use it too."""
    own = "clickhouse_url" in request.fixturenames
    with clickhouse.connect(request.getfixturevalue("clickhouse_url" if own else "tables_url")) as connected:
        if own:
            tables.ensure(connected)
        yield connected


@pytest.fixture
def compute_all(client: Client) -> Computer:
    return Computer(client)


@pytest.fixture
def loader(client: Client, clients: Clients, tushare_server: TushareServer) -> Loader:
    return Loader(client, clients, tushare_server)
