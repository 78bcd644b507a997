"""Everything this project uses of Dagster that is not public API. No other module imports `dagster._...`.

Each item has a test in `tests/test_dagster_internals.py`; `make test-dagster-latest` runs them on Dagster's newest
minor version.
"""

import logging
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.events import AssetMaterializationPlannedData, DagsterEventBatchMetadata
from dagster._core.execution.plan.execute_step import _get_output_asset_events
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.sqlite_storage import (  # type: ignore[attr-defined]
    DagsterSqliteStorage,
    SqliteEventLogStorage,
    SqliteRunStorage,
    SqliteScheduleStorage,
)
from dagster._core.storage.tags import DOCKER_IMAGE_TAG, GRPC_INFO_TAG, REPOSITORY_LABEL_TAG, WILL_RETRY_TAG
from dagster.components.core.decl import YamlDecl

if TYPE_CHECKING:
    import sqlalchemy as db
    from starlette.types import ASGIApp

__all__ = [
    "DOCKER_IMAGE_TAG",
    "GRPC_INFO_TAG",
    "REPOSITORY_LABEL_TAG",
    "WILL_RETRY_TAG",
    "DagsterSqliteStorage",
    "LocalComputeLogManager",
    "SqliteEventLogStorage",
    "SqliteRunStorage",
    "SqliteScheduleStorage",
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
DOCKER_CONTAINER_TAG = "docker/container_id"
"""Of runs that the launcher of dagster-docker has started."""
LOGGED = SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
"""In the metadata of an output: its step has logged what it materialized, and Dagster adds nothing."""
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
    kind = context.assets_def.execution_type
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


def event_tables(instance: dg.DagsterInstance) -> "tuple[Any, db.Table, db.Table]":
    """The event storage of an instance, and its tables of events and of check results."""
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable

    return instance.event_log_storage, SqlEventLogStorageTable, AssetCheckExecutionsTable


def latest_check_results(
    instance: dg.DagsterInstance, checks: Collection[dg.AssetCheckKey]
) -> Mapping[dg.AssetCheckKey, bool]:
    """Whether each check passed when it ran last; checks that never ran are left out."""
    records = instance.event_log_storage.get_asset_check_summary_records(list(checks))
    latest = {key: record.last_completed_check_execution_record for key, record in records.items()}
    return {key: result.status.value == "SUCCEEDED" for key, result in latest.items() if result is not None}


def freshness_states(instance: dg.DagsterInstance, assets: Collection[dg.AssetKey]) -> dict[str, str]:
    """The freshness of each asset that has a policy, as Dagster's daemon has recorded it: PASS, WARN, FAIL, UNKNOWN."""
    records = instance.get_freshness_state_records(list(assets))
    return {key.to_user_string(): record.freshness_state.value for key, record in records.items()}


def failing_automation(instance: dg.DagsterInstance, ticks: int) -> list[str]:
    """Sensors and schedules that are on and whose last `ticks` ticks all failed."""
    failing = []
    for state in instance.all_instigator_state():
        if not state.is_running:
            continue
        # One more, since the newest may be in progress.
        found = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=ticks + 1)
        last = [tick.status.value for tick in found if tick.status.value != "STARTED"][:ticks]
        if last == ["FAILURE"] * ticks:
            failing.append(state.name)
    return sorted(failing)


def assign_to_code_location(instance: dg.DagsterInstance, run_id: str, module: str, name: str, repository: str) -> None:
    """Make a run of this process one of the code location's; the UI's timeline and job pages show no others."""
    from dagster._core import remote_origin
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    run = instance.get_run_by_id(run_id)
    if run is not None:
        target = LoadableTargetOrigin(module_name=module)
        location = remote_origin.ManagedGrpcPythonEnvCodeLocationOrigin(target, location_name=name)
        origin = remote_origin.RemoteJobOrigin(remote_origin.RemoteRepositoryOrigin(location, repository), run.job_name)
        instance.run_storage.replace_job_origin(run, origin)


def is_of_command(run: dg.DagsterRun) -> bool:
    """Whether a command has the run in its own process, and not a code server, a pod or a container."""
    return {GRPC_INFO_TAG, DOCKER_IMAGE_TAG, DOCKER_CONTAINER_TAG}.isdisjoint(run.tags)


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


def ensure_pool_limits(instance: dg.DagsterInstance) -> None:
    """Write the limits of the pools that are missing or that are an earlier default; limits set by a person stay.

    Dagster writes a pool's default limit when a run first needs it. On Postgres two runs that do so at once fail, and
    so does every run after the default was changed (dagster-io/dagster#33552).
    """
    from sqlalchemy.exc import SQLAlchemyError

    default, storage = instance.global_op_concurrency_default_limit, instance.event_log_storage
    if default is None:
        return
    limits = {limit.name: limit for limit in storage.get_pool_limits()}
    for pool in POOLS:
        limit = limits.get(pool)
        if limit is not None:
            if limit.limit == default or not limit.from_default:
                continue
            storage.delete_concurrency_limit(pool)
        try:
            storage.initialize_concurrency_limit_to_default(pool)
        except SQLAlchemyError:  # another process was first
            if pool not in {limit.name for limit in storage.get_pool_limits()}:
                raise
