"""Starts each run as a Job of Kubernetes, in a pod of its own, and detects runs whose pod is gone.

Needs the extra `kubernetes`. The launcher of dagster-k8s does the work; it would fail every run in progress while the
Kubernetes API is unavailable, and the runs that commands of `marketdata` have in their own process.
"""

import time
from collections.abc import Mapping
from typing import Any, Self

from dagster import DagsterRun, Field, Float
from dagster_k8s import K8sRunLauncher

from marketdata_assets.dagster_internals import (
    CheckRunHealthResult,
    ConfigurableClassData,
    LaunchRunContext,
    WorkerStatus,
    ensure_pool_limits,
    is_of_command,
    with_current_image,
)
from marketdata_assets.launcher import health_of_command, stop_command

PATIENCE_SECONDS = 900.0
"""A control plane with one node is upgraded in less."""


class PodRunLauncher(K8sRunLauncher):
    """The configuration of K8sRunLauncher, and `patience_seconds` for an API or a Job that cannot be found."""

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS, **configured: Any) -> None:
        super().__init__(**configured)
        self.patience_seconds = patience_seconds
        self._unknown_since: dict[str, float] = {}

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        patience = Field(Float, is_required=False, default_value=PATIENCE_SECONDS)
        return {**super().config_type(), "patience_seconds": patience}  # type: ignore[no-untyped-call]

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        ensure_pool_limits(self._instance)
        super().launch_run(with_current_image(context))

    def terminate(self, run_id: str) -> bool:
        """Delete the Job of a run with its pod; a run of a command gets the request through its lock."""
        return stop_command(self._instance, run_id) or bool(super().terminate(run_id))  # type: ignore[no-untyped-call]

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the pod of the run is alive. What cannot be known counts as alive for `patience_seconds`."""
        if is_of_command(run):
            return health_of_command(run.run_id)
        found: CheckRunHealthResult = super().check_run_worker_health(run)
        if found.status != WorkerStatus.UNKNOWN:
            self._unknown_since.pop(run.run_id, None)
            return found
        now = time.monotonic()
        waited = now - self._unknown_since.setdefault(run.run_id, now)
        if waited < self.patience_seconds:
            return CheckRunHealthResult(WorkerStatus.RUNNING, found.msg, transient=True)
        del self._unknown_since[run.run_id]
        return CheckRunHealthResult(WorkerStatus.FAILED, f"its pod has not been found for {waited:.0f} s: {found.msg}")
