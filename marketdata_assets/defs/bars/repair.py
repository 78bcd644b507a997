"""The nightly repair of the bars: months on which files, ledger and Dagster's record do not agree."""

from collections.abc import Mapping

import dagster as dg

from marketdata_assets.bars import status
from marketdata_assets.defs.partition_results import find_mismatches
from marketdata_assets.defs.runs import range_requests
from marketdata_assets.loading.states import State
from marketdata_assets.months import month_ranges
from marketdata_assets.partitions import BAR_MONTHS, joined
from marketdata_assets.resources import BarFiles, Postgres
from marketdata_assets.stores.postgres import connect

JOB = "bars_repair"
MOST_RUNS = 12  # what lies between two ranges costs less than another run: files that are loaded are not read again
BARS, KLINE = "stock_1min_qfq", "stock_monthly_kline"


def due(instance: dg.DagsterInstance, postgres: Postgres, bar_files: BarFiles) -> list[dg.RunRequest]:
    """A run for each range of months that are missing, failed or stale, or whose K-line is."""
    keys = BAR_MONTHS.get_partition_keys()
    with connect(postgres.dsn) as connection:
        status.ensure_readable(connection)
        states = status.month_states(connection, bar_files.path, keys)
        klines = status.kline_states(connection, states)
    months = {month for month, state in states.items() if state.outdated}
    months |= {month for month, state in klines.items() if state.outdated}
    months |= _kline_older(instance, klines)
    for asset, known in ((BARS, states), (KLINE, klines)):
        loaded = [month for month, state in known.items() if state == "ok"]
        months |= find_mismatches(instance, asset, BAR_MONTHS, loaded, keys)
    return range_requests(joined(month_ranges(months), MOST_RUNS), job_name=JOB)


def _kline_older(instance: dg.DagsterInstance, klines: Mapping[str, State]) -> set[str]:
    """Months whose bars were loaded after their K-line was refreshed: a refresh failed or was lost."""
    loaded, refreshed = (
        instance.get_latest_storage_id_by_partition(dg.AssetKey(name), dg.DagsterEventType.ASSET_MATERIALIZATION)
        for name in (BARS, KLINE)
    )
    candidates = {month for month, state in klines.items() if state == "ok" or month in refreshed}
    return {month for month in candidates if refreshed.get(month, -1) < loaded.get(month, -1)}
