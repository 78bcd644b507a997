"""Starts runs as Dagster does by default, and detects runs whose process is gone, so that monitoring ends them.

Runs are processes of the code server, or of a command of `marketdata`. When it ends without a word (a container that is
replaced, a machine that reboots, a kill), no process reports their failure, and they would count as in progress for
`max_runtime_seconds`.
"""

import time
from collections.abc import Mapping
from typing import Any, Self

from dagster import DagsterInstance, DagsterRun, DefaultRunLauncher, Field, Float

from marketdata_assets.dagster_internals import (
    CheckRunHealthResult,
    ConfigurableClassData,
    DagsterUserCodeUnreachableError,
    LaunchRunContext,
    WorkerStatus,
    ensure_pool_limits,
    is_of_command,
    runs_of_code_server,
)
from marketdata_assets.local import run_lock
from marketdata_assets.settings import Settings

PATIENCE_SECONDS = 180.0


class WatchedRunLauncher(DefaultRunLauncher):
    """A code server that responds lists its runs. One that does not has `patience_seconds` to come back."""

    def __init__(
        self, patience_seconds: float = PATIENCE_SECONDS, inst_data: ConfigurableClassData | None = None
    ) -> None:
        super().__init__(inst_data)
        self.patience_seconds = patience_seconds
        self._silent_since: dict[str, float] = {}

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {"patience_seconds": Field(Float, is_required=False, default_value=PATIENCE_SECONDS)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        return cls(config_value["patience_seconds"], inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        ensure_pool_limits(self._instance)
        super().launch_run(context)

    def terminate(self, run_id: str) -> bool:
        """Stop a run. A run of a command gets the request through its lock; without a process it is ended at once."""
        return stop_command(self._instance, run_id) or bool(super().terminate(run_id))  # type: ignore[no-untyped-call]

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the code server that started the run still has it."""
        if is_of_command(run):
            return health_of_command(run.run_id)
        try:
            running = runs_of_code_server(run)
        except DagsterUserCodeUnreachableError as error:
            now, cause = time.monotonic(), str(error).partition("\n")[0]
            waited = now - self._silent_since.setdefault(run.run_id, now)
            if waited < self.patience_seconds:
                return CheckRunHealthResult(WorkerStatus.RUNNING, cause, transient=True)
            del self._silent_since[run.run_id]
            cause = f"its code server has not responded for {waited:.0f} s: {cause}"
            return CheckRunHealthResult(WorkerStatus.FAILED, cause)
        self._silent_since.pop(run.run_id, None)
        if run.run_id in running:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "its code server was restarted and does not have it")


def stop_command(instance: DagsterInstance, run_id: str) -> bool:
    """Request that a run in the process of a command stops, or end it at once without one; False for any other run."""
    run, root = instance.get_run_by_id(run_id), Settings().root
    held = run_lock.is_held(root, run_id)
    if run is None or run.is_finished or not is_of_command(run) or held is None:
        return False
    if held:
        instance.report_run_canceling(run)
        run_lock.request_stop(root, run_id)
    else:
        instance.report_run_canceled(run, message=run_lock.KILLED.capitalize())
    return True


def health_of_command(run_id: str) -> CheckRunHealthResult:
    """Whether the process of a command has the run; one of another machine counts as alive."""
    if run_lock.is_held(Settings().root, run_id) is False:
        return CheckRunHealthResult(WorkerStatus.FAILED, run_lock.KILLED)
    return CheckRunHealthResult(WorkerStatus.RUNNING)
