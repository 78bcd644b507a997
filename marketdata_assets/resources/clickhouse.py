"""ClickHouse over HTTP: where ticks and exchange records land."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from marketdata_assets.local import endpoints
from marketdata_assets.resources.health import Health, examine, median_ms
from marketdata_assets.secret_values import without_password
from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

OLDEST = 24


class ClickHouse(dg.ConfigurableResource):
    """A ClickHouse server. An empty `url` means MARKETDATA_CLICKHOUSE_URL, else the running local stack."""

    url: str = ""

    @property
    def dsn(self) -> str:
        """The connection string; raises NoServer when nothing names one."""
        return self.url or endpoints.address(Settings(), "clickhouse_url")

    @contextmanager
    def client(self) -> Iterator["Client"]:
        """A client that is closed on leaving."""
        from marketdata_assets.stores.clickhouse import connect

        with connect(self.dsn) as client:
            yield client

    def check(self) -> Health:
        """Ask for the version and the latency of a query."""
        return examine("clickhouse_url", self.url, _ask)


def _ask(url: str) -> Health:
    import clickhouse_connect

    client = clickhouse_connect.get_client(dsn=url, connect_timeout=3)
    try:
        version = str(client.command("SELECT version()"))
        latency = median_ms(lambda: client.command("SELECT 1"))
    finally:
        client.close()
    old = int(version.split(".")[0]) < OLDEST
    missing = (f"version {version} is older than {OLDEST}",) if old else ()
    remedy = "upgrade the server" if old else ""
    return Health("ClickHouse", True, without_password(url), version, "HTTP", latency, missing, remedy)
