"""What tests of minute bars share."""

from collections.abc import Iterator

import psycopg
import pytest

from marketdata_assets.bars import schema, unit


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection]:
    """To a database that has the tables of bars."""
    with psycopg.connect(dsn) as connection:
        schema.ensure(connection)
        yield connection


@pytest.fixture
def columnstore_dsn(timescale_dsn: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database whose loads are compressed, however small they are."""
    monkeypatch.setattr(unit, "COMPRESSED_ROWS", 1)
    with psycopg.connect(timescale_dsn) as connection:
        if not schema.ensure(connection).columnstore:
            pytest.skip("needs TimescaleDB community 2.24 or newer")
    return timescale_dsn
