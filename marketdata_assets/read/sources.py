"""Where readers read from: a connection that is given, an address, or what the settings name.

The environment is read first, then the record of the local stack that runs on the data folder.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar

import psycopg
from pymongo import MongoClient

from marketdata_assets.local import endpoints
from marketdata_assets.read.errors import CannotRead
from marketdata_assets.settings import Settings
from marketdata_assets.stores import clickhouse, mongo
from marketdata_assets.stores import postgres as store
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.errors import StoreAway

Postgres = str | psycopg.Connection
ClickHouse = str | Client
Mongo = str | MongoClient[dict[str, Any]] | mongo.Renamed

APPLICATION = "marketdata read"
T = TypeVar("T")


def of_postgres(given: Postgres | None) -> AbstractContextManager[psycopg.Connection]:
    """The connection that is given, or one that is closed on leaving. Raises NoServer, CannotRead."""
    return _opened(given, "postgres_dsn", partial(store.connect, autocommit=True, application=APPLICATION))


def of_clickhouse(given: ClickHouse | None) -> AbstractContextManager[Client]:
    """The client that is given, or one that is closed on leaving. Raises NoServer, CannotRead."""
    return _opened(given, "clickhouse_url", clickhouse.connect)


@contextmanager
def of_mongo(given: Mongo | None) -> Iterator[mongo.Databases]:
    """The databases that are given, or those of a client, by default closed on leaving. Raises NoServer, CannotRead."""
    if isinstance(given, mongo.Renamed):
        yield given
        return
    connect = partial(mongo.connect, application=APPLICATION)
    with _opened(given, "mongo_uri", connect, mongo.naming_failures) as client:
        yield mongo.Renamed(client, Settings().mongo_databases)


@contextmanager
def _opened(
    given: str | T | None,
    setting: str,
    connect: Callable[[str], AbstractContextManager[T]],
    naming_failures: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[T]:
    try:
        with naming_failures():
            if given is not None and not isinstance(given, str):
                yield given
            else:
                with connect(given or endpoints.address(Settings(), setting)) as opened:
                    yield opened
    except StoreAway as error:
        raise CannotRead(error.store, error.cause) from error
