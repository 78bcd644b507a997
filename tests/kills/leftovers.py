"""What of killed processes still counts as in progress: runs, slots, locks, claims and open transactions."""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionsFilter, BulkActionStatus
from psycopg.rows import tuple_row

from marketdata_assets.cli.instance import environment_of
from marketdata_assets.dagster_internals import POOLS
from marketdata_assets.defs.runs import IN_PROGRESS
from marketdata_assets.local import run_lock

BACKFILLS = BulkActionsFilter(statuses=[one for one in BulkActionStatus if one not in BULK_ACTION_TERMINAL_STATUSES])
NOT_ENDED = [*IN_PROGRESS, dg.DagsterRunStatus.CANCELING]
SESSIONS = """
SELECT pid, coalesce(state, ''), left(query, 100) FROM pg_stat_activity
WHERE datname = current_database() AND pid != pg_backend_pid() AND backend_type = 'client backend'
    AND state LIKE 'idle in transaction%' AND state_change < now() - interval '20 seconds'
"""
LOCKS = """
SELECT pid, classid, objid FROM pg_locks JOIN pg_database d ON d.oid = database
WHERE locktype = 'advisory' AND datname = current_database()
"""
STARTING_FOR = timedelta(seconds=180)
"""How long a process may take to its lock: run monitoring ends one that is interrupted, after two minutes."""
CLAIMS = "SELECT dataset, unit, claim_until FROM marketdata_flow_units WHERE claim_until > now()"


def leftovers(urls: Mapping[str, str], variables: Mapping[str, str], *, idle: bool) -> list[str]:
    """What is left over; `idle` when nothing is being loaded any more, so that nobody may hold a lock or a claim."""
    with environment_of(variables), dg.DagsterInstance.get() as instance:
        runs = instance.get_runs(dg.RunsFilter(statuses=NOT_ENDED))
        found = [
            *_dead(instance, runs, Path(variables["MARKETDATA_HOME"])),
            *_slots(instance, {run.run_id for run in runs}),
        ]
    return found + (_of_postgres(urls["postgres_dsn"]) if idle and not runs else [])


def in_progress(variables: Mapping[str, str]) -> list[str]:
    """The runs and backfills that have not ended, as Dagster holds."""
    with environment_of(variables), dg.DagsterInstance.get() as instance:
        runs = instance.get_runs(dg.RunsFilter(statuses=NOT_ENDED))
        backfills = instance.get_backfills(BACKFILLS)
    found = [f"run {run.run_id[:8]} of {run.job_name} is {run.status.value}" for run in runs]
    return found + [f"backfill {one.backfill_id} is {one.status.value}" for one in backfills]


def _dead(instance: dg.DagsterInstance, runs: list[dg.DagsterRun], root: Path) -> Iterator[str]:
    """Runs that have begun, as Dagster holds, and have no process: none that holds their lock, and is there still."""
    found = [
        run.run_id for run in runs if run.status not in (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED)
    ]
    for run_id in found:
        if run_lock.is_held(root, run_id):
            continue
        [record] = instance.get_run_records(dg.RunsFilter([run_id]))
        run, waited = record.dagster_run, datetime.now(UTC) - record.update_timestamp
        starting = run.status == dg.DagsterRunStatus.STARTING and waited < STARTING_FOR
        if not run.is_finished and not starting:
            yield f"run {run_id[:8]} of {run.job_name} is {run.status.value} without a process"


def _slots(instance: dg.DagsterInstance, alive: set[str]) -> Iterator[str]:
    for pool in POOLS:
        info = instance.event_log_storage.get_concurrency_info(pool)
        for slot in info.claimed_slots:
            if slot.run_id not in alive:
                yield f"a slot of pool {pool} is claimed by run {slot.run_id[:8]}, which has ended"
        for step in info.pending_steps:
            if step.run_id not in alive:
                yield f"a step of run {step.run_id[:8]}, which has ended, waits for a slot of pool {pool}"


def _of_postgres(dsn: str) -> list[str]:
    with closing(psycopg.connect(dsn, autocommit=True, row_factory=tuple_row)) as connection:
        found = [f"process {pid} is {state}: {query}" for pid, state, query in connection.execute(SESSIONS)]
        found += [f"process {pid} holds the advisory lock {of} {key}" for pid, of, key in connection.execute(LOCKS)]
        if connection.execute("SELECT to_regclass('marketdata_flow_units')").fetchone() == (None,):
            return found
        found += [f"{dataset}: {unit} is claimed until {end}" for dataset, unit, end in connection.execute(CLAIMS)]
        return found


def variables(home: os.PathLike[str] | str, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of Dagster's processes of the stack on this folder."""
    from marketdata_assets.cli.instance import environment
    from marketdata_assets.local import endpoints
    from marketdata_assets.settings import Settings

    settings = Settings(home=home)  # type: ignore[arg-type]
    return {**inherited, **environment(settings, endpoints.resolve(settings))}
