"""Dagster's queue of runs with a place for live data, which waits for no load of the past.

How queued runs are started and monitored is in `launcher`.
"""

from typing import Any

import dagster as dg

from marketdata_assets.masked_storage import check_run_config

FIRST_IN_QUEUE = {"dagster/priority": "1"}
"""Tags of runs that start before those that wait longer, and beside as many as may run: live data."""
LAST_IN_QUEUE = {"dagster/priority": "-1"}
"""Tags of runs that start when nothing else waits for their slot: repairs of the past."""
IN_PROGRESS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]
NOT_ENDED = [*IN_PROGRESS, dg.DagsterRunStatus.CANCELING]


class LiveFirstRunCoordinator(dg.QueuedRunCoordinator):
    """The queue, in which `max_concurrent_runs` is one more while a run of live data waits or is in progress.

    A limit by tag cannot keep a slot free: Dagster counts queued runs that wait for a pool towards such limits, so that
    the waiting runs of one pool would hold up all others. `concurrency.runs` in dagster.yaml would replace this limit.
    """

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        check_run_config(context.dagster_run.run_config)  # also where the storage is not ours
        return super().submit_run(context)

    def get_run_queue_config(self) -> Any:
        config = super().get_run_queue_config()
        live = dg.RunsFilter(statuses=NOT_ENDED, tags=FIRST_IN_QUEUE)
        if config.max_concurrent_runs > 0 and self._instance.get_run_ids(live, limit=1):
            return config._replace(max_concurrent_runs=config.max_concurrent_runs + 1)
        return config
