"""Runs that automation asks for: keys, those in progress, and requests of sensors whose runs failed."""

import datetime as dt
import hashlib
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import dagster as dg

from marketdata_assets.dagster_internals import RUN_KEY_TAG, SENSOR_NAME_TAG
from marketdata_assets.partitions import range_tags

sensor = partial(dg.sensor, default_status=dg.DefaultSensorStatus.RUNNING)
schedule = partial(dg.schedule, default_status=dg.DefaultScheduleStatus.RUNNING)

IN_PROGRESS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]
RETRY_TAG = "marketdata/again"  # on a run of the nightly repair: the key of the failed run that it retries
LOOK_BACK = dt.timedelta(days=14)


def runs_in_progress(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    """The runs that have not ended, queued ones included."""
    return instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS))


def job_in_progress(instance: dg.DagsterInstance, job: str) -> bool:
    """Whether a run of the job has not ended."""
    return any(run.job_name == job for run in runs_in_progress(instance))


def range_requests(
    ranges: Iterable[tuple[str, str]], before: str = "", after: str = "", **options: Any
) -> list[dg.RunRequest]:
    """A run for each range of partitions; its key is the range, with what is put before and after it."""
    return [
        dg.RunRequest(run_key=f"{before}{first}:{last}{after}", tags=range_tags(first, last), **options)
        for first, last in ranges
    ]


def run_key(state: str) -> str:
    """A short run key for an observed state: Dagster indexes keys in Postgres, where long values do not fit."""
    return hashlib.sha256(state.encode()).hexdigest()[:16]


def failed_requests(instance: dg.DagsterInstance, job: str, sensor: str) -> list[dg.RunRequest]:
    """A request like the last one for every run key of the sensor under which no run of the last days succeeded.

    A sensor asks once for what it sees in a file. Where no ledger knows of files that were never loaded, a failed run
    would be forgotten; so the nightly repair asks again, until one succeeds. A cancelled run counts as a success.
    """
    since = dt.datetime.now(dt.UTC) - LOOK_BACK
    by_sensor = dg.RunsFilter(job_name=job, tags={SENSOR_NAME_TAG: sensor}, created_after=since)
    runs = instance.get_runs(by_sensor, ascending=True)
    requested = {run.tags[RUN_KEY_TAG]: run for run in runs if RUN_KEY_TAG in run.tags}
    retries = dg.RunsFilter(job_name=job, tags={RETRY_TAG: list(requested)}, created_after=since)
    runs = [*runs, *(instance.get_runs(retries) if requested else ())]
    done = {
        run.tags.get(RETRY_TAG) or run.tags.get(RUN_KEY_TAG)
        for run in runs
        if run.status != dg.DagsterRunStatus.FAILURE
    }
    return [
        dg.RunRequest(f"again:{key}", job_name=job, run_config=run.run_config, tags={RETRY_TAG: key})
        for key, run in requested.items()
        if key not in done
    ]
