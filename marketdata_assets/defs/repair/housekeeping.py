"""`housekeeping`: old runs go from Dagster's storage with their events and logs, the latest materialisations stay.

Dagster keeps every event of every run for ever, and forgets that a partition was materialised when the event goes that
says so. Its own settings (`retention` in dagster.yaml) only see to the ticks of schedules and sensors.
"""

import datetime as dt
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from marketdata_assets.settings import Settings

if TYPE_CHECKING:
    from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

OVER = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
SCHEDULE = "housekeeping_daily"


class HousekeepingConfig(dg.Config):
    """How far it goes."""

    keep_days: int = 0
    """Days that runs are kept; 0 is MARKETDATA_KEEP_RUNS_DAYS."""

    seconds: float = 1800.0
    """Delete nothing more after so long; the rest is for the next time."""


@dataclass(frozen=True)
class Tidied:
    """Runs that went, runs that are as old and hold a latest materialisation, and old answers of checks that went."""

    runs: int
    held: int
    evaluations: int
    left: bool


def tidy(instance: dg.DagsterInstance, before: dt.datetime, seconds: float) -> Tidied:
    """Delete what ended before `before`, the oldest first."""
    until = time.monotonic() + seconds
    held, gone, left = holders(instance), 0, False
    old = _ended(instance, before)
    for run_id in old:
        if run_id in held:
            continue
        if time.monotonic() > until:
            left = True
            break
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        instance.delete_run(run_id)
        gone += 1
    return Tidied(gone, sum(run_id in held for run_id in old), _forget_evaluations(instance, before), left)


def holders(instance: dg.DagsterInstance) -> set[str]:
    """The runs with the latest materialisation of an asset's partition."""
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events

    kinds = [dg.DagsterEventType.ASSET_MATERIALIZATION.value, dg.DagsterEventType.ASSET_OBSERVATION.value]
    latest = (
        db.select(db.func.max(Events.c.id))
        .where(Events.c.dagster_event_type.in_(kinds))
        .group_by(Events.c.dagster_event_type, Events.c.asset_key, Events.c.partition)
    )
    with _events(instance).index_connection() as connection:
        return set(connection.execute(db.select(Events.c.run_id).where(Events.c.id.in_(latest)).distinct()).scalars())


def _ended(instance: dg.DagsterInstance, before: dt.datetime) -> list[str]:
    """Their ids, the oldest first."""
    return list(reversed(instance.get_run_ids(dg.RunsFilter(statuses=OVER, updated_before=before))))


def _forget_evaluations(instance: dg.DagsterInstance, before: dt.datetime) -> int:
    """Delete old answers of checks but the latest of each kind, which lie in a table of their own."""
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Answers

    answer = (Answers.c.asset_key, Answers.c.check_name, Answers.c.execution_status)
    latest = db.select(db.func.max(Answers.c.id)).group_by(*answer)
    old = Answers.c.evaluation_event_timestamp < before.replace(tzinfo=None)
    with _events(instance).index_connection() as connection:
        return int(connection.execute(Answers.delete().where(old, Answers.c.id.not_in(latest))).rowcount)


def _events(instance: dg.DagsterInstance) -> "SqlEventLogStorage":
    storage: Any = instance.event_log_storage
    found: SqlEventLogStorage = storage
    return found


@dg.op
def tidy_up(context: dg.OpExecutionContext, config: HousekeepingConfig) -> None:
    """Delete runs that are old enough, with their events and logs, and keep what says that a partition stands."""
    days = config.keep_days or Settings().keep_runs_days
    done = tidy(context.instance, dt.datetime.now(dt.UTC) - dt.timedelta(days=days), config.seconds)
    context.add_output_metadata(vars(done))
    rest = "; there are more, for the next time" if done.left else ""
    context.log.info(f"{done.runs} runs older than {days} days are gone, {done.held} are held{rest}")


@dg.job(description="Old runs, their events and logs go; the latest materialisation of every partition stays.")
def housekeeping() -> None:
    tidy_up()


housekeeping_daily = dg.ScheduleDefinition(
    name=SCHEDULE,
    job=housekeeping,
    cron_schedule="17 5 * * *",
    execution_timezone="Asia/Shanghai",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every morning: runs older than MARKETDATA_KEEP_RUNS_DAYS go.",
)


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions(jobs=[housekeeping], schedules=[housekeeping_daily])
