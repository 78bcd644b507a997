"""Automation of the bars domain: loads of new files, refreshes of the K-line of loaded bars, and the nightly repair of
months on which files, ledger and Dagster's record do not agree.

What counts as touched or stale is decided in `bars.plan` and `bars.status`.
"""

import time
from collections.abc import Mapping

import dagster as dg

from marketdata_assets.bars import plan, schema, status
from marketdata_assets.defs.partition_results import find_mismatches
from marketdata_assets.defs.runs import range_requests, run_key, sensor
from marketdata_assets.loading.states import State
from marketdata_assets.months import month_ranges
from marketdata_assets.partitions import BAR_MONTHS, joined
from marketdata_assets.resources import BarFiles, Postgres
from marketdata_assets.stores.postgres import connect

JOB = "bars_repair"
MOST_RUNS = 12  # what lies between two ranges costs less than another run: files that are loaded are not read again
BARS, KLINE = "stock_1min_qfq", "stock_monthly_kline"

bars_job = dg.define_asset_job(
    "bars", selection=dg.AssetSelection.assets(BARS), description="Load minute bars of some months."
)
bars_repair_job = dg.define_asset_job(
    JOB,
    selection=dg.AssetSelection.assets(BARS, KLINE),
    description="Load minute bars of some months and refresh their K-line.",
)


@sensor(
    job=bars_job,
    minimum_interval_seconds=60,
    description="New or changed files of minute bars: one run per range of touched months, 24 months a tick.",
)
def minute_bar_files_sensor(
    context: dg.SensorEvaluationContext, postgres: Postgres, bar_files: BarFiles
) -> dg.SensorResult | dg.SkipReason:
    seen = plan.changes(
        bar_files.path, context.cursor, time.time_ns(), bar_files.quiet_seconds, BAR_MONTHS.get_partition_keys()
    )
    due = []
    if seen.months:
        with connect(postgres.dsn) as connection:
            schema.ensure(connection)
            states = status.month_states(connection, bar_files.path, seen.months)
        due = [month for month in seen.months if states[month].outdated]
    if not due:
        context.update_cursor(seen.cursor)
        waiting = f"; still being written: {', '.join(seen.waiting)}" if seen.waiting else ""
        return dg.SkipReason(f"nothing new in {bar_files.path}{waiting}")
    requests = range_requests(month_ranges(due), after=f":{run_key(seen.key)}")
    return dg.SensorResult(run_requests=requests, cursor=seen.cursor)


kline_behind_bars = dg.AutomationConditionSensorDefinition(
    "kline_behind_bars",
    target=KLINE,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Refreshes the K-line of every month whose minute bars have been loaded.",
)


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions(
        jobs=[bars_job, bars_repair_job],
        sensors=[minute_bar_files_sensor, kline_behind_bars],
    )


def due(instance: dg.DagsterInstance, postgres: Postgres, bar_files: BarFiles) -> list[dg.RunRequest]:
    """A run for each range of months that are missing, failed or stale, or whose K-line is."""
    keys = BAR_MONTHS.get_partition_keys()
    with connect(postgres.dsn) as connection:
        schema.ensure(connection)
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
