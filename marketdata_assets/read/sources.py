"""Where readers read from: a connection that is given, an address, or what the settings name.

The environment is read first, then the record of the local stack that runs on the data folder.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from marketdata_assets.local import endpoints
from marketdata_assets.read.errors import CannotRead
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse, mongo
from marketdata_assets.stores import postgres as store
from marketdata_assets.stores.errors import StoreAway

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client
    from pymongo import MongoClient

    Postgres = str | psycopg.Connection
    ClickHouse = str | Client
    Mongo = str | MongoClient[dict[str, Any]]

APPLICATION = "marketdata read"


@contextmanager
def of_postgres(given: "Postgres | None") -> Iterator[psycopg.Connection]:
    """The connection that is given, or one that is closed on leaving. Raises NoServer, CannotRead."""
    with _naming_failures():
        if isinstance(given, psycopg.Connection):
            yield given
            return
        dsn = given or endpoints.address(Settings(), "postgres_dsn")
        with store.connect(dsn, autocommit=True, application=APPLICATION) as connection:
            yield connection


@contextmanager
def of_clickhouse(given: "ClickHouse | None") -> "Iterator[Client]":
    """The client that is given, or one that is closed on leaving. Raises NoServer, CannotRead."""
    with _naming_failures():
        if given is not None and not isinstance(given, str):
            yield given
            return
        with clickhouse.connect(given or endpoints.address(Settings(), "clickhouse_url")) as client:
            yield client


@contextmanager
def of_mongo(given: "Mongo | None") -> "Iterator[MongoClient[dict[str, Any]]]":
    """The client that is given, or one that is closed on leaving. Raises NoServer, CannotRead."""
    with _naming_failures(), mongo.naming_failures():
        if given is not None and not isinstance(given, str):
            yield given
            return
        with mongo.connect(given or endpoints.address(Settings(), "mongo_uri"), application=APPLICATION) as client:
            yield client


@contextmanager
def _naming_failures() -> Iterator[None]:
    try:
        yield
    except StoreAway as error:
        raise CannotRead(error.store, error.cause) from error
