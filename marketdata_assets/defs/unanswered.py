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
    last: dict[str, dg.DagsterRun] = {}
    answered = set[str]()
    for run in instance.get_runs(dg.RunsFilter(job_name=job, created_after=since), ascending=True):
        key = run.tags.get(TAG) or (run.tags.get(SENSOR_NAME_TAG) == sensor and run.tags.get(RUN_KEY_TAG))
        if not key:
            continue
        last[key] = run
        if run.status != dg.DagsterRunStatus.FAILURE:
            answered.add(key)
    return [
        dg.RunRequest(f"again:{key}", job_name=job, run_config=run.run_config, tags={TAG: key})
        for key, run in last.items()
        if key not in answered
    ]
