"""Starts runs as Dagster does by default, and detects runs whose process is gone, so that monitoring ends them.

Runs are processes of the code server, or of a command of `marketdata`; with MARKETDATA_RUN_SOCKET each has a container
of its own. When the process ends without a word (a container that is replaced, a machine that reboots, a kill), nobody
reports their failure, and they would count as in progress for `max_runtime_seconds`.
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
from marketdata_assets.run_containers.client import RunContainers, RunContainersAway
from marketdata_assets.run_containers.container import CONTAINER_TAG, container_name
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
        socket = Settings().run_socket
        if socket is None:
            super().launch_run(context)
        else:
            run = context.dagster_run
            name = container_name(run.run_id)
            self._instance.add_run_tags(run.run_id, {CONTAINER_TAG: name})
            RunContainers(socket).start(run.run_id)
            self._instance.report_engine_event(f"Started in the container {name}", run)

    def terminate(self, run_id: str) -> bool:
        """Stop a run. A run of a command gets the request through its lock; without a process it is ended at once."""
        run = self._instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished and _has_container(run):
            return self._stop_container(run)
        return stop_command(self._instance, run_id) or bool(super().terminate(run_id))  # type: ignore[no-untyped-call]

    def _stop_container(self, run: DagsterRun) -> bool:
        socket = Settings().run_socket
        if socket is None:
            return False
        self._instance.report_run_canceling(run)
        RunContainers(socket).stop(run.run_id)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the container of the run is running, or the code server that started it still has it."""
        if _has_container(run):
            return _health_of_container(run.run_id)
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


def _has_container(run: DagsterRun) -> bool:
    """A retry has the tags of the run before, whose container is another."""
    return run.tags.get(CONTAINER_TAG) == container_name(run.run_id)


def _health_of_container(run_id: str) -> CheckRunHealthResult:
    """Of a container that cannot be seen now nothing is known, so the run is left alone."""
    if (socket := Settings().run_socket) is None:
        unseen = "MARKETDATA_RUN_SOCKET is not set, so its container cannot be seen"
        return CheckRunHealthResult(WorkerStatus.RUNNING, unseen, transient=True)
    try:
        end = RunContainers(socket).end(run_id)
    except RunContainersAway as error:
        return CheckRunHealthResult(WorkerStatus.RUNNING, str(error), transient=True)
    if end is None:
        return CheckRunHealthResult(WorkerStatus.RUNNING)
    return CheckRunHealthResult(WorkerStatus.FAILED, f"its container {container_name(run_id)} has ended: {end}")


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
