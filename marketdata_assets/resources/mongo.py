"""MongoDB: where alphas land."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from marketdata_assets.local import endpoints
from marketdata_assets.resources.health import Health, examine, median_ms
from marketdata_assets.secret_values import without_password
from marketdata_assets.server_versions import require
from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from marketdata_assets.stores.mongo import Databases, Server


class Mongo(dg.ConfigurableResource):
    """A MongoDB server. An empty `url` means MARKETDATA_MONGO_URI, else the running local stack."""

    url: str = ""

    @property
    def uri(self) -> str:
        """The connection string; raises NoServer when nothing names one."""
        return self.url or endpoints.address(Settings(), "mongo_uri")

    @property
    def server(self) -> "Server":
        """The server, and the names that MARKETDATA_MONGO_DATABASES gives to databases."""
        from marketdata_assets.stores.mongo import Server

        return Server(self.uri, Settings().mongo_databases)

    @contextmanager
    def databases(self) -> Iterator["Databases"]:
        """The databases by the project's names; the connection is closed on leaving."""
        from marketdata_assets.stores import mongo

        with mongo.databases(self.server) as databases:
            yield databases

    def check(self) -> Health:
        """Ask for the version and the latency of a ping; warn of writes that are not journaled."""
        return examine("mongo_uri", self.url, _ask)


def _ask(url: str) -> Health:
    from pymongo import MongoClient

    client: MongoClient[dict[str, Any]]
    with MongoClient(url, serverSelectionTimeoutMS=3000) as client:
        build = client.admin.command("buildInfo")
        require("MongoDB", str(build["version"]))
        latency = median_ms(lambda: client.admin.command("ping"))
        journaled = bool(client.write_concern.document.get("j"))
    missing, remedy = [], []
    if not journaled:
        missing.append("acknowledged writes may be lost when the server is killed")
        remedy.append("add ?journal=true to the URI")
    edition = "MongoDB" if build.get("gitVersion") and "secantus" not in str(build).lower() else "Mongo-wire server"
    version = str(build["version"])
    return Health("MongoDB", True, without_password(url), version, edition, latency, tuple(missing), "; ".join(remedy))
