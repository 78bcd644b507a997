"""Starts runs as Dagster does by default, and knows when the code server of a run has gone, so that monitoring ends it.

Runs are processes of the code server. When it goes with them (a container that is replaced, a machine that reboots),
nobody is left to say that they failed, and they would count as under way for `max_runtime_seconds`.
"""

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from dagster import DagsterRun, Field, Float
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, LaunchRunContext, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._serdes import ConfigurableClassData

from marketdata_assets import pools

if TYPE_CHECKING:
    from dagster._grpc.client import DagsterGrpcClient

PATIENCE_SECONDS = 180.0


class WatchedRunLauncher(DefaultRunLauncher):
    """A code server that answers knows its runs. One that does not is given `patience_seconds` to come back."""

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
        pools.ready(self._instance)
        super().launch_run(context)

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the code server that started the run still has it."""
        if GRPC_INFO_TAG not in run.tags:  # begun by `marketdata ingest` in a process of its own
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        try:
            known = _runs_of(_client(run))
        except DagsterUserCodeUnreachableError as error:
            return self._silent(run.run_id, str(error).partition("\n")[0])
        self._silent_since.pop(run.run_id, None)
        if run.run_id in known:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "its code server was started anew and does not have it")

    def _silent(self, run_id: str, cause: str) -> CheckRunHealthResult:
        now = time.monotonic()
        waited = now - self._silent_since.setdefault(run_id, now)
        if waited < self.patience_seconds:
            return CheckRunHealthResult(WorkerStatus.RUNNING, cause, transient=True)
        del self._silent_since[run_id]
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"its code server has not answered for {waited:.0f} s: {cause}"
        )


def _client(run: DagsterRun) -> "DagsterGrpcClient":
    from dagster._grpc.client import DagsterGrpcClient

    at = json.loads(run.tags[GRPC_INFO_TAG])
    return DagsterGrpcClient(
        host=at.get("host"), port=at.get("port"), socket=at.get("socket"), use_ssl=bool(at.get("use_ssl", False))
    )


def _runs_of(client: "DagsterGrpcClient") -> list[str]:
    from dagster._grpc.types import GetCurrentRunsResult
    from dagster._serdes import deserialize_value

    return list(deserialize_value(client.get_current_runs(), GetCurrentRunsResult).current_runs)
