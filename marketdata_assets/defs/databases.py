"""The databases of all domains, with their tables.

Imports nothing of Dagster, so that the command line starts quickly.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from marketdata_assets.defs.exchanges.days import ensure_tables as ensure_exchange_tables
from marketdata_assets.local import endpoints
from marketdata_assets.settings import Settings
from marketdata_assets.stores.clients import Client

if TYPE_CHECKING:
    import psycopg

    from marketdata_assets.overview import Store


@contextmanager
def connected(store: "Store") -> Iterator[Any]:
    """A connection to a database that has the tables of all domains: of psycopg, a ClickHouse client, or MongoDB's
    databases. Raises NoServer."""
    from marketdata_assets.stores import clickhouse, mongo, postgres

    settings = Settings()
    if store == "postgres":
        with postgres.connect(endpoints.address(settings, "postgres_dsn")) as connection:
            make_postgres_tables(connection)
            yield connection
    elif store == "clickhouse":
        with clickhouse.connect(endpoints.address(settings, "clickhouse_url")) as client:
            make_clickhouse_tables(client)
            yield client
    else:
        uri = endpoints.address(settings, "mongo_uri")
        with mongo.databases(mongo.Server(uri, settings.mongo_databases)) as databases:
            yield databases


def make_postgres_tables(connection: "psycopg.Connection") -> None:
    """Create the tables of all domains; that of a flow is created by its first load."""
    from marketdata_assets.bars import schema
    from marketdata_assets.flows import storage
    from marketdata_assets.reconciliation import reconcile

    schema.ensure(connection)
    storage.ensure_books(connection)
    reconcile.ensure(connection)


def make_clickhouse_tables(client: Client) -> None:
    """Create the tables of all domains."""
    from marketdata_assets.reference import tables as reference
    from marketdata_assets.ticks import tables as ticks

    reference.ensure(client)
    ticks.ensure(client)
    ensure_exchange_tables(client)
