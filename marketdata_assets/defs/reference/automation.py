"""When reference data is loaded automatically: dropped files as they come, tables by day after the close, and what is
missing by the nightly repair.

The calendar and the instruments are refreshed before the market opens, with the symbols (`ticks_symbols_daily`).
"""

import datetime as dt
import time
from collections.abc import Collection

import dagster as dg

from marketdata_assets.defs.partition_results import find_mismatches
from marketdata_assets.defs.reference.assets import DAILY
from marketdata_assets.defs.runs import Repair, range_requests, run_key, runs_that_load, schedule, sensor
from marketdata_assets.defs.ticks import automation as of_ticks
from marketdata_assets.loading import watch
from marketdata_assets.months import last_months, month_ranges
from marketdata_assets.partitions import BAR_MONTHS, joined
from marketdata_assets.resources import ClickHouse, Resources, Ticks
from marketdata_assets.resources.files import DroppedReference
from marketdata_assets.settings import Settings

JOB = "reference_days"
SYMBOLS_JOB = "symbols"
MOST_RUNS = 4
LOADED = ("trading_calendar", "instruments", *DAILY)
NO_SOURCE = (
    "no source of reference data: set TUSHARE_TOKEN, or drop files into MARKETDATA_REFERENCE_DIR; the calendar is the"
    " library's"
)

reference_job = dg.define_asset_job(
    JOB, [*DAILY], description="Load suspensions, adjustment factors and price limits of some months."
)


@schedule(
    job=reference_job,
    cron_schedule="36 15 * * 1-5",
    description="After the close of a trading day, before the ticks: suspensions, adjustment factors and price limits"
    " of the day, and again of the days before it.",
)
def reference_daily(
    context: dg.ScheduleEvaluationContext, clickhouse: ClickHouse, ticks: Ticks
) -> dg.RunRequest | dg.SkipReason:
    from marketdata_assets.reference import stored
    from marketdata_assets.reference.calendar import ZONE
    from marketdata_assets.reference.daily import newest_days
    from marketdata_assets.reference.records import Days

    if not has_source(ticks):
        return dg.SkipReason(NO_SOURCE)
    today = context.scheduled_execution_time.astimezone(ZONE).date()
    with clickhouse.client() as client:
        calendar = stored.calendar(client)
    if not calendar.trading_days(Days(today, today)):
        return dg.SkipReason("the exchange was closed today")
    if runs_that_load(context.instance, DAILY, [JOB]):
        return dg.SkipReason("a run is in progress; nightly repair loads what it does not")
    days = newest_days(calendar, today)
    [request] = range_requests([(f"{days[0]:%Y-%m}", f"{days[-1]:%Y-%m}")])
    return request


@sensor(
    jobs=[reference_job, of_ticks.symbols_job],
    minimum_interval_seconds=60,
    description="New or changed files of reference data: a run of the calendar and the instruments, or of the months"
    " that the files have.",
)
def reference_files(
    context: dg.SensorEvaluationContext, clickhouse: ClickHouse, ticks: Ticks
) -> dg.SensorResult | dg.SkipReason:
    from marketdata_assets.reference import file_states

    folder = ticks.reference().files.folder
    seen = watch.compare(
        context.cursor, file_states.changed(folder), now_ns=time.time_ns(), quiet_seconds=ticks.quiet_seconds
    )
    if runs_that_load(context.instance, LOADED, [JOB, SYMBOLS_JOB]) and seen.finished:
        context.update_cursor(seen.cursor(()))
        return dg.SkipReason("a run in progress loads reference data; the next scan finds the files again")
    requests = _of_files(clickhouse, ticks, seen.finished, after=f":{run_key(seen.fingerprint(seen.finished))}")
    if not requests:
        context.update_cursor(seen.cursor(seen.finished))
        return dg.SkipReason(DroppedReference().nothing_new(seen.unfinished))
    return dg.SensorResult(run_requests=requests, cursor=seen.cursor(seen.finished))


def _of_files(clickhouse: ClickHouse, ticks: Ticks, names: Collection[str], after: str) -> list[dg.RunRequest]:
    """The runs that load these dropped files, as far as they are not loaded."""
    from marketdata_assets.reference import file_states

    if not names:
        return []
    with clickhouse.client("reference") as client:
        folder, known = ticks.reference().files.folder, BAR_MONTHS.get_partition_keys()
        whole, months = file_states.due(client, folder, known, names)
    requests = range_requests(joined(month_ranges(months), MOST_RUNS), after=after, job_name=JOB)
    return [*requests, *([dg.RunRequest(f"whole{after}", job_name=SYMBOLS_JOB)] if whole else [])]


def has_source(ticks: Ticks) -> bool:
    """Whether there is a provider, or any dropped file."""
    from marketdata_assets.reference.file_states import changed

    sources = ticks.reference()
    return sources.provider is not None or bool(changed(sources.files.folder))


def due(instance: dg.DagsterInstance, has: Resources, _: Collection[str] = ()) -> list[dg.RunRequest]:
    """A run for each range of months with trading days that are not final, and one of calendar and instruments when
    they were never loaded or failed."""
    from marketdata_assets.reference import file_states, stored
    from marketdata_assets.reference.load import SOURCE, WHOLE
    from marketdata_assets.reference.status import due_months
    from marketdata_assets.stores import clickhouse_ledger as ledger

    if not has_source(has.ticks):
        return []
    now = dt.datetime.now(dt.UTC)
    months = last_months(Settings().ticks_months, now)
    missing: set[str] = set()
    with has.clickhouse.client("reference") as client:
        calendar = stored.calendar(client)
        for name in DAILY:
            entries = {load.unit: load for load in ledger.entries(client, name, months, [SOURCE])}
            newest = entries.get(max(entries, default=""))
            if newest is None or newest.outcome != "unsupported":  # the schedule requests it every trading day
                missing |= set(due_months(entries, months, now, calendar))
            loaded = [month for month, load in entries.items() if load.rows and load.outcome == "ok"]
            missing |= find_mismatches(instance, name, BAR_MONTHS, loaded)
        changed, of_files = file_states.due(client, has.ticks.reference().files.folder, BAR_MONTHS.get_partition_keys())
        whole = [load for name in ("trading_calendar", "instruments") for load in ledger.entries(client, name, [WHOLE])]
    requests = range_requests(joined(month_ranges(missing | of_files), MOST_RUNS), job_name=JOB)
    if changed or len(whole) < 2 or any(load.outcome == "failed" for load in whole):
        requests.append(dg.RunRequest("whole", job_name=SYMBOLS_JOB))
    return requests


def repairs() -> list[Repair]:
    """What the nightly repair checks."""
    return [Repair("reference", LOADED, (JOB, SYMBOLS_JOB), due)]
