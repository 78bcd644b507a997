"""What is loaded at a glance: whether each server answers, and the rows of `marketdata status` by domain."""

import datetime as dt
import time
from typing import Any

from marketdata_assets import overview
from marketdata_assets.overview import Row
from marketdata_assets.settings import Settings
from marketdata_assets.web import database
from marketdata_assets.web.database import LONG, Servers

STORES = {"postgres": "PostgreSQL", "clickhouse": "ClickHouse", "mongo": "MongoDB"}


def server(servers: Servers, name: str) -> dict[str, Any]:
    """That a server answers: its version, and the milliseconds of connecting and asking. Raises what it raises."""
    began = time.perf_counter()
    if name == "postgres":
        with database.postgres(servers.postgres()) as connection:
            version = connection.info.parameter_status("server_version") or ""
    elif name == "clickhouse":
        with database.clickhouse(servers.clickhouse()) as client:
            version = str(client.command("SELECT version()"))
    else:
        with database.mongo(servers.mongo()) as databases:
            version = str(databases["admin"].command("buildInfo")["version"])
    return {"store": STORES[name], "version": version.split(" ")[0], "ms": round((time.perf_counter() - began) * 1000)}


def status(servers: Servers, domain: str) -> list[Row]:
    """The rows of a domain, without what only a program needs. Raises what its server raises.

    Files that nobody has registered yet stay so: nothing is written here.
    """
    one = overview.DOMAINS[domain]
    with database.connected(servers, one.store, LONG, autocommit=True) as connection:
        rows = one.rows(connection, Settings(), dt.datetime.now(dt.UTC))
    return [{name: value for name, value in row.items() if name not in ("newest_at", "two_bases")} for row in rows]
