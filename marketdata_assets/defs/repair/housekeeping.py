"""`housekeeping`: deletes old runs from Dagster's storage with their events and logs; keeps latest materialisations.
`backup`: a daily backup of all databases into MARKETDATA_BACKUP_DIR, of which the newest are kept.
`system_killed_runs`: ends runs whose process was killed, so that they are retried and no other waits for them.

Dagster keeps every event of every run indefinitely, and a partition counts as not materialised once its event is
deleted. Its own settings (`retention` in dagster.yaml) only cover the ticks of schedules and sensors.

Every run that a code server of this machine has started, and every run of a command, holds a lock (`local.run_lock`).
Containers and pods of runs are watched by the launchers that started them, and interrupted starts by Dagster itself:
`run_monitoring` in dagster.yaml.
"""

import datetime as dt
import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil

from marketdata_assets.dagster_internals import GRPC_INFO_TAG, event_tables
from marketdata_assets.defs.runs import schedule, sensor
from marketdata_assets.local import run_lock
from marketdata_assets.local.process import tied_to_us
from marketdata_assets.settings import Settings

OVER = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


class HousekeepingConfig(dg.Config):
    """Limits of one housekeeping run."""

    keep_days: int = 0
    """Days that runs are kept; 0 means MARKETDATA_KEEP_RUNS_DAYS."""

    seconds: float = 1800.0
    """Stop deleting after this long; the next run continues."""


@dataclass(frozen=True)
class Deleted:
    """Deleted runs, runs of the same age that hold a latest materialisation, and deleted results of checks."""

    runs: int
    held: int
    evaluations: int
    more: bool


def tidy(instance: dg.DagsterInstance, before: dt.datetime, seconds: float) -> Deleted:
    """Delete runs that ended before `before`, the oldest first, for at most `seconds`."""
    until = time.monotonic() + seconds
    held, deleted, more = holders(instance), 0, False
    old = list(reversed(instance.get_run_ids(dg.RunsFilter(statuses=OVER, updated_before=before))))
    for run_id in old:
        if run_id in held:
            continue
        if time.monotonic() > until:
            more = True
            break
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        instance.delete_run(run_id)
        deleted += 1
    checks = _delete_check_results(instance, before)
    return Deleted(deleted, sum(run_id in held for run_id in old), checks, more)


def holders(instance: dg.DagsterInstance) -> set[str]:
    """The runs with the latest materialisation of an asset's partition."""
    import sqlalchemy as db

    storage, events, _ = event_tables(instance)
    kinds = [dg.DagsterEventType.ASSET_MATERIALIZATION.value, dg.DagsterEventType.ASSET_OBSERVATION.value]
    latest = (
        db.select(db.func.max(events.c.id))
        .where(events.c.dagster_event_type.in_(kinds))
        .group_by(events.c.dagster_event_type, events.c.asset_key, events.c.partition)
    )
    with storage.index_connection() as connection:
        return set(connection.execute(db.select(events.c.run_id).where(events.c.id.in_(latest)).distinct()).scalars())


def _delete_check_results(instance: dg.DagsterInstance, before: dt.datetime) -> int:
    """Delete old results of checks but the latest of each kind, which are in a table of their own."""
    import sqlalchemy as db

    storage, _, results = event_tables(instance)
    key = (results.c.asset_key, results.c.check_name, results.c.execution_status)
    latest = db.select(db.func.max(results.c.id)).group_by(*key)
    old = results.c.evaluation_event_timestamp < before.replace(tzinfo=None)
    with storage.index_connection() as connection:
        return int(connection.execute(results.delete().where(old, results.c.id.not_in(latest))).rowcount)


@dg.op
def tidy_up(context: dg.OpExecutionContext, config: HousekeepingConfig) -> None:
    """Delete runs that are old enough, with their events and logs; keep those that hold a latest materialisation."""
    days = config.keep_days or Settings().keep_runs_days
    done = tidy(context.instance, dt.datetime.now(dt.UTC) - dt.timedelta(days=days), config.seconds)
    context.add_output_metadata(vars(done))
    rest = "; the next run deletes the rest" if done.more else ""
    context.log.info(f"{done.runs} runs older than {days} days deleted, {done.held} kept{rest}")


@dg.job(description="Deletes old runs with their events and logs; keeps the latest materialisation of every partition.")
def housekeeping() -> None:
    tidy_up()


@schedule(
    job=housekeeping,
    cron_schedule="17 5 * * *",
    description="Every morning: deletes runs older than MARKETDATA_KEEP_RUNS_DAYS.",
)
def system_housekeeping_daily() -> dg.RunRequest:
    return dg.RunRequest()


@dg.op
def take_backup(context: dg.OpExecutionContext) -> None:
    """Run `marketdata backup` for all databases, and keep as many backups as MARKETDATA_BACKUP_KEEP says."""
    settings = Settings()
    if settings.backup_dir is None:
        raise dg.Failure("MARKETDATA_BACKUP_DIR is not set; name a folder on another disk than the databases'")
    words = ["backup", str(settings.backup_dir), "--keep", str(settings.backup_keep), "--json"]
    command = tied_to_us([sys.executable, "-m", "marketdata_assets", *words], signal.SIGTERM, None)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise dg.Failure(f"no backup in {settings.backup_dir}: {done.stderr.strip()}")
    found = json.loads(done.stdout)
    sizes = {name: sum(table[name] for table in found["tables"]) for name in ("rows", "bytes")}
    context.add_output_metadata({"folder": found["folder"], **sizes, "seconds": found["seconds"]})


@dg.job(description="Backs up all databases, and Dagster's, into a dated folder below MARKETDATA_BACKUP_DIR.")
def backup() -> None:
    take_backup()


@schedule(
    job=backup,
    cron_schedule="47 4 * * *",
    description="Every morning: a backup into MARKETDATA_BACKUP_DIR, if it is set.",
)
def system_backup_daily() -> dg.RunRequest | dg.SkipReason:
    if Settings().backup_dir is None:
        return dg.SkipReason("MARKETDATA_BACKUP_DIR is not set, so there are no daily backups")
    return dg.RunRequest()


LOCK_SECONDS = 60.0
"""A run that has started has its lock within milliseconds."""


@sensor(
    name="system_killed_runs",
    minimum_interval_seconds=30,
    description="Ends runs whose process was killed, with its code server, container or machine or alone: those that a"
    " code server has started are retried, and others do not wait for them. Adds advice to runs that Dagster ended.",
)
def killed_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    ended = end_killed(context.instance, Settings().root)
    advise(context.instance)
    return dg.SkipReason(f"ended {len(ended)} runs" if ended else "nothing was killed")


def end_killed(instance: dg.DagsterInstance, root: Path) -> list[str]:
    """End the runs without a process, whatever they had come to; their ids.

    A process writes how its run has ended before it releases the lock, so the status is read after the lock.
    """
    ended = []
    for run_id in [*run_lock.released(root), *_without_lock(instance, root)]:
        run = instance.get_run_by_id(run_id)
        if run is None:  # a command has its lock before it has a run
            continue
        if not run.is_finished:
            ended.append(run_id)
            canceled = run.status == dg.DagsterRunStatus.CANCELING
            (instance.report_run_canceled if canceled else instance.report_run_failed)(run, run_lock.KILLED)
        _end_output(run_id)
        run_lock.forget(root, run_id)
    return ended


def _end_output(run_id: str) -> None:
    """End the process with which Dagster repeats the output of a run that is gone.

    Another process watches for that, but a run can be killed before it has started this one.
    """
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            match process.cmdline():  # read once: a process that ends meanwhile has none
                case ["tail", "-F", "-c", "+0", *_, output] if f"/{run_id}/" in output:
                    process.kill()


TOO_LONG = (
    "What to do: what was loaded stays loaded, and the same run again loads the rest. Where a load takes longer, raise"
    " run_monitoring.max_runtime_seconds in dagster.yaml."
)
NOT_STARTED = (
    "What to do: nothing was loaded; re-execute the run. Its process was not started: look for a code server that does"
    " not answer (Deployment in the UI, `marketdata doctor`), and for a machine without free memory or CPU. Where"
    " starts are slow, raise DAGSTER_GRPC_TIMEOUT_SECONDS, and run_monitoring.start_timeout_seconds in dagster.yaml."
)


def advise(instance: dg.DagsterInstance) -> None:
    """Add to the events of a run that Dagster itself has ended what a person can do about it, once."""
    since = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=2 * LOCK_SECONDS)
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)):
        events = [one.dagster_event for one in instance.all_logs(run.run_id) if one.dagster_event]
        texts = [event.message or "" for event in events]
        advice = ""
        if any("Exceeded maximum runtime" in text for text in texts):
            advice = TOO_LONG
        elif not any(event.event_type is dg.DagsterEventType.RUN_START for event in events):
            advice = NOT_STARTED
        if advice and advice not in texts:
            instance.report_engine_event(advice, run)


def _without_lock(instance: dg.DagsterInstance, root: Path) -> list[str]:
    """Runs of the code server that have started and hold no lock here: of a machine that this one has replaced."""
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=LOCK_SECONDS)
    begun = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED], updated_before=before)
    runs = [run for run in instance.get_runs(begun) if GRPC_INFO_TAG in run.tags]
    return [run.run_id for run in runs if not run_lock.is_held(root, run.run_id)]
