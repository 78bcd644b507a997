"""`killed_commands`: ends the runs of commands that were killed, which would count as in progress for good.

Dagster's monitoring looks at runs that have started, on behalf of their code server; a run of a command may be killed
before it starts, and has none.
"""

from pathlib import Path

import dagster as dg

from marketdata_assets.defs.runs import sensor
from marketdata_assets.local import run_lock
from marketdata_assets.settings import Settings


@sensor(
    name="killed_commands",
    minimum_interval_seconds=30,
    description="Ends runs of `marketdata` commands that were killed, so that others do not wait for them.",
)
def killed_commands(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    ended = end_killed(context.instance, Settings().root)
    return dg.SkipReason(f"ended {len(ended)} runs" if ended else "no command was killed")


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


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions(sensors=[killed_commands])
