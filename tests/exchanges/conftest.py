"""The tables of records, made once for a module of tests and empty for each of them."""

import uuid
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges.tables import schema
from marketdata_assets.stores import clickhouse


@pytest.fixture(scope="module")
def made_tables(clickhouse_server: str) -> Iterator[Client]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    with clickhouse.connect(f"{clickhouse_server}/default") as client:
        client.command(f"CREATE DATABASE {name} ENGINE = Atomic")
        with clickhouse.connect(f"{clickhouse_server}/{name}") as made:
            schema.ensure(made)
            yield made
        client.command(f"DROP DATABASE {name} SYNC")


@pytest.fixture
def empty_tables(made_tables: Client) -> Client:
    """A client of a database with empty tables."""
    for table in schema.TABLES.values():
        made_tables.command(f"TRUNCATE TABLE {table.name}")
    made_tables.command(f"TRUNCATE TABLE {schema.REJECTS}")
    return made_tables
