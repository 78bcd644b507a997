"""Databases of other encodings than UTF-8: names and text come back as text, and all tables are created."""

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from marketdata_assets.bars import schema
from marketdata_assets.stores.postgres import connect


@pytest.fixture(params=["SQL_ASCII", "LATIN1", "EUC_CN"])
def encoded_dsn(request: pytest.FixtureRequest, server_dsn: str) -> Iterator[str]:
    """An empty database of this encoding."""
    name = sql.Identifier(made := f"encoded_{uuid.uuid4().hex}")
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        create = "CREATE DATABASE {} TEMPLATE template0 LOCALE 'C' ENCODING {}"
        connection.execute(sql.SQL(create).format(name, sql.Literal(request.param)))
        yield make_conninfo(server_dsn, dbname=made)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def test_text_comes_back_as_text(encoded_dsn: str) -> None:
    with connect(encoded_dsn) as connection:
        assert connection.execute("SELECT 'a'::text, 'b'::name, 'c'::varchar").fetchone() == ("a", "b", "c")


def test_tables_are_created_in_it_twice(encoded_dsn: str) -> None:
    for _ in range(2):
        with connect(encoded_dsn) as connection:
            schema.ensure(connection)
            assert connection.execute("SELECT count(*) FROM stock_1min_coverage").fetchone() == (0,)
