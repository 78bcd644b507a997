"""The executor of all jobs: Dagster's, which has the steps in the process of the run, with the lock of that process."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from marketdata_assets.dagster_internals import GRPC_INFO_TAG, ensure_pool_limits
from marketdata_assets.local import run_lock
from marketdata_assets.masked_storage import check_run_config
from marketdata_assets.settings import Settings


class LockedExecutor(dg.Executor):
    """Holds the lock of the run until its process ends; checks its config, and that pools have their limits.

    The lock is for processes of code servers: other launchers watch the containers and pods that they start.
    """

    def __init__(self, steps: dg.Executor) -> None:
        self._steps = steps

    @property
    def retries(self) -> Any:
        return self._steps.retries

    @property
    def step_dependency_config(self) -> Any:
        return self._steps.step_dependency_config

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        run = plan_context.dagster_run
        check_run_config(run.run_config)  # also where the storage is another, as on Kubernetes
        if GRPC_INFO_TAG in run.tags:
            run_lock.hold(Settings().root, run.run_id)
        ensure_pool_limits(plan_context.instance)
        return self._steps.execute(plan_context, execution_plan)


def _locked(context: dg.InitExecutorContext) -> dg.Executor:
    create: Any = dg.in_process_executor.executor_creation_fn
    return LockedExecutor(create(context))


_CONFIG: Any = dg.in_process_executor.config_schema
locked_executor = dg.ExecutorDefinition("in_process", _CONFIG, executor_creation_fn=_locked)
