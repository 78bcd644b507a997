"""The databases of the settings or of the running local stack, with the tables of the domains that a caller needs.

Raises NoServer where nothing names a server. Imports nothing of Dagster, so that the command line starts quickly.
"""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from marketdata_assets.local import endpoints
from marketdata_assets.settings import Settings
from marketdata_assets.stores.clients import Client

if TYPE_CHECKING:
    import psycopg

    from marketdata_assets.stores.mongo import Server


def postgres_dsn() -> str:
    return endpoints.address(Settings(), "postgres_dsn")


def clickhouse_url() -> str:
    return endpoints.address(Settings(), "clickhouse_url")


def mongo_server() -> "Server":
    """The server, and the names that MARKETDATA_MONGO_DATABASES gives to databases."""
    from marketdata_assets.stores.mongo import Server

    settings = Settings()
    return Server(endpoints.address(settings, "mongo_uri"), settings.mongo_databases)


def connected(store: str) -> AbstractContextManager[Any]:
    """A connection to a database that has the tables of all domains: of psycopg, a ClickHouse client, or MongoDB's
    databases."""
    if store == "mongo":
        from marketdata_assets.stores import mongo

        return mongo.databases(mongo_server())
    return postgres(*POSTGRES) if store == "postgres" else clickhouse(*CLICKHOUSE)


@contextmanager
def postgres(*domains: str) -> "Iterator[psycopg.Connection]":
    """A connection; leaving without an error commits."""
    from marketdata_assets.stores.postgres import connect

    with connect(postgres_dsn()) as connection:
        make_postgres_tables(connection, domains)
        yield connection


@contextmanager
def clickhouse(*domains: str) -> Iterator[Client]:
    """A client that is closed on leaving."""
    from marketdata_assets.stores.clickhouse import connect

    with connect(clickhouse_url()) as client:
        make_clickhouse_tables(client, domains)
        yield client


POSTGRES = ("bars", "flows", "reconciliation")
CLICKHOUSE = ("reference", "ticks", "exchanges")
"""The domains whose tables are created ahead of a load; MongoDB has none, that of a flow is created by its first."""


def make_postgres_tables(connection: "psycopg.Connection", domains: Collection[str] = POSTGRES) -> None:
    """Create the missing tables of domains."""
    if "bars" in domains:
        from marketdata_assets.bars import schema

        schema.ensure(connection)
    if "flows" in domains:
        from marketdata_assets.flows import storage

        storage.ensure_books(connection)
    if "reconciliation" in domains:
        from marketdata_assets.reconciliation import reconcile

        reconcile.ensure(connection)


def make_clickhouse_tables(client: Client, domains: Collection[str] = CLICKHOUSE) -> None:
    """Create the missing tables of domains; those of exchanges get the retention of the settings."""
    if "reference" in domains:
        from marketdata_assets.reference import tables as reference

        reference.ensure(client)
    if "ticks" in domains:
        from marketdata_assets.ticks import tables as ticks

        ticks.ensure(client)
    if "exchanges" in domains:
        from marketdata_assets.exchanges.tables import schema
        from marketdata_assets.stores import clickhouse_ledger

        schema.ensure(client, Settings().exchange_keep_days)
        clickhouse_ledger.ensure(client)
