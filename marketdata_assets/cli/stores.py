"""The databases that commands use directly, without Dagster's resources, whose import takes a second."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from marketdata_assets.cli import output
from marketdata_assets.defs import databases
from marketdata_assets.defs.exchanges.days import ensure_tables as ensure_exchange_tables
from marketdata_assets.local import endpoints
from marketdata_assets.settings import Settings
from marketdata_assets.stores.clients import Client

if TYPE_CHECKING:
    from marketdata_assets.stores.mongo import Server


def postgres_dsn() -> str:
    """The connection string; raises NoServer when nothing names one."""
    return endpoints.address(Settings(), "postgres_dsn")


def mongo_uri() -> str:
    """The connection string; raises NoServer when nothing names one."""
    return endpoints.address(Settings(), "mongo_uri")


def mongo_server() -> "Server":
    """The server, and the names that MARKETDATA_MONGO_DATABASES gives to databases; raises NoServer."""
    from marketdata_assets.stores.mongo import Server

    return Server(mongo_uri(), Settings().mongo_databases)


def clickhouse_url() -> str:
    """The connection string; raises NoServer when nothing names one."""
    return endpoints.address(Settings(), "clickhouse_url")


@contextmanager
def clickhouse() -> Iterator[Client]:
    """A client that is closed on leaving; raises NoServer."""
    from marketdata_assets.stores.clickhouse import connect

    with connect(clickhouse_url()) as client:
        yield client


@contextmanager
def exchange_tables() -> Iterator[Client]:
    """A client of a ClickHouse that has the tables of exchanges and their ledger."""
    with clickhouse() as client:
        ensure_exchange_tables(client)
        yield client


def create_tables(as_json: output.Json = False) -> None:
    """Create the missing tables in every database, for users who may only read.

    Loads create the tables that they need, and MongoDB has none. A database whose tables have the form of another
    version is an error.
    """
    from marketdata_assets.stores import clickhouse as server
    from marketdata_assets.stores import postgres

    found = endpoints.resolve(Settings())
    done = []
    if found.postgres_dsn:
        with postgres.connect(found.postgres_dsn) as connection:
            databases.make_postgres_tables(connection)
        done.append("Postgres")
    if found.clickhouse_url:
        with server.connect(found.clickhouse_url) as client:
            databases.make_clickhouse_tables(client)
        done.append("ClickHouse")
    text = f"the tables are there: {', '.join(done)}" if done else "no database is configured"
    output.result(as_json, {"databases": done}, text)
