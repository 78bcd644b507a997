"""Ticks that the nightly repair loads: symbol-months of the window that are missing, failed or stale, those for which
Dagster disagrees with the ledger, and dropped files whose load never succeeded."""

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from marketdata_assets.defs.partition_results import find_mismatches
from marketdata_assets.defs.runs import failed_requests
from marketdata_assets.defs.ticks import run_config, symbols
from marketdata_assets.partitions import tick_key, tick_unit
from marketdata_assets.resources import ClickHouse, Ticks
from marketdata_assets.ticks.providers_file import TABLES, Table
from marketdata_assets.ticks.reports import Unit, by_month

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

NO_NETWORK = ["files"]
FILES_SENSOR = "tick_files_sensor"


def due(instance: dg.DagsterInstance, clickhouse: ClickHouse, ticks: Ticks) -> list[dg.RunRequest]:
    """Run requests: outdated units, factors that do not follow from their bars, loaded units that Dagster does not show
    as loaded (by table), and failed runs over dropped files."""
    from marketdata_assets.ticks.status import behind
    from marketdata_assets.ticks.tables import ensure

    now = dt.datetime.now(dt.UTC)
    months = run_config.window_now()
    with clickhouse.client() as client:
        ensure(client)
        found = behind(client, months, now)
        marks = {table: _unmarked(instance, client, table, months) for table in TABLES}
    # Without a network no bars can be fetched, but factors of existing bars can be computed.
    load = found.load if ticks.network else []
    options: dict[str, Any] = {} if ticks.network else {"providers": NO_NETWORK}
    requests = [
        *_request("load", load, run_config.DAILY),
        *_request("factors", set(found.factors) - set(load), ["factors"], **options),
    ]
    for table, units in marks.items():
        seen = {*found.load, *found.factors} if table in run_config.DAILY else set()
        requests += _request(f"marks {table}", units - seen, [table], providers=NO_NETWORK)
    return requests + failed_requests(instance, run_config.JOB, FILES_SENSOR)


def _unmarked(instance: dg.DagsterInstance, client: "Client", table: Table, months: Sequence[str]) -> set[Unit]:
    """Units of the window that are loaded, by the ledger, and that Dagster shows as failed or not at all."""
    from marketdata_assets.stores.clickhouse_ledger import table as ledger_of

    names = set(symbols.known(instance))
    rows = ledger_of(client, table, months).select("source", "unit", "outcome").iter_rows()
    standing = [
        str(tick_key(Unit(symbol, month)))
        for symbol, month, outcome in rows
        if outcome in ("ok", "empty") and symbol in names
    ]
    return {tick_unit(key) for key in find_mismatches(instance, table, run_config.grid_now(), standing)}


def _request(key: str, units: Collection[Unit], tables: Sequence[Table], **options: Any) -> Iterable[dg.RunRequest]:
    if units:
        config = run_config.adhoc_config(by_month(units), tables, **options)
        yield dg.RunRequest(key, job_name=run_config.JOB, run_config=config)
