"""Automation of the bars domain: loads of new files, refreshes of the K-line of loaded bars, and the nightly repair of
months on which files, ledger and Dagster's record do not agree.

What counts as touched or stale is decided in `bars.plan`, `bars.changes` and `bars.status`.
"""

import time
from collections.abc import Collection
from typing import Any

import dagster as dg

from marketdata_assets.bars import changes, plan, schema, status
from marketdata_assets.defs.bars import assets
from marketdata_assets.defs.bars.checks import BARS, KLINE
from marketdata_assets.defs.partition_results import find_mismatches
from marketdata_assets.defs.runs import (
    Repair,
    range_requests,
    ranges_or_selection,
    run_key,
    runs_that_load,
    sensor,
    span_of_run,
)
from marketdata_assets.loading.states import State
from marketdata_assets.months import month_ranges
from marketdata_assets.partitions import BAR_MONTHS, joined, overlap
from marketdata_assets.resources import BarFiles, NoServer, Postgres, Resources
from marketdata_assets.stores.postgres import connect

JOB = "bars_and_kline"
JOBS = (JOB, assets.JOB, "bars", "kline")
MOST_RUNS = 12  # what lies between two ranges costs less than another run: files that are loaded are not read again

bars_job = dg.define_asset_job("bars", [BARS], description="Load minute bars of some months.")
bars_repair_job = dg.define_asset_job(
    JOB, [BARS, KLINE], description="Load minute bars of some months and refresh their K-line."
)
kline_job = dg.define_asset_job("kline", [KLINE], description="Refresh the K-line of some months.")


@sensor(
    job=bars_repair_job,
    minimum_interval_seconds=60,
    description="New or changed files of minute bars: one run per range of touched months, 24 months a tick.",
)
def bars_files(
    context: dg.SensorEvaluationContext, postgres: Postgres, bar_files: BarFiles
) -> dg.SensorResult | dg.SkipReason:
    keys, due = BAR_MONTHS.get_partition_keys(), set[str]()
    seen = plan.changes(bar_files.path, context.cursor, time.time_ns(), bar_files.quiet_seconds, keys, bar_files.shapes)
    if seen.months or seen.undated:
        with connect(postgres.dsn) as connection:
            schema.ensure(connection)
            found = status.survey(connection, bar_files.path, keys, bar_files.shapes)
        due = {month for month in seen.months if found.months[month].outdated}
        due |= {keys[-1]} if found.undated & seen.undated else set()
    if not due:
        context.update_cursor(seen.cursor)
        return dg.SkipReason(bar_files.nothing_new(seen.waiting))
    requests = range_requests(month_ranges(due), after=f":{run_key(seen.key)}")
    return dg.SensorResult(run_requests=requests, cursor=seen.cursor)


@sensor(
    job=kline_job,
    minimum_interval_seconds=30,
    description="Months whose bars changed after their K-line was refreshed: one run per range of months.",
)
def bars_kline(context: dg.SensorEvaluationContext, postgres: Postgres) -> dg.SensorResult | dg.SkipReason:
    try:
        with connect(postgres.dsn) as connection:
            stale = changes.stale(connection)
    except NoServer as error:
        return dg.SkipReason(str(error))
    months = stale.keys() & set(BAR_MONTHS.get_partition_keys())
    if not months:
        return dg.SkipReason("no K-line is stale")
    busy = [span_of_run(run.tags, run.run_config) for run in runs_that_load(context.instance, (BARS, KLINE), JOBS)]
    months = {month for month in months if not any(one is None or overlap((month, month), one) for one in busy)}
    if not months:
        return dg.SkipReason("a run of bars or K-line is in progress for what is stale")
    ranges = joined(month_ranges(months), MOST_RUNS)
    return dg.SensorResult(run_requests=range_requests(ranges, after=f":{max(stale.values())}"))


def due(instance: dg.DagsterInstance, has: Resources, unfinished: Collection[str] = ()) -> list[dg.RunRequest]:
    """Months that are missing, failed or stale, as ranges or, where these are many, in one run of a selection; and
    runs of months of which only the K-line is.

    The newest month is loaded for files of which no month is known: every run tries these. A load that fails refreshes
    the K-line of what it has loaded, so months of both need no run of their own. A month that Dagster shows as failed
    and that no file covers any more has a run by range, which makes Dagster forget the failure. Groups of
    `unfinished` files (see `plan.states`) are not read.
    """
    keys = BAR_MONTHS.get_partition_keys()
    with connect(has.postgres.dsn) as connection:
        schema.ensure(connection)
        found = status.survey(connection, has.bar_files.path, keys, has.bar_files.shapes)
        klines = status.kline_states(connection, found.months)
    months, kline_months = (
        {month for month, state in known.items() if state.outdated}
        | find_mismatches(instance, asset, BAR_MONTHS, [m for m, state in known.items() if state == "ok"], keys)
        for asset, known in ((BARS, found.months), (KLINE, klines))
    )
    months |= {keys[-1]} if found.undated else set()
    finished = plan.without_groups(months, unfinished)
    uncovered = {month for month in finished if found.months[month] == State.UNSUPPORTED}
    loads = ranges_or_selection(finished - uncovered, JOB, assets.JOB, assets.OP)
    loads += range_requests(joined(month_ranges(uncovered), MOST_RUNS), before="uncovered:", job_name=JOB)
    rest = joined(month_ranges(kline_months - months), MOST_RUNS)
    return loads + range_requests(rest, before="kline:", job_name=kline_job.name)


def repairs() -> list[Repair]:
    """What the nightly repair checks."""
    return [Repair("bars", (BARS, KLINE), JOBS, due, file_states, selections=True)]


def file_states(has: Resources) -> tuple[dict[str, Any], float]:
    return plan.states(has.bar_files.path), has.bar_files.quiet_seconds
