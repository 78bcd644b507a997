"""Automation of the bars domain: loads of new files, and refreshes of the K-line of loaded bars.

What counts as touched or stale is decided in `bars.watch` and `bars.status`; what the nightly repair runs, in `repair`.
"""

import time
from collections.abc import Sequence

import dagster as dg

from marketdata_assets.bars import status, watch
from marketdata_assets.defs.bars import repair
from marketdata_assets.defs.runs import run_key
from marketdata_assets.months import month_ranges
from marketdata_assets.partitions import BAR_MONTHS, range_tags
from marketdata_assets.resources import BarFiles, Postgres
from marketdata_assets.stores.postgres import connect

BARS = dg.AssetSelection.assets("stock_1min_qfq")
KLINE = dg.AssetSelection.assets("stock_monthly_kline")

bars_job = dg.define_asset_job("bars", selection=BARS, description="Load minute bars of some months.")
bars_repair_job = dg.define_asset_job(
    repair.JOB, selection=BARS | KLINE, description="Load minute bars of some months and refresh their K-line."
)


@dg.sensor(
    job=bars_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="New or changed files of minute bars: one run per range of touched months, 24 months a tick.",
)
def minute_bar_files_sensor(
    context: dg.SensorEvaluationContext, postgres: Postgres, bar_files: BarFiles
) -> dg.SensorResult | dg.SkipReason:
    seen = watch.changes(
        bar_files.path, context.cursor, time.time_ns(), bar_files.quiet_seconds, BAR_MONTHS.get_partition_keys()
    )
    due = _due(postgres, bar_files, seen.months)
    if not due:
        context.update_cursor(seen.cursor)
        waiting = f"; still being written: {', '.join(seen.waiting)}" if seen.waiting else ""
        return dg.SkipReason(f"nothing new in {bar_files.path}{waiting}")
    state = run_key(seen.key)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=f"{first}:{last}:{state}", tags=range_tags(first, last))
            for first, last in month_ranges(due)
        ],
        cursor=seen.cursor,
    )


def _due(postgres: Postgres, bar_files: BarFiles, months: Sequence[str]) -> list[str]:
    """Of `months`, those that are not loaded as the files have them."""
    if not months:
        return []
    with connect(postgres.dsn) as connection:
        status.ensure_readable(connection)
        states = status.month_states(connection, bar_files.path, months)
    return [month for month in months if states[month].outdated]


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
