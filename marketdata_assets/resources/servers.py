"""PostgreSQL, MongoDB, ClickHouse and NATS as resources: their addresses, and connections."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, ClassVar

import dagster as dg

from marketdata_assets import databases
from marketdata_assets.local import endpoints
from marketdata_assets.settings import Settings
from marketdata_assets.stores.clients import Client

if TYPE_CHECKING:
    from marketdata_assets.stores import mongo


class Server(dg.ConfigurableResource):
    """A server, by the variable of its store, else of the running local stack."""

    setting: ClassVar[str]
    """The field of Endpoints."""

    @property
    def dsn(self) -> str:
        """The connection string; raises NoServer when nothing names one."""
        return endpoints.address(Settings(), self.setting)


class Postgres(Server):
    """A PostgreSQL database, by MARKETDATA_POSTGRES_DSN."""

    setting = "postgres_dsn"


class Mongo(Server):
    """A MongoDB server, by MARKETDATA_MONGO_URI."""

    setting = "mongo_uri"

    @property
    def server(self) -> "mongo.Server":
        """The server, and the names that MARKETDATA_MONGO_DATABASES gives to databases."""
        return databases.mongo_server()

    def databases(self) -> AbstractContextManager["mongo.Databases"]:
        """The databases by the project's names; the connection is closed on leaving."""
        return databases.connected("mongo")


class ClickHouse(Server):
    """A ClickHouse server, by MARKETDATA_CLICKHOUSE_URL."""

    setting = "clickhouse_url"

    def client(self, *domains: str) -> AbstractContextManager[Client]:
        """A client that is closed on leaving; the server has the tables of these domains."""
        return databases.clickhouse(*domains)


class Nats(Server):
    """A NATS server, by MARKETDATA_NATS_URL."""

    setting = "nats_url"
