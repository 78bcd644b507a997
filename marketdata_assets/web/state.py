"""What is loaded at a glance: whether each server answers, and the rows of `marketdata status` by domain."""

import datetime as dt
import time
from collections.abc import Callable
from typing import Any, get_args

from marketdata_assets import overview
from marketdata_assets.local.flow_addresses import found
from marketdata_assets.overview import Domain, Row
from marketdata_assets.settings import Settings
from marketdata_assets.web import database
from marketdata_assets.web.database import LONG, Servers

DOMAINS: tuple[Domain, ...] = get_args(Domain)
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


def status(servers: Servers, domain: Domain) -> list[Row]:
    """The rows of a domain, without what only a program needs. Raises what its server raises."""
    rows = _QUERIES[domain](servers, Settings(), dt.datetime.now(dt.UTC))
    return [{name: value for name, value in row.items() if name not in ("newest_at", "two_bases")} for row in rows]


def _reference(servers: Servers, settings: Settings, now: dt.datetime) -> list[Row]:
    with database.clickhouse(servers.clickhouse(), patience=LONG) as client:
        return overview.reference(client, settings, now)


def _bars(servers: Servers, settings: Settings, now: dt.datetime) -> list[Row]:
    with database.postgres(servers.postgres(), patience=LONG) as connection:
        return overview.bars(connection, settings.bars_folder, now)


def _alphas(servers: Servers, settings: Settings, now: dt.datetime) -> list[Row]:
    with database.mongo(servers.mongo(), patience=LONG) as databases:
        return overview.alphas(databases, settings, now)


def _ticks(servers: Servers, settings: Settings, now: dt.datetime) -> list[Row]:
    with database.clickhouse(servers.clickhouse(), patience=LONG) as client:
        return overview.ticks(client, settings, now)  # a scan of dropped files would record what it sees


def _exchanges(servers: Servers, settings: Settings, now: dt.datetime) -> list[Row]:
    with database.clickhouse(servers.clickhouse(), patience=LONG) as client:
        return overview.exchanges(client, settings.captures_folder, settings.exchange_days, now)


def _flows(servers: Servers, settings: Settings, now: dt.datetime) -> list[Row]:
    with database.postgres(servers.postgres(), patience=LONG, autocommit=True) as connection:
        return overview.flows(connection, found(settings.flows_folder), settings.flows_data_folder)


def _reconciliation(servers: Servers, settings: Settings, now: dt.datetime) -> list[Row]:
    with database.postgres(servers.postgres(), patience=LONG, autocommit=True) as connection:
        return overview.reconciliation(connection)


_QUERIES: dict[Domain, Callable[[Servers, Settings, dt.datetime], list[Row]]] = {
    "reference": _reference,
    "bars": _bars,
    "alphas": _alphas,
    "ticks": _ticks,
    "exchanges": _exchanges,
    "flows": _flows,
    "reconciliation": _reconciliation,
}
