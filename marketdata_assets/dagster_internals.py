"""Everything this project uses of Dagster that is not public API. No other module imports `dagster._...`.

Each item has a test in `tests/test_dagster_internals.py`; `make test-dagster-latest` runs them on Dagster's newest
minor version.
"""

import importlib
import json
import logging
import threading
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import dagster as dg
from dagster._core.definitions.assets.definition.asset_spec import AssetExecutionType
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.events import AssetMaterializationPlannedData, DagsterEventBatchMetadata
from dagster._core.execution.plan.execute_step import _get_output_asset_events
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.tags import (
    DOCKER_IMAGE_TAG,
    GRPC_INFO_TAG,
    REPOSITORY_LABEL_TAG,
    WILL_RETRY_TAG,
)
from dagster._serdes import ConfigurableClassData
from dagster.components.core.decl import YamlDecl

if TYPE_CHECKING:
    import sqlalchemy as db
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
    from dagster._core.storage.event_log import EventLogStorage
    from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
    from dagster._grpc.client import DagsterGrpcClient
    from starlette.types import ASGIApp

__all__ = [
    "DOCKER_IMAGE_TAG",
    "GRPC_INFO_TAG",
    "REPOSITORY_LABEL_TAG",
    "WILL_RETRY_TAG",
    "CheckRunHealthResult",
    "ConfigurableClassData",
    "DagsterUserCodeUnreachableError",
    "FreshnessState",
    "LaunchRunContext",
    "UnresolvedAssetJobDefinition",
    "WorkerStatus",
    "YamlDecl",
]


def backfill_request(
    partitions: Mapping[dg.AssetKey, Any], whole: Collection[dg.AssetKey], tags: Mapping[str, str]
) -> dg.RunRequest:
    """What a sensor with an asset selection returns for a backfill: of partitions, and of assets without any."""
    subset = AssetGraphSubset(partitions, {*whole})  # type: ignore[call-arg]
    return dg.RunRequest.for_asset_graph_subset(subset, tags)


StepContext = dg.AssetExecutionContext | dg.OpExecutionContext

POOLS = ("timescale", "mongo", "clickhouse", "alpha_api", "live")
"""The pools of all ops and assets."""
CODE_SERVER = "marketdata_assets.ui.code_server"
"""The module that calls `serve_code`."""
LOGGED = SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
"""In the metadata of an output: its step has logged what it materialized, and Dagster adds nothing."""
REPLACE_SECONDS = 2.0
UI_POLL_MS = 2000
"""How often an open page asks for new events of its assets."""


def log_materializations(context: StepContext, events: Sequence[dg.AssetMaterialization]) -> None:
    """Do as `context.log_event` for each, with a few statements for thousands of partitions.

    Dagster batches what a step yields, not what it logs, and `add_asset_metadata` lists all partitions of the run at
    each call. The last event is logged in the ordinary way, for listeners to a run's events in this process.
    """
    batch = uuid.uuid4().hex
    for number, event in enumerate(events[:-1], 2):
        metadata = DagsterEventBatchMetadata(batch, is_end=number == len(events))
        dg.DagsterEvent.asset_materialization(context.get_step_execution_context(), event, metadata)
    for event in events[-1:]:
        context.log_event(event)


def finish_step(
    context: dg.AssetExecutionContext, by_partition: Mapping[str, Mapping[str, Any]], output: Mapping[str, Any]
) -> dg.MaterializeResult[None]:
    """Materialize these partitions, each with its own metadata, and no other; the result of a step that did so.

    `output` is what the step's output has. Of a result of its own Dagster makes a materialization for every partition
    of the run, each with all of the result's metadata.
    """
    step, key = context.get_step_execution_context(), context.asset_key
    made = step.op_def.output_def_named(context.assets_def.get_output_name_for_asset_key(key))
    kind = AssetExecutionType.MATERIALIZATION
    [whole] = _get_output_asset_events(key, (), dg.Output(None, made.name), made, {}, step, kind)
    events = [
        dg.AssetMaterialization(key, partition=one, metadata=by_partition[one], tags=whole.tags)
        for one in sorted(by_partition)
    ]
    log_materializations(context, events)
    return dg.MaterializeResult(metadata={**output, LOGGED: True})


def plan_materialization(context: StepContext, asset: dg.AssetKey, partition: str) -> None:
    """Record that the run intends to materialize the partition; when the run fails without it, it shows as failed."""
    event = dg.DagsterEvent.build_asset_materialization_planned_event(
        context.job_name,
        context.get_step_execution_context().step.key,
        AssetMaterializationPlannedData(asset, partition=partition),
    )
    context.instance.report_dagster_event(event, context.run.run_id, logging.DEBUG)


def event_tables(instance: dg.DagsterInstance) -> "tuple[SqlEventLogStorage, db.Table, db.Table]":
    """The event storage of an instance, and its tables of events and of check results."""
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable

    storage: Any = instance.event_log_storage
    return storage, SqlEventLogStorageTable, AssetCheckExecutionsTable


def latest_check_results(
    instance: dg.DagsterInstance, checks: Collection[dg.AssetCheckKey]
) -> Mapping[dg.AssetCheckKey, bool]:
    """Whether each check passed when it ran last; checks that never ran are left out."""
    records = instance.event_log_storage.get_asset_check_summary_records(list(checks))
    latest = {key: record.last_completed_check_execution_record for key, record in records.items()}
    passed = AssetCheckExecutionRecordStatus.SUCCEEDED
    return {key: result.status == passed for key, result in latest.items() if result is not None}


def freshness_states(instance: dg.DagsterInstance, assets: Collection[dg.AssetKey]) -> dict[str, FreshnessState]:
    """The freshness of each asset that has a policy, as Dagster's daemon has recorded it."""
    records = instance.get_freshness_state_records(list(assets))
    return {key.to_user_string(): record.freshness_state for key, record in records.items()}


def failing_automation(instance: dg.DagsterInstance, ticks: int) -> list[str]:
    """Sensors and schedules that are on and whose last `ticks` ticks all failed."""
    ended = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]
    failing = []
    for state in instance.all_instigator_state():
        if not state.is_running:
            continue
        last = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=ticks, statuses=ended)
        if len(last) == ticks and all(tick.status == TickStatus.FAILURE for tick in last):
            failing.append(state.name)
    return sorted(failing)


def assign_to_code_location(instance: dg.DagsterInstance, run_id: str, module: str, name: str, repository: str) -> None:
    """Make a run of this process one of the code location's; the UI's timeline and job pages show no others."""
    from dagster._core.remote_origin import (
        ManagedGrpcPythonEnvCodeLocationOrigin,
        RemoteJobOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    run = instance.get_run_by_id(run_id)
    if run is not None:
        location = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name=module), location_name=name)
        origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, repository), run.job_name)
        instance.run_storage.replace_job_origin(run, origin)


def is_of_command(run: dg.DagsterRun) -> bool:
    """Whether a command has the run in its own process, and not a code server in another one or a pod."""
    return {GRPC_INFO_TAG, DOCKER_IMAGE_TAG}.isdisjoint(run.tags)


def with_current_image(context: LaunchRunContext) -> LaunchRunContext:
    """The run with the image that its code server has now: a run may wait in the queue while a new one is deployed."""
    run, workspace = context.dagster_run, context.workspace
    if workspace is None or run.job_code_origin is None or run.remote_job_origin is None:
        return context
    name = run.remote_job_origin.repository_origin.code_location_origin.location_name
    if not workspace.has_code_location(name):
        return context
    repository = run.job_code_origin.repository_origin._replace(
        container_image=workspace.get_code_location(name).container_image
    )
    run = run._replace(job_code_origin=run.job_code_origin._replace(repository_origin=repository))
    return context._replace(dagster_run=run)


def starts_processes(instance: dg.DagsterInstance) -> bool:
    """Whether runs are processes of code servers. No launcher is made for that: one of Kubernetes needs a cluster."""
    made: Any = instance._run_launcher
    if made is not None:
        return isinstance(made, dg.DefaultRunLauncher)
    configured = instance.get_ref().run_launcher_data
    return configured is None or issubclass(
        getattr(importlib.import_module(configured.module_name), configured.class_name), dg.DefaultRunLauncher
    )


def runs_of_code_server(run: dg.DagsterRun) -> list[str]:
    """The ids of the runs that the code server which started `run` has now.

    Raises DagsterUserCodeUnreachableError.
    """
    from dagster._grpc.client import DagsterGrpcClient

    at = json.loads(run.tags[GRPC_INFO_TAG])
    where = {name: at.get(name) for name in ("host", "port", "socket")}
    return _runs_of(DagsterGrpcClient(**where, use_ssl=bool(at.get("use_ssl", False))))


def _runs_of(client: "DagsterGrpcClient") -> list[str]:
    from dagster._grpc.types import GetCurrentRunsResult
    from dagster._serdes import deserialize_value

    return list(deserialize_value(client.get_current_runs(), GetCurrentRunsResult).current_runs)


def execute_run_command(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    """The command of the process that executes a run which was created for a code location."""
    from dagster._grpc.types import ExecuteRunArgs

    if run.job_code_origin is None:
        raise ValueError(f"run {run.run_id} has no code location, so no other process can execute it")
    arguments = ExecuteRunArgs(job_origin=run.job_code_origin, run_id=run.run_id, instance_ref=instance.get_ref())
    return list(arguments.get_command_args())


@contextmanager
def ui_application(instance: dg.DagsterInstance, workspace: Path, *, read_only: bool) -> "Iterator[ASGIApp]":
    """Dagster's UI and GraphQL for the code locations in a workspace.yaml; with `read_only` it takes no mutations."""
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_webserver.app import create_app_from_workspace_process_context

    with WorkspaceProcessContext(
        instance,
        version=dg.__version__,
        read_only=read_only,
        workspace_load_target=WorkspaceFileTarget([str(workspace)]),
        code_server_log_level="warning",
    ) as context:
        yield create_app_from_workspace_process_context(context, live_data_poll_rate=UI_POLL_MS)


@contextmanager
def code_servers(instance: dg.DagsterInstance, workspace: Path) -> Iterator[list[dict[str, Any]]]:
    """A process for each Python code location of a workspace.yaml, started again when it ends.

    Yields what a workspace.yaml names to find them: its `load_from`.
    """
    from dagster._cli.proxy_server_manager import ProxyServerManager
    from dagster._core.workspace.load_target import WorkspaceFileTarget

    with patch("dagster._grpc.server.get_python_environment_entry_point", lambda python: [python, "-m", CODE_SERVER]):
        target = WorkspaceFileTarget([str(workspace)])
        with ProxyServerManager(instance, target, code_server_log_level="warning") as servers:
            yield [dict(found) for found in servers.get_code_server_specs()]


def serve_code() -> None:
    """Run `dagster code-server`, which starts a server that has code and runs, and another one when code is reloaded.

    Dagster's own lists no runs, and stays without a server when that ends.
    """
    from dagster._cli import main
    from dagster._grpc.__generated__ import dagster_api_pb2
    from dagster._grpc.proxy_server import DagsterProxyApiServicer
    from dagster._grpc.types import GetCurrentRunsResult
    from dagster._serdes import serialize_value

    class Servicer(DagsterProxyApiServicer):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            threading.Thread(target=self._replace_ended, daemon=True).start()

        def GetCurrentRuns(self, request: Any, context: Any) -> Any:  # noqa: N802
            servers = {client.socket: client for client in list(self._run_clients.values()) if self._is_alive(client)}
            runs = [run for client in servers.values() for run in _runs_of(client)]
            found = GetCurrentRunsResult(current_runs=runs, serializable_error_info=None)
            return dagster_api_pb2.GetCurrentRunsReply(serialized_current_runs=serialize_value(found))

        def _is_alive(self, client: "DagsterGrpcClient") -> bool:
            processes = list(self._grpc_server_registry._all_processes)
            return any(one.socket == client.socket and one.server_process.poll() is None for one in processes)

        def _replace_ended(self) -> None:
            while not self._shutdown_once_executions_finish_event.wait(REPLACE_SECONDS):
                with self._reload_lock:
                    self._replace(self._client)

        def _replace(self, client: "DagsterGrpcClient | None") -> None:
            if client is not None and not self._is_alive(client):
                self._logger.error("The server of the code has ended; it is started again.")
                heartbeat: Any = self._client_heartbeat_shutdown_event
                heartbeat.set()
                self._reload_location()  # type: ignore[no-untyped-call]

    with patch("dagster._grpc.proxy_server.DagsterProxyApiServicer", Servicer):
        main()  # type: ignore[no-untyped-call]


def ensure_pool_limits(instance: dg.DagsterInstance) -> None:
    """Write the limits of the pools that are missing or that are an earlier default; limits set by a person stay.

    Dagster writes a pool's default limit when a run first needs it. On Postgres two runs that do so at once fail, and
    so does every run after the default was changed (dagster-io/dagster#33552).
    """
    default, storage = instance.global_op_concurrency_default_limit, instance.event_log_storage
    if default is None:
        return
    limits = {limit.name: limit for limit in storage.get_pool_limits()}
    for pool in POOLS:
        limit = limits.get(pool)
        if limit is None:
            _initialize_limit(storage, pool)
        elif limit.from_default and limit.limit != default:
            storage.delete_concurrency_limit(pool)
            _initialize_limit(storage, pool)


def _initialize_limit(storage: "EventLogStorage", pool: str) -> None:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        storage.initialize_concurrency_limit_to_default(pool)
    except SQLAlchemyError:  # another process was first
        if pool not in {limit.name for limit in storage.get_pool_limits()}:
            raise
