"""Automation of the bars domain: loads of new files, and refreshes of the K-line of loaded bars.

What counts as touched or stale is decided in `bars.plan` and `bars.status`; what the nightly repair runs, in `repair`.
"""

import time

import dagster as dg

from marketdata_assets.bars import plan, status
from marketdata_assets.defs.bars import repair
from marketdata_assets.defs.runs import range_requests, run_key, sensor
from marketdata_assets.months import month_ranges
from marketdata_assets.partitions import BAR_MONTHS
from marketdata_assets.resources import BarFiles, Postgres
from marketdata_assets.stores.postgres import connect

BARS = dg.AssetSelection.assets("stock_1min_qfq")
KLINE = dg.AssetSelection.assets("stock_monthly_kline")

bars_job = dg.define_asset_job("bars", selection=BARS, description="Load minute bars of some months.")
bars_repair_job = dg.define_asset_job(
    repair.JOB, selection=BARS | KLINE, description="Load minute bars of some months and refresh their K-line."
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
            status.ensure_readable(connection)
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
