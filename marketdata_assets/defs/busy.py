"""Runs that have not ended, so that what runs by itself does not pile up over the same partitions."""

from collections.abc import Sequence

import dagster as dg

UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def under_way(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    """The runs under way at this moment, queued ones too."""
    return instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY))


def job_under_way(instance: dg.DagsterInstance, job: str) -> bool:
    """Whether a run of the job has not ended."""
    return any(run.job_name == job for run in under_way(instance))
