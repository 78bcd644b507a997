"""A database with the tables of records, empty for each test that asks."""

from collections.abc import Callable, Iterator

import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges.tables import schema
from marketdata_assets.stores import clickhouse, clickhouse_ledger
from tests.databases import emptied_clickhouse


def make(client: Client) -> None:
    schema.ensure(client)
    clickhouse_ledger.ensure(client)


@pytest.fixture(scope="session")
def empty_tables(clickhouse_server: str) -> Iterator[Callable[[], str]]:
    with emptied_clickhouse(clickhouse_server, make) as emptied:
        yield emptied


@pytest.fixture
def client(empty_tables: Callable[[], str]) -> Iterator[Client]:
    """A client of a database with empty tables."""
    with clickhouse.connect(empty_tables()) as connected:
        yield connected
