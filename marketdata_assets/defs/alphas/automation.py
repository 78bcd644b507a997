"""When the alphas domain runs by itself: by the clock from the API, on dropped files, and each asset behind the one
before it.

What was touched or is stale is decided in `alphas.watch` and `alphas.status`, what is due at night in `repair`. Nothing
asks the API for an account that is not enabled or has no credentials; without any, the schedules skip.
"""

import datetime as dt
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import dagster as dg

from marketdata_assets.alphas import watch
from marketdata_assets.defs.alphas import accounts
from marketdata_assets.defs.runs import run_key, runs_in_progress
from marketdata_assets.partitions import (
    ALPHA_MONTHS,
    BRAIN_ACCOUNTS,
    Pair,
    alpha_pair,
    alpha_pairs,
    range_tags,
    rectangles,
)
from marketdata_assets.resources import AlphaFiles, Brain, Mongo

FILES = dg.AssetSelection.assets("alpha_files")
REST = dg.AssetSelection.assets("alpha_packages", "regular_alphas", "super_alphas", "alpha_summary")
RECENT = 3
"""Months that are asked for anew every day: the current one and the two before it."""
ROTATION = 6
"""Older months of an account that are asked for anew every day, those first that waited longest."""
REFETCH = {"ops": {"alpha_files": {"config": {"refetch": True}}}}

alphas_job = dg.define_asset_job(
    "alphas", selection=FILES | REST, description="Fetch alphas of some months, package and import them."
)
alphas_import_job = dg.define_asset_job(
    "alphas_import", selection=REST, description="Package and import what lies in the alphas folder."
)


def requests(
    instance: dg.DagsterInstance,
    pairs: Iterable[Pair],
    state: str = "",
    config: dict[str, Any] | None = None,
    new_accounts: Sequence[str] = (),
) -> list[dg.RunRequest]:
    """A run for each rectangle of `pairs`; `state` tells a sensor's occasions apart, a schedule's time does."""
    order = [*accounts.known(instance), *new_accounts]
    return [
        dg.RunRequest(run_key=f"{first}:{last}:{state}", tags=range_tags(first, last), run_config=config)
        for first, last in rectangles(pairs, order)
    ]


def _months(back: int, count: int, now: dt.datetime) -> list[str]:
    """`count` months that end `back` months before the current one, oldest first."""
    keys = ALPHA_MONTHS.get_partition_keys(current_time=now)
    return list(keys[: len(keys) - back][-count:])


def _fetchable(context: dg.ScheduleEvaluationContext, brain: Brain) -> list[str]:
    """Enabled accounts with credentials that are partitions already."""
    ready = brain.ready()
    return [account for account in accounts.known(context.instance) if account in ready]


def _ask(
    context: dg.ScheduleEvaluationContext, pairs: Collection[Pair], config: dict[str, Any] | None = None
) -> list[dg.RunRequest] | dg.SkipReason:
    """Runs for those of `pairs` that no run is about already: a slow fetch must not pile up."""
    if not pairs:
        return dg.SkipReason("no enabled account has credentials")
    free = set(pairs) - _under_way(context.instance)
    return requests(context.instance, free, config=config) or dg.SkipReason("runs over these months are under way")


@dg.schedule(
    job=alphas_job,
    cron_schedule="7 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every hour: what is new in the current month, of every account with credentials.",
)
def alphas_hourly(context: dg.ScheduleEvaluationContext, brain: Brain) -> list[dg.RunRequest] | dg.SkipReason:
    who = _fetchable(context, brain)
    months = _months(0, 1, context.scheduled_execution_time)
    return _ask(context, [(one, month) for one in who for month in months])


@dg.schedule(
    job=alphas_job,
    cron_schedule="37 1 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day: the current month and the two before it anew, to find alphas that have changed.",
)
def alphas_daily(context: dg.ScheduleEvaluationContext, brain: Brain) -> list[dg.RunRequest] | dg.SkipReason:
    who = _fetchable(context, brain)
    months = _months(0, RECENT, context.scheduled_execution_time)
    return _ask(context, [(one, month) for one in who for month in months], REFETCH)


@dg.schedule(
    job=alphas_job,
    cron_schedule="37 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day: a few older months anew, those never fetched first, then those that waited longest.",
)
def alphas_rotation(context: dg.ScheduleEvaluationContext, brain: Brain) -> list[dg.RunRequest] | dg.SkipReason:
    who = _fetchable(context, brain)
    older = _months(RECENT, len(ALPHA_MONTHS.get_partition_keys()), context.scheduled_execution_time)
    return _ask(context, oldest(context.instance, who, older), REFETCH)


def oldest(instance: dg.DagsterInstance, who: Collection[str], months: Sequence[str]) -> list[Pair]:
    """ROTATION months of each account: never fetched ones, the newest first, then those fetched longest ago."""
    fetched = instance.get_latest_storage_id_by_partition(
        dg.AssetKey("alpha_files"), dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    when = {alpha_pair(key): number for key, number in fetched.items()}
    chosen: list[Pair] = []
    for account in who:
        pairs = [(account, month) for month in reversed(months)]
        chosen += sorted(pairs, key=lambda pair: when.get(pair, -1))[:ROTATION]
    return chosen


@dg.sensor(
    job=alphas_import_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="New or changed files in the alphas folder: a run for each rectangle of touched months and accounts.",
)
def alpha_files_sensor(
    context: dg.SensorEvaluationContext, mongo: Mongo, alphas_dir: AlphaFiles
) -> dg.SensorResult | dg.SkipReason:
    months = ALPHA_MONTHS.get_partition_keys()
    seen = watch.look(alphas_dir.path, context.cursor, time.time_ns(), alphas_dir.quiet_seconds, months)
    if set(seen.pairs) & _under_way(context.instance):
        return dg.SkipReason("a run works on these months; the files are looked at again when it has ended")
    due = _behind(mongo, alphas_dir, seen.pairs) if seen.pairs else []
    if not due:
        context.update_cursor(seen.cursor)
        waiting = f"; {len(seen.waiting)} months are still being written" if seen.waiting else ""
        return dg.SkipReason(f"nothing new in {alphas_dir.path}{waiting}")
    added = accounts.missing(accounts.known(context.instance), (account for account, _ in due))
    state = run_key(seen.cursor)
    return dg.SensorResult(
        run_requests=requests(context.instance, due, state, new_accounts=added),
        dynamic_partitions_requests=[BRAIN_ACCOUNTS.build_add_request(added)] if added else [],
        cursor=seen.cursor,
    )


def _behind(mongo: Mongo, folder: AlphaFiles, pairs: Collection[Pair] | None) -> list[Pair]:
    from marketdata_assets.alphas.status import behind

    with mongo.client() as client:
        return behind(client, folder.path, pairs)


def _under_way(instance: dg.DagsterInstance) -> set[Pair]:
    """The accounts and months that runs, queued ones too, are about at this moment."""
    order = accounts.known(instance)
    return {pair for run in runs_in_progress(instance) for pair in alpha_pairs(run.tags, order)}


alphas_follow = dg.AutomationConditionSensorDefinition(
    "alphas_follow",
    target=REST,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Packages what was fetched, imports what was packaged and sums up what was imported.",
)


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions(
        jobs=[alphas_job, alphas_import_job],
        sensors=[alpha_files_sensor, alphas_follow],
        schedules=[alphas_hourly, alphas_daily, alphas_rotation],
    )
