"""The databases that commands read directly, without Dagster's resources, whose import takes a second."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from marketdata_assets.local import endpoints
from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

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
def clickhouse() -> Iterator["Client"]:
    """A client that is closed on leaving; raises NoServer."""
    from marketdata_assets.stores.clickhouse import connect

    with connect(clickhouse_url()) as client:
        yield client


@contextmanager
def exchange_tables() -> Iterator["Client"]:
    """A client of a ClickHouse that has the tables of exchanges and their ledger."""
    with clickhouse() as client:
        ensure_exchange_tables(client)
        yield client


def ensure_exchange_tables(client: "Client") -> None:
    """Create the tables of exchanges and their ledger where they are missing."""
    from marketdata_assets.exchanges.tables import schema
    from marketdata_assets.stores import clickhouse_ledger

    schema.ensure(client, Settings().exchange_keep_days)
    clickhouse_ledger.ensure(client)
