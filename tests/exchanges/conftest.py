"""The tables of records, made once for a module of tests and empty for each of them."""

import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges.tables import schema


@pytest.fixture
def empty_tables(made_tables: Client) -> Client:
    """A client of a database with empty tables."""
    for table in schema.TABLES.values():
        made_tables.command(f"TRUNCATE TABLE {table.name}")
    made_tables.command(f"TRUNCATE TABLE {schema.REJECTS}")
    return made_tables
