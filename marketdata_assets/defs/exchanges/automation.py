"""When the exchanges domain runs by itself: what waits in the stream, new captures, days whose trades have changed.

What is new or behind is decided in `exchanges.tables.watch` and `exchanges.tables.status`.
"""

import time
from typing import TYPE_CHECKING

import dagster as dg

from marketdata_assets.defs.exchanges import days, feeding, report
from marketdata_assets.defs.exchanges.days import DAYS_JOB, TABLES_JOB, TABLES_STEP
from marketdata_assets.defs.runs import job_in_progress, run_key, runs_in_progress
from marketdata_assets.errors import MarketDataError
from marketdata_assets.partitions import day_ranges, days_of, range_tags
from marketdata_assets.resources import ClickHouse, Exchanges, Nats

if TYPE_CHECKING:
    import datetime as dt

TABLES = dg.AssetSelection.assets(*report.TABLES)
BY_DAYS = dg.AssetSelection.assets("exchange_gaps", "exchange_ohlcv_1m")

tables_job = dg.define_asset_job(
    TABLES_JOB, selection=TABLES, description="Take what waits in the stream, and new captures, into the tables."
)
days_job = dg.define_asset_job(DAYS_JOB, selection=BY_DAYS, description="Close gaps of some days and make their bars.")


@dg.schedule(
    job=tables_job,
    cron_schedule="*/5 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every five minutes: what waits in the stream, into the tables.",
)
def exchange_drain(context: dg.ScheduleEvaluationContext, nats: Nats) -> dg.RunRequest | dg.SkipReason:
    try:
        waiting = feeding.waiting(nats.server)
    except MarketDataError as error:
        return dg.SkipReason(str(error))
    if not waiting:
        return dg.SkipReason("nothing waits in the stream")
    if job_in_progress(context.instance, TABLES_JOB):
        return dg.SkipReason("a run that fills the tables is under way")
    return dg.RunRequest(run_config=_config(stream=True, captures=False))


def _config(**wanted: object) -> dict[str, object]:
    return {"ops": {TABLES_STEP: {"config": wanted}}}


@dg.sensor(
    job=tables_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="New or changed captures in the folder: a run that loads these.",
)
def exchange_captures_sensor(
    context: dg.SensorEvaluationContext, exchanges: Exchanges
) -> dg.SensorResult | dg.SkipReason:
    from marketdata_assets.exchanges.tables import watch

    seen = watch.look(exchanges.path, context.cursor, time.time_ns(), exchanges.quiet_seconds)
    if not seen.files:
        context.update_cursor(seen.cursor)
        waiting = f"; still being written: {', '.join(path.name for path in seen.waiting)}" if seen.waiting else ""
        return dg.SkipReason(f"nothing new in {exchanges.path}{waiting}")
    if job_in_progress(context.instance, TABLES_JOB):
        return dg.SkipReason(
            "a run that fills the tables is under way; the files are looked at again when it has ended"
        )
    state = run_key(seen.cursor)
    config = _config(stream=False, files=[str(path) for path in seen.files])
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=state, run_config=config)], cursor=seen.cursor)


@dg.schedule(
    job=days_job,
    cron_schedule="17 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every hour: days with gaps that can be closed now, and days whose bars are behind their trades.",
)
def exchange_hourly(
    context: dg.ScheduleEvaluationContext, clickhouse: ClickHouse
) -> list[dg.RunRequest] | dg.SkipReason:
    from marketdata_assets.exchanges.tables import status
    from marketdata_assets.exchanges.tables.gap_backfill import SETTLED_NS

    window = days.window()
    with clickhouse.client() as client:
        feeding.prepare(client)
        late = status.behind(client, window)
        late += status.with_open_gaps(client, window, time.time_ns(), SETTLED_NS)
    due = set(late) - busy_days(context.instance)
    if not due:
        return dg.SkipReason("runs over what is behind are under way" if late else "every day is as it should be")
    return [dg.RunRequest(run_key=f"{first}:{last}", tags=range_tags(first, last)) for first, last in day_ranges(due)]


def busy_days(instance: dg.DagsterInstance) -> "set[dt.date]":
    """The days that runs, queued ones too, are about at this moment."""
    return {day for run in runs_in_progress(instance) if run.job_name == DAYS_JOB for day in days_of(run.tags)}


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions(
        jobs=[tables_job, days_job],
        sensors=[exchange_captures_sensor],
        schedules=[exchange_drain, exchange_hourly],
    )
