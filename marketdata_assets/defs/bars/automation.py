"""When the bars domain runs by itself: on new files, every night, and the K-line behind the bars.

What counts as touched or stale is decided in `bars.watch` and `bars.status`.
"""

import time
from collections.abc import Mapping, Sequence

import dagster as dg

from marketdata_assets.bars import status, watch
from marketdata_assets.defs.run_keys import key_of
from marketdata_assets.partitions import BAR_MONTHS, neighbours, range_tags
from marketdata_assets.resources import BarFiles, Postgres
from marketdata_assets.stores.postgres import connect

BARS = dg.AssetSelection.assets("stock_1min_qfq")
KLINE = dg.AssetSelection.assets("stock_monthly_kline")

bars_job = dg.define_asset_job("bars", selection=BARS, description="Load minute bars of some months.")
bars_repair_job = dg.define_asset_job(
    "bars_repair", selection=BARS | KLINE, description="Load minute bars of some months and refresh their K-line."
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
    seen = watch.look(
        bar_files.path, context.cursor, time.time_ns(), bar_files.quiet_seconds, BAR_MONTHS.get_partition_keys()
    )
    due = _due(postgres, bar_files, seen.months)
    if not due:
        context.update_cursor(seen.cursor)
        waiting = f"; still being written: {', '.join(seen.waiting)}" if seen.waiting else ""
        return dg.SkipReason(f"nothing new in {bar_files.path}{waiting}")
    state = key_of(seen.key)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=f"{first}:{last}:{state}", tags=range_tags(first, last))
            for first, last in neighbours(due)
        ],
        cursor=seen.cursor,
    )


def _due(postgres: Postgres, bar_files: BarFiles, months: Sequence[str]) -> list[str]:
    """Of `months`, those that the ledger does not know to be as the files have them."""
    if not months:
        return []
    with connect(postgres.dsn) as connection:
        status.ensure_readable(connection)
        states = status.month_states(connection, bar_files.path, months)
    return [month for month in months if states[month] in status.BEHIND]


@dg.schedule(
    job=bars_repair_job,
    cron_schedule="30 2 * * *",
    execution_timezone="Asia/Shanghai",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night: load what is missing, failed or stale, and refresh K-lines that are behind their bars.",
)
def bars_nightly(
    context: dg.ScheduleEvaluationContext, postgres: Postgres, bar_files: BarFiles
) -> list[dg.RunRequest] | dg.SkipReason:
    keys = BAR_MONTHS.get_partition_keys()
    with connect(postgres.dsn) as connection:
        status.ensure_readable(connection)
        states = status.month_states(connection, bar_files.path, keys)
    due = {month for month, state in states.items() if state in status.BEHIND}
    due |= _kline_behind(context.instance, states)
    if not due:
        return dg.SkipReason("every month is as the files have it")
    return [dg.RunRequest(run_key=f"{first}:{last}", tags=range_tags(first, last)) for first, last in neighbours(due)]


def _kline_behind(instance: dg.DagsterInstance, states: Mapping[str, status.State]) -> set[str]:
    """Months with bars and no K-line yet, and those whose bars were loaded after it: a refresh failed or was lost."""
    loaded, refreshed = (
        instance.get_latest_storage_id_by_partition(dg.AssetKey(name), dg.DagsterEventType.ASSET_MATERIALIZATION)
        for name in ("stock_1min_qfq", "stock_monthly_kline")
    )
    candidates = {month for month, state in states.items() if state == "ok" or month in refreshed}
    return {month for month in candidates if refreshed.get(month, -1) < loaded.get(month, 0)}


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
        schedules=[bars_nightly],
    )
