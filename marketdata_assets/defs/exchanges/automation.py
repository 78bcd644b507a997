"""Schedules and sensors of the exchanges domain: the stream, new captures, days whose trades have changed, and
the nightly repair of days that are missing, failed or stale and of captures that are not loaded.

What is new or outdated is decided in `exchanges.tables.captures` and `exchanges.tables.status`.
"""

import json
import time
from collections.abc import Collection
from pathlib import Path

import dagster as dg

from marketdata_assets.defs.exchanges import days, ingest, report
from marketdata_assets.defs.exchanges.days import DAYS_JOB, TABLES_JOB, TABLES_STEP
from marketdata_assets.defs.partition_results import find_mismatches
from marketdata_assets.defs.runs import (
    FIRST_IN_QUEUE,
    Repair,
    range_requests,
    run_key,
    runs_that_load,
    schedule,
    sensor,
)
from marketdata_assets.errors import MarketDataError
from marketdata_assets.loading.watch import State
from marketdata_assets.partitions import day_ranges, days_of
from marketdata_assets.resources import ClickHouse, Exchanges, Nats, Resources

MAX_FILES = 200  # captures of one run; more are for the next one

OF_DAYS = ("exchange_gaps", "exchange_ohlcv_1m")

tables_job = dg.define_asset_job(
    TABLES_JOB, [*report.TABLES], description="Load pending messages of the stream, and new captures."
)
days_job = dg.define_asset_job(DAYS_JOB, [*OF_DAYS], description="Backfill gaps and compute bars of some days.")


@schedule(
    job=tables_job,
    cron_schedule="*/5 * * * *",
    description="Every five minutes: load pending messages of the stream, or record what the drain service has loaded.",
)
def exchanges_drain(
    context: dg.ScheduleEvaluationContext, nats: Nats, clickhouse: ClickHouse
) -> dg.RunRequest | dg.SkipReason:
    try:
        owner = ingest.drain_in_progress(nats.dsn)
        pending = 0 if owner else ingest.pending_messages(nats.dsn)
        arrived = owner is not None and _has_newer_records(context.instance, clickhouse)
    except MarketDataError as error:
        return dg.SkipReason(str(error))
    if owner and not arrived:
        return dg.SkipReason(f"no new records; the stream is drained by {owner}")
    if not owner and not pending:
        return dg.SkipReason("no pending messages in the stream")
    if runs_that_load(context.instance, report.TABLES, [TABLES_JOB]):
        return dg.SkipReason("a run that loads the tables is already in progress")
    return dg.RunRequest(tags=FIRST_IN_QUEUE, run_config=_config(stream=not owner, captures=False))


def _has_newer_records(instance: dg.DagsterInstance, clickhouse: ClickHouse) -> bool:
    """Whether a table has records that no materialization is about yet."""
    from marketdata_assets.exchanges.tables import status

    with clickhouse.client("exchanges") as client:
        return any(report.is_newer(instance, name, status.newest(client, name)) for name in report.TABLES)


def _config(**wanted: object) -> dict[str, object]:
    return {"ops": {TABLES_STEP: {"config": wanted}}}


@sensor(
    job=tables_job,
    minimum_interval_seconds=60,
    description="New or changed captures in the folder: requests a run that loads them.",
)
def exchanges_captures(context: dg.SensorEvaluationContext, exchanges: Exchanges) -> dg.SensorResult | dg.SkipReason:
    from marketdata_assets.exchanges.tables.captures import scan

    folder = exchanges.path
    found = scan(folder, context.cursor, time.time_ns(), exchanges.quiet_seconds)
    files = found.finished[:MAX_FILES]
    if not files:
        context.update_cursor(found.cursor(()))
        return dg.SkipReason(exchanges.nothing_new(found.unfinished))
    if runs_that_load(context.instance, report.TABLES, [TABLES_JOB]):
        context.update_cursor(found.cursor(()))
        return dg.SkipReason("a run that loads the tables is already in progress; the next scan finds the files again")
    config = _config(stream=False, files=[str(folder / name) for name in files])
    request = dg.RunRequest(run_key=run_key(found.fingerprint(files)), run_config=config)
    return dg.SensorResult(run_requests=[request], cursor=found.cursor(files))


@schedule(
    job=days_job,
    cron_schedule="17 * * * *",
    description="Every hour: days with gaps that can be backfilled now, and days whose bars are outdated.",
)
def exchanges_hourly(
    context: dg.ScheduleEvaluationContext, clickhouse: ClickHouse
) -> list[dg.RunRequest] | dg.SkipReason:
    from marketdata_assets.exchanges.tables import status
    from marketdata_assets.exchanges.tables.gap_backfill import SETTLED_NS

    window = days.window()
    with clickhouse.client("exchanges") as client:
        outdated = status.outdated_days(client, window)
        outdated += status.with_open_gaps(client, window, time.time_ns(), SETTLED_NS)
    runs = runs_that_load(context.instance, OF_DAYS, [DAYS_JOB])
    due = set(outdated) - {day for run in runs for day in days_of(run.tags)}
    if not due:
        in_progress = "runs for the outdated days are already in progress"
        return dg.SkipReason(in_progress if outdated else "all days are up to date")
    return range_requests(day_ranges(due))


def capture_files(has: Resources) -> tuple[dict[str, State], float]:
    """Size and last change of the captures in the folder that are not loaded."""
    from marketdata_assets.loading.files import file_at

    files = [file_at(path) for path in _due_captures(has)]
    return {file.location: [file.size, file.changed_ns] for file in files}, has.exchanges.quiet_seconds


def captures(_: dg.DagsterInstance, has: Resources, unfinished: Collection[str] = ()) -> list[dg.RunRequest]:
    """A run for every MAX_FILES captures of the folder that are not loaded, whatever became of their runs."""
    files = [file for file in map(str, _due_captures(has)) if file not in unfinished]
    return [
        dg.RunRequest(
            run_key=f"captures:{run_key(json.dumps(part))}",
            job_name=TABLES_JOB,
            run_config=_config(stream=False, files=part),
        )
        for part in (files[at : at + MAX_FILES] for at in range(0, len(files), MAX_FILES))
    ]


def _due_captures(has: Resources) -> list[Path]:
    from marketdata_assets.exchanges.tables import captures

    with has.clickhouse.client("exchanges") as client:
        return captures.due(client, has.exchanges.path)


def due(instance: dg.DagsterInstance, has: Resources, _: Collection[str] = ()) -> list[dg.RunRequest]:
    """A run for each range of outdated days, and of days whose Dagster record differs from the ledger."""
    from marketdata_assets.exchanges.tables import ohlcv
    from marketdata_assets.loading.states import State

    partitions = days.partitions()
    window = {str(day): day for day in days.window()}
    with has.clickhouse.client("exchanges") as client:
        states = ohlcv.states(client, list(window.values()))
    wanted = {str(day) for day, state in states.items() if state.outdated}
    loaded = [str(day) for day, state in states.items() if state == State.OK]
    for asset in OF_DAYS:
        wanted |= find_mismatches(instance, asset, partitions, loaded, window)
    return range_requests(day_ranges(window[key] for key in wanted), job_name=days.DAYS_JOB)


def repairs() -> list[Repair]:
    """What the nightly repair checks: the days, and the captures."""
    of_captures = tuple(report.TABLES), (TABLES_JOB,), captures, capture_files
    return [
        Repair("exchanges", OF_DAYS, (DAYS_JOB,), due),
        Repair("captures", *of_captures, ranges=False, selections=True, part_of="exchanges"),
    ]
