"""PostgreSQL or TimescaleDB: where bars and flows land."""

import dagster as dg

from marketdata_assets.bars import schema
from marketdata_assets.local import endpoints
from marketdata_assets.resources.health import Health, examine, median_ms
from marketdata_assets.secret_values import without_password
from marketdata_assets.settings import Settings
from marketdata_assets.stores.postgres import connect, timescaledb_is_loaded


class Postgres(dg.ConfigurableResource):
    """A PostgreSQL database. An empty `url` means MARKETDATA_POSTGRES_DSN, else the running local stack."""

    url: str = ""

    @property
    def dsn(self) -> str:
        """The connection string; raises NoServer when nothing names one."""
        return self.url or endpoints.address(Settings(), "postgres_dsn")

    def check(self) -> Health:
        """Ask for versions, TimescaleDB's edition and the latency of a query."""
        return examine("postgres_dsn", self.url, _ask)


def _ask(url: str) -> Health:
    with connect(url, autocommit=True) as connection:
        server = schema.look(connection)
        latency = median_ms(lambda: connection.execute("SELECT 1").fetchone())
        loaded = timescaledb_is_loaded(connection)
    missing: tuple[str, ...] = ()
    remedy = ""
    if server.edition == "none":
        missing = ("TimescaleDB: the monthly K-line is a plain table, minute bars are not compressed",)
        remedy = (
            "CREATE EXTENSION timescaledb"
            if loaded
            else "point MARKETDATA_POSTGRES_DSN at a TimescaleDB community server"
        )
    elif server.edition == "apache":
        missing = ("continuous aggregates and compression need the community licence",)
        remedy = "set timescaledb.license = 'timescale' in postgresql.conf and restart"
    edition = f"TimescaleDB {server.timescaledb} {server.edition}" if server.timescaledb else "plain PostgreSQL"
    return Health("Postgres", True, without_password(url), server.postgres, edition, latency, missing, remedy)
