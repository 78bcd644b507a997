"""The databases of the settings or of the running local stack, with the tables of the domains that a caller needs.

Raises NoServer where nothing names a server. Imports nothing of Dagster, so that the command line starts quickly.
"""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from marketdata_assets import domains
from marketdata_assets.domains import Store
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


def connected(store: Store, *names: str) -> AbstractContextManager[Any]:
    """A connection to a database that has the tables of these domains, or of all without names: of psycopg, a
    ClickHouse client, or MongoDB's databases."""
    if store == "mongo":
        from marketdata_assets.stores import mongo

        return mongo.databases(mongo_server())
    names = names or domains.names()
    return postgres(*names) if store == "postgres" else clickhouse(*names)


@contextmanager
def postgres(*names: str) -> "Iterator[psycopg.Connection]":
    """A connection to a database with the tables of these domains; leaving without an error commits."""
    from marketdata_assets.stores.postgres import connect

    with connect(postgres_dsn()) as connection:
        make_tables("postgres", connection, names)
        yield connection


@contextmanager
def clickhouse(*names: str) -> Iterator[Client]:
    """A client of a database with the tables of these domains, which is closed on leaving."""
    from marketdata_assets.stores.clickhouse import connect

    with connect(clickhouse_url()) as client:
        make_tables("clickhouse", client, names)
        yield client


def make_tables(store: Store, connection: Any, names: Collection[str] | None = None) -> None:
    """Create the missing tables that domains have in a store, of all without names."""
    for one in domains.every():
        if one.make_tables and one.store == store and (names is None or one.name in names):
            resolve_name(one.make_tables)(connection)
