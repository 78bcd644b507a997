"""`system_killed_runs` ends runs whose process was killed, so that they are retried and no other waits for them.

Every run that a code server of this machine has started, and every run of a command, holds a lock (`local.run_lock`).
Containers and pods of runs are watched by the launchers that started them, and interrupted starts by Dagster itself:
`run_monitoring` in dagster.yaml.
"""

import datetime as dt
from pathlib import Path

import dagster as dg

from marketdata_assets.dagster_internals import GRPC_INFO_TAG
from marketdata_assets.defs.runs import sensor
from marketdata_assets.local import run_lock
from marketdata_assets.settings import Settings

LOCK_SECONDS = 60.0
"""A run that has started has its lock within milliseconds."""


@sensor(
    name="system_killed_runs",
    minimum_interval_seconds=30,
    description="Ends runs whose process was killed, with its code server, container or machine or alone: those that a"
    " code server has started are retried, and others do not wait for them.",
)
def killed_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    ended = end_killed(context.instance, Settings().root)
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
        run_lock.forget(root, run_id)
    return ended


def _without_lock(instance: dg.DagsterInstance, root: Path) -> list[str]:
    """Runs of the code server that have started and hold no lock here: of a machine that this one has replaced."""
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=LOCK_SECONDS)
    begun = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED], updated_before=before)
    runs = [run for run in instance.get_runs(begun) if GRPC_INFO_TAG in run.tags]
    return [run.run_id for run in runs if not run_lock.is_held(root, run.run_id)]
