"""Schedules and sensors of the alphas domain: fetches by the clock, imports of dropped files, each asset after the one
before it, and the nightly repair of months whose documents differ from the files or whose fetch failed.

Account partitions are synchronised with the accounts file and with the folders of the archive. The job `alpha_changes`
fetches alphas that were submitted or changed, whatever their month; the sensor of files imports them.

Changed and stale months are found in `alphas.file_index` and `alphas.status`.
Accounts that are not enabled or have no credentials are not fetched; without any, the schedules skip.
"""

import datetime as dt
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import dagster as dg

from marketdata_assets.alphas import catalogues, file_index
from marketdata_assets.alphas import filters as alpha_filters
from marketdata_assets.alphas.layout import KINDS
from marketdata_assets.alphas.record_sets import DAILY, RECORD_SETS, asset_name
from marketdata_assets.defs.alphas import assets
from marketdata_assets.defs.partition_results import MAX_LISTED, as_dagster_failure, failure_of, find_mismatches
from marketdata_assets.defs.runs import DOMAIN, Repair, range_requests, run_key, runs_that_load, schedule, sensor
from marketdata_assets.defs.selection import config_of
from marketdata_assets.loading.file_ledger import summary
from marketdata_assets.loading.reports import and_more
from marketdata_assets.loading.states import State
from marketdata_assets.partitions import (
    ALPHA_MONTHS,
    ALPHA_PARTITIONS,
    BRAIN_ACCOUNTS,
    Pair,
    alpha_key,
    alpha_pair,
    alpha_pairs,
    dynamic_keys,
    missing,
    rectangles,
)
from marketdata_assets.resources import AlphaFiles, Brain, Mongo, Resources

LOADED = ("alpha_files", "alpha_packages", "regular_alphas", "super_alphas")
REST = (*LOADED[1:], "alpha_summary")
RECENT = 3  # months that are fetched again every day: the current one and the two before it
ROTATION = 6  # older months of an account that are fetched again every day, those fetched longest ago first
REFETCH = {"ops": {"alpha_files": {"config": {"refetch": True}}}}

DAILY_RECORDS = 10_000  # record sets of an account that are requested in a day, about; at 120 a minute 1.4 hours

RECORDS = tuple(map(asset_name, RECORD_SETS))
FETCH_JOB, IMPORT_JOB, RECORDS_JOB = "alphas", "alphas_import", "alpha_records"
JOBS = (FETCH_JOB, IMPORT_JOB, assets.JOB)

alphas_job = dg.define_asset_job(
    FETCH_JOB, ["alpha_files", *REST], description="Fetch alphas of some months, package and import them."
)
alphas_import_job = dg.define_asset_job(
    IMPORT_JOB, REST, description="Package and import the files of the alphas folder."
)
alpha_records_job = dg.define_asset_job(
    RECORDS_JOB, RECORDS, description="Fetch record sets and correlations of the alphas of some months."
)


def requests(
    instance: dg.DagsterInstance,
    pairs: Iterable[Pair],
    state: str = "",
    config: dict[str, Any] | None = None,
    new_accounts: Sequence[str] = (),
    **options: Any,
) -> list[dg.RunRequest]:
    """A run for each rectangle of `pairs`; `state` makes a sensor's run keys distinct; a schedule's are by its time."""
    order = [*dynamic_keys(instance, BRAIN_ACCOUNTS), *new_accounts]
    return range_requests(rectangles(pairs, order), after=f":{state}", run_config=config, **options)


def _months(back: int, count: int, now: dt.datetime) -> list[str]:
    """`count` months that end `back` months before the current one, oldest first."""
    keys = ALPHA_MONTHS.get_partition_keys(current_time=now)
    return list(keys[: len(keys) - back][-count:])


Choice = Callable[[dg.ScheduleEvaluationContext, Sequence[str]], list[Pair]]
"""The pairs to fetch, of the accounts that can be."""


def _schedule(
    name: str, cron: str, description: str, choose: Choice, config: dict[str, Any] | None = None
) -> dg.ScheduleDefinition:
    """Fetch the pairs that `choose` names, but for those of runs in progress: slow fetches must not pile up."""

    @schedule(name=name, job=alphas_job, cron_schedule=cron, description=description)
    def fetch(context: dg.ScheduleEvaluationContext, brain: Brain) -> list[dg.RunRequest] | dg.SkipReason:
        ready, known = brain.ready(), dynamic_keys(context.instance, BRAIN_ACCOUNTS)
        pairs = choose(context, [account for account in known if account in ready])
        if not pairs:
            return dg.SkipReason("no enabled account has credentials")
        runs = requests(context.instance, set(pairs) - _in_progress(context.instance), config=config)
        return runs or dg.SkipReason("runs for these months are already in progress")

    return fetch


def _newest_months(count: int) -> Choice:
    def choose(context: dg.ScheduleEvaluationContext, ready: Sequence[str]) -> list[Pair]:
        months = _months(0, count, context.scheduled_execution_time)
        return [(account, month) for account in ready for month in months]

    return choose


def _rotation(context: dg.ScheduleEvaluationContext, ready: Sequence[str]) -> list[Pair]:
    """ROTATION months of each account: never fetched ones, the newest first, then those fetched longest ago."""
    older = _months(RECENT, len(ALPHA_MONTHS.get_partition_keys()), context.scheduled_execution_time)
    when = _materialized(context.instance, "alpha_files", older)
    chosen: list[Pair] = []
    for account in ready:
        pairs = [(account, month) for month in reversed(older)]
        chosen += sorted(pairs, key=lambda pair: when.get(pair, -1))[:ROTATION]
    return chosen


alphas_hourly = _schedule(
    "alphas_hourly",
    "7 * * * *",
    "Every hour: new alphas of the current month, for every account with credentials.",
    _newest_months(1),
)
alphas_daily = _schedule(
    "alphas_daily",
    "37 9 * * *",
    "Every day: the current month and the two before it again, to find alphas that have changed.",
    _newest_months(RECENT),
    REFETCH,
)
alphas_rotation = _schedule(
    "alphas_rotation",
    "37 12 * * *",
    "Every day: a few older months again, those never fetched first, then those fetched longest ago.",
    _rotation,
    REFETCH,
)


@schedule(
    name="alphas_records_daily",
    job=alpha_records_job,
    cron_schedule="17 13 * * *",
    description="Every day: record sets of alphas that are new or have changed, those of the newest months first.",
)
def alphas_records_daily(
    context: dg.ScheduleEvaluationContext, brain: Brain, mongo: Mongo
) -> list[dg.RunRequest] | dg.SkipReason:
    from marketdata_assets.alphas.fetch_records import due_pairs

    ready = brain.ready()
    names = [account for account in dynamic_keys(context.instance, BRAIN_ACCOUNTS) if account in ready]
    if not names:
        return dg.SkipReason("no enabled account has credentials")
    if runs_that_load(context.instance, RECORDS, [RECORDS_JOB]):
        return dg.SkipReason("a run for record sets is in progress")
    with mongo.databases() as databases:
        pairs = due_pairs(databases, names, brain.filters(), context.scheduled_execution_time, DAILY_RECORDS)
    wanted = [dg.AssetKey(asset_name(one)) for one in DAILY]
    return requests(context.instance, pairs, asset_selection=wanted) or dg.SkipReason(
        "all record sets are those of the current alphas"
    )


alpha_catalogues_job = dg.define_asset_job(
    "alpha_catalogues",
    [catalogues.asset_name(name) for name in catalogues.NAMES],
    description="Fetch operators, data sets and data fields of all accounts that can log in.",
)


@schedule(
    name="alphas_catalogues_weekly",
    job=alpha_catalogues_job,
    cron_schedule="47 13 * * 1",
    description="Every Monday: operators, data sets and data fields of all accounts that can log in.",
)
def alphas_catalogues_weekly(context: dg.ScheduleEvaluationContext, brain: Brain) -> dg.RunRequest | dg.SkipReason:
    return _unless_nobody_logs_in(context.instance, brain)


def _unless_nobody_logs_in(instance: dg.DagsterInstance, brain: Brain) -> dg.RunRequest | dg.SkipReason:
    """A run, where an account that is a partition has credentials."""
    if set(brain.ready()) & set(dynamic_keys(instance, BRAIN_ACCOUNTS)):
        return dg.RunRequest()
    return dg.SkipReason("no enabled account has credentials")


CHANGES_JOB = "alpha_changes"


class ChangesConfig(dg.Config):
    """Which alphas; by default those that were submitted, or changed since the last run."""

    accounts: list[str] = []  # noqa: RUF012 - pydantic fields: each config has a list of its own
    """All that can log in when empty."""

    filters: dict[str, Any] = {}  # noqa: RUF012
    """Such as {"status": ["ACTIVE"], "submitted_from": "2024-01-01"}."""

    ids: list[str] = []  # noqa: RUF012
    """Fetch these alphas."""


@dg.op(name="fetch_changes", pool="alpha_api", out=dg.Out(dg.Nothing))
def fetch_changes(context: dg.OpExecutionContext, config: ChangesConfig, brain: Brain, alphas_dir: AlphaFiles) -> None:
    """Fetch alphas of all months that were submitted or changed, that match filters, or by id, into raw files."""
    from marketdata_assets.alphas import changes

    started = time.monotonic()
    with as_dagster_failure():
        filters = alpha_filters.parse(config.filters) if config.filters else None
        reports = changes.fetch_changes(
            alphas_dir.path,
            config.accounts or brain.ready(),
            brain.client,
            changes.Selection(filters, tuple(config.ids)),
            now=dt.datetime.now(dt.UTC),
        )
    metadata: dict[str, Any] = {
        "listed": sum(one.listed for one in reports),
        "written": sum(one.written for one in reports),
        "months": and_more(sorted({month for one in reports for month in one.months}), MAX_LISTED),
        "unknown": and_more([name for one in reports for name in one.unknown], MAX_LISTED),
        "requests": sum(one.requests for one in reports),
        "seconds": round(time.monotonic() - started, 2),
    }
    notes = {one.note for one in reports if one.note}
    if notes:
        metadata["note"] = "; ".join(sorted(notes))
    causes = [one.error for one in reports if one.error]
    causes += [f"{one.account}: no alpha: {text}" for one in reports for text in one.rejected]
    if causes:
        raise failure_of("some alphas were not fetched, the others are", causes, metadata)
    context.add_output_metadata(metadata)


@dg.job(name=CHANGES_JOB, description="Fetch alphas of all months that were submitted or changed; or by filters or id.")
def changes_job() -> None:
    fetch_changes()


@schedule(
    name="alphas_changes",
    job=changes_job,
    cron_schedule="27 */6 * * *",
    description="Every six hours: alphas of all months that were submitted, or changed since the last run.",
)
def alphas_changes(context: dg.ScheduleEvaluationContext, brain: Brain) -> dg.RunRequest | dg.SkipReason:
    if runs_that_load(context.instance, (), [CHANGES_JOB]):
        return dg.SkipReason("a run is in progress")
    return _unless_nobody_logs_in(context.instance, brain)


def _account_changes(instance: dg.DagsterInstance, brain: Brain, folder: AlphaFiles) -> tuple[list[str], list[str]]:
    """The accounts to add and those to remove. Raises InvalidConfigFile.

    An account becomes a partition when it is enabled, or has files. The partition is removed only when neither holds
    and nothing was ever materialised for it; otherwise Dagster would hide data that is in MongoDB. So a disabled
    account keeps its history and is not fetched any more.
    """
    present = dynamic_keys(instance, BRAIN_ACCOUNTS)
    wanted = [*brain.enabled(), *file_index.accounts_on_disk(folder.path)]
    gone = [account for account in present if account not in wanted]
    if gone:
        keys = (key for asset in LOADED for key in instance.get_materialized_partitions(dg.AssetKey(asset)))
        materialized = {alpha_pair(key)[0] for key in keys}
        gone = [account for account in gone if account not in materialized]
    return missing(present, wanted), gone


@sensor(
    minimum_interval_seconds=30,
    description="Synchronises the account partitions with the accounts file and the folders of the archive.",
)
def alphas_accounts(
    context: dg.SensorEvaluationContext, brain: Brain, alphas_dir: AlphaFiles
) -> dg.SensorResult | dg.SkipReason:
    added, removed = _account_changes(context.instance, brain, alphas_dir)
    if not added and not removed:
        known = dynamic_keys(context.instance, BRAIN_ACCOUNTS)
        return dg.SkipReason(f"{len(known)} accounts, nothing to add or remove")
    additions = [BRAIN_ACCOUNTS.build_add_request(added)] if added else []
    removals = [BRAIN_ACCOUNTS.build_delete_request(removed)] if removed else []
    return dg.SensorResult(dynamic_partitions_requests=[*additions, *removals])


@sensor(
    job=alphas_import_job,
    minimum_interval_seconds=60,
    description="New or changed files in the alphas folder, and collections that were dropped: a run for each rectangle"
    " of months and accounts.",
)
def alphas_files(
    context: dg.SensorEvaluationContext, mongo: Mongo, alphas_dir: AlphaFiles
) -> dg.SensorResult | dg.SkipReason:
    from marketdata_assets.alphas.status import emptied_pairs, outdated_pairs

    months = ALPHA_MONTHS.get_partition_keys()
    changes = file_index.scan(alphas_dir.path, context.cursor, time.time_ns(), alphas_dir.quiet_seconds, months)
    if set(changes.pairs) & _in_progress(context.instance):
        context.update_cursor(changes.unhandled_cursor)
        return dg.SkipReason("a run for these months is in progress; the files are scanned again when it has ended")
    loaded = {kind: _materialized(context.instance, f"{kind}_alphas", months) for kind in KINDS}
    emptied: set[Pair] = set()
    due: list[Pair] = []
    if changes.pairs or any(loaded.values()):
        with mongo.databases() as databases:
            for kind, pairs in loaded.items():
                emptied |= emptied_pairs(databases, alphas_dir.path, kind, pairs.keys())
            emptied -= {*_in_progress(context.instance), *changes.waiting} if emptied else set()
            chosen = outdated_pairs(databases, alphas_dir.path, changes.pairs) if changes.pairs else []
            due = sorted({*chosen, *emptied})
    if not due:
        context.update_cursor(changes.cursor)
        unread = file_index.unread(alphas_dir.path)
        others = f"; not read: {summary(unread)}" if unread else ""
        return dg.SkipReason(alphas_dir.nothing_new([" ".join(pair) for pair in changes.waiting]) + others)
    added = missing(dynamic_keys(context.instance, BRAIN_ACCOUNTS), (account for account, _ in due))
    # The files of emptied collections have not changed: their last import makes the key another one.
    imports = sorted(number for pairs in loaded.values() for pair, number in pairs.items() if pair in emptied)
    state = f"{changes.cursor}{imports[-1:] or ''}"
    return dg.SensorResult(
        run_requests=requests(context.instance, due, run_key(state), new_accounts=added),
        dynamic_partitions_requests=[BRAIN_ACCOUNTS.build_add_request(added)] if added else [],
        cursor=changes.cursor,
    )


def _materialized(instance: dg.DagsterInstance, name: str, months: Collection[str]) -> dict[Pair, int]:
    """The accounts and months that an asset was ever materialized for, and the event of the last time."""
    events = instance.get_latest_storage_id_by_partition(dg.AssetKey(name), dg.DagsterEventType.ASSET_MATERIALIZATION)
    pairs = {alpha_pair(key): number for key, number in events.items()}
    return {pair: number for pair, number in pairs.items() if pair[1] in months}


def _in_progress(instance: dg.DagsterInstance) -> set[Pair]:
    """The accounts and months that runs in progress load, queued ones included."""
    order, runs = dynamic_keys(instance, BRAIN_ACCOUNTS), runs_that_load(instance, LOADED, JOBS)
    return {pair for run in runs for pair in (*alpha_pairs(run.tags, order), *assets.pairs_of(run.run_config))}


alphas_follow = dg.AutomationConditionSensorDefinition(
    "alphas_follow",
    target=dg.AssetSelection.assets(*REST),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    tags={DOMAIN: "alphas"},
    description="Packages fetched months, imports changed packages and updates the summary.",
)


def due(instance: dg.DagsterInstance, has: Resources, unfinished: Collection[str] = ()) -> list[dg.RunRequest]:
    """Runs that fetch failed months again, and runs that import missing, failed and stale months.

    Months with `unfinished` files (see `file_index.states`) are not imported.
    Months that were never fetched are left to the daily rotation, which keeps to its request budget.
    """
    known = dynamic_keys(instance, BRAIN_ACCOUNTS)
    ready = sorted(set(known) & set(has.brain.ready()))
    keys = [alpha_key(account, month) for account in ready for month in ALPHA_MONTHS.get_partition_keys()]
    fetch = {alpha_pair(key) for key in find_mismatches(instance, "alpha_files", ALPHA_PARTITIONS, (), keys)}
    outdated = _not_imported(instance, has.mongo, has.alphas_dir, known) - fetch
    outdated -= set(file_index.pairs_of(unfinished))
    fetches, imports = (rectangles(pairs, known) for pairs in (fetch, outdated))
    found = range_requests(fetches, before=f"{FETCH_JOB}:", job_name=FETCH_JOB)
    if len(imports) < 2:
        return found + range_requests(imports, before=f"{IMPORT_JOB}:", job_name=IMPORT_JOB)
    inside = {pair for pair in outdated if pair[0] in known and pair[1] in ALPHA_MONTHS.get_partition_keys()}
    config = config_of(assets.OP, file_index.months_by_account(inside))
    return [*found, dg.RunRequest(run_key="selected", job_name=assets.JOB, run_config=config)]


def repairs() -> list[Repair]:
    """What the nightly repair checks."""
    return [Repair("alphas", LOADED, JOBS, due, file_states, ranges=False, selections=True)]


def file_states(has: Resources) -> tuple[dict[str, Any], float]:
    return file_index.states(has.alphas_dir.path), has.alphas_dir.quiet_seconds


def _not_imported(
    instance: dg.DagsterInstance, mongo: Mongo, alphas_dir: AlphaFiles, known: Iterable[str]
) -> set[Pair]:
    from marketdata_assets.alphas import status

    with mongo.databases() as databases:
        rows = [row for row in status.in_mongo(databases, alphas_dir.path, exact=True) if row.account in set(known)]
    months = set(ALPHA_MONTHS.get_partition_keys())
    outdated = {(row.account, month) for row in rows for month in row.outdated}
    every = {str(alpha_key(row.account, month)) for row in rows for month in row.states.keys() & months}
    outdated |= {alpha_pair(key) for key in find_mismatches(instance, "alpha_packages", ALPHA_PARTITIONS, (), every)}
    for kind in KINDS:
        loaded = {
            str(alpha_key(row.account, month))
            for row in rows
            for month, state in row.states.items()
            if row.asset == f"{kind}_alphas" and state is State.OK and month in months
        }
        mismatches = find_mismatches(instance, f"{kind}_alphas", ALPHA_PARTITIONS, loaded, every)
        outdated |= {alpha_pair(key) for key in mismatches}
    return outdated
