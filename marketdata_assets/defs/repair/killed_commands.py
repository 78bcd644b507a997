"""`killed_commands`: ends the runs of commands that were killed, and those that a killed daemon was about to start.

Dagster's monitoring looks at runs that have started, on behalf of their code server. A run of a command may be killed
before it starts, and has none; a run whose start was interrupted would count as in progress for minutes.
"""

import datetime as dt
from pathlib import Path

import dagster as dg

from marketdata_assets.dagster_internals import (
    GRPC_INFO_TAG,
    DagsterUserCodeUnreachableError,
    runs_of_code_server,
    starts_processes,
)
from marketdata_assets.defs.runs import sensor
from marketdata_assets.local import run_lock
from marketdata_assets.run_containers.container import CONTAINER_TAG, container_name
from marketdata_assets.settings import Settings

START_SECONDS = 45.0
"""How long the request to start a process may take; then a code server lists the run."""


@sensor(
    name="killed_commands",
    minimum_interval_seconds=30,
    description="Ends runs of `marketdata` commands that were killed, and runs whose start was interrupted, so that"
    " others do not wait for them.",
)
def killed_commands(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    ended = end_killed(context.instance, Settings().root) + end_interrupted(context.instance)
    return dg.SkipReason(f"ended {len(ended)} runs" if ended else "nothing was killed")


def end_killed(instance: dg.DagsterInstance, root: Path) -> list[str]:
    """End the runs whose command was killed, whatever they had come to; their ids."""
    ended = []
    for run_id in run_lock.released(root):
        run = instance.get_run_by_id(run_id)
        if run is None:  # a command may be about to take its lock, and has no run yet
            continue
        if not run.is_finished:
            ended.append(run_id)
            if run.status == dg.DagsterRunStatus.CANCELING:
                instance.report_run_canceled(run, run_lock.KILLED.capitalize())
            else:
                instance.report_run_failed(run, run_lock.KILLED.capitalize())
        run_lock.forget(root, run_id)
    return ended


def end_interrupted(instance: dg.DagsterInstance) -> list[str]:
    """End the runs that were to start `START_SECONDS` ago and that no code server has; their ids.

    A daemon, webserver or code server was killed between the event of the start and the start of the process.
    """
    ended: list[str] = []
    if not starts_processes(instance):
        return ended
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=START_SECONDS)
    starting = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING], updated_before=before)
    for run in instance.get_runs(starting):
        if not was_launched(run):
            ended.append(run.run_id)
            instance.report_run_failed(run, "Its start was interrupted: no process has it")
    return ended


def was_launched(run: dg.DagsterRun) -> bool:
    """Whether a code server has the run; true also while that cannot be known.

    A run with a container of its own is left to Dagster's start timeout: the sensor cannot see the container.
    """
    if run.tags.get(CONTAINER_TAG) == container_name(run.run_id):
        return True
    try:
        return GRPC_INFO_TAG in run.tags and run.run_id in runs_of_code_server(run)
    except DagsterUserCodeUnreachableError:
        return True
