"""Runs that a sensor of files asked for and that never succeeded, not even when they were tried again.

A sensor asks once for what it sees in a file. Where no ledger knows of files that were never loaded, what such a run
was to load would be forgotten; so the nightly repair asks for the same again, until it succeeds.
"""

import datetime as dt

import dagster as dg
from dagster._core.storage.tags import RUN_KEY_TAG, SENSOR_NAME_TAG

TAG = "marketdata/again"
"""On a run of the repair's: the key of the run that it stands for."""
LOOK_BACK = dt.timedelta(days=14)


def unanswered(instance: dg.DagsterInstance, job: str, sensor: str) -> list[dg.RunRequest]:
    """A request like the last one for every key of the sensor's under which no run of the last days succeeded.

    A run that somebody cancelled counts as answered.
    """
    since = dt.datetime.now(dt.UTC) - LOOK_BACK
    by_sensor = dg.RunsFilter(job_name=job, tags={SENSOR_NAME_TAG: sensor}, created_after=since)
    runs = instance.get_runs(by_sensor, ascending=True)
    asked = {run.tags[RUN_KEY_TAG]: run for run in runs if RUN_KEY_TAG in run.tags}
    by_night = dg.RunsFilter(job_name=job, tags={TAG: list(asked)}, created_after=since)
    runs = [*runs, *(instance.get_runs(by_night) if asked else ())]
    answered = {_key(run) for run in runs if run.status != dg.DagsterRunStatus.FAILURE}
    return [
        dg.RunRequest(f"again:{key}", job_name=job, run_config=run.run_config, tags={TAG: key})
        for key, run in asked.items()
        if key not in answered
    ]


def _key(run: dg.DagsterRun) -> str | None:
    return run.tags.get(TAG) or run.tags.get(RUN_KEY_TAG)
