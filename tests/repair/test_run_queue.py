"""Live data does not wait for loads of the past, however many of them run and wait."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.test_utils import instance_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

import marketdata_assets
from marketdata_assets.dagster_internals import POOLS, ensure_pool_limits
from marketdata_assets.defs.exchanges.days import TABLES_JOB as DRAIN
from marketdata_assets.defs.runs import FIRST_IN_QUEUE, LAST_IN_QUEUE
from marketdata_assets.defs.ticks.run_config import JOB as TICKS
from marketdata_assets.defs.ticks.run_config import adhoc_config
from tests.project_definitions import definitions

CODE = JobPythonOrigin("j", RepositoryPythonOrigin("python", ModuleCodePointer("m", "a")))
QUEUED, STARTED = dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance whose queue and pools are those of the package's dagster.yaml."""
    shipped = yaml.safe_load((Path(marketdata_assets.__file__).parent / "dagster.yaml").read_text())
    overrides = {name: shipped[name] for name in ("concurrency",)}
    with instance_for_test(overrides=overrides, temp_dir=str(tmp_path)) as found:
        ensure_pool_limits(found)
        yield found


def add(instance: dg.DagsterInstance, job: str, status: dg.DagsterRunStatus, tags: dict[str, str] | None = None) -> str:
    found = definitions().get_repository_def().get_job(job)
    config = adhoc_config({"2026-01": []}, ["tick_data"]) if job == TICKS else {}
    location = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="m"), location_name="l")
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, "r"), job)
    run = instance.create_run_for_job(
        found, status=status, tags=tags, run_config=config, remote_job_origin=origin, job_code_origin=CODE
    )
    return run.run_id


def started_next(instance: dg.DagsterInstance) -> list[str]:
    """The runs that Dagster's daemon takes from the queue now."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=5)
    chosen = daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), fixed_iteration_time=None)
    return [run.run_id for run in chosen]


def test_drain_starts_at_once_beside_all_loads_of_the_past_that_there_may_be(instance: dg.DagsterInstance) -> None:
    for job in (
        TICKS,
        TICKS,
        "bars_and_kline",
        "bars_and_kline",
        "alphas_import",
        "alphas_import",
        *["alpha_records"] * 2,
    ):
        add(instance, job, STARTED, LAST_IN_QUEUE)
    waiting = [add(instance, job, QUEUED, LAST_IN_QUEUE) for job in (TICKS, "bars_and_kline", "alphas_import")]
    assert started_next(instance) == [], "all pools of the past are full"
    drain = add(instance, DRAIN, QUEUED, FIRST_IN_QUEUE)
    assert started_next(instance) == [drain], "it came last, and is the only one to start"
    assert len(waiting) + 1 == len(instance.get_runs(dg.RunsFilter(statuses=[QUEUED])))


def test_pools_of_loads_leave_a_place_for_live_data(instance: dg.DagsterInstance) -> None:
    shipped = instance.get_concurrency_config()
    most = shipped.run_queue_config.max_concurrent_runs
    assert most >= len(POOLS) * shipped.pool_config.default_pool_limit


def test_drain_does_not_wait_for_loads_into_the_same_server(instance: dg.DagsterInstance) -> None:
    for _ in range(2):
        add(instance, TICKS, STARTED)
    blocked = add(instance, TICKS, QUEUED)
    drain = add(instance, DRAIN, QUEUED, FIRST_IN_QUEUE)
    bars = add(instance, "bars_and_kline", QUEUED, LAST_IN_QUEUE)
    started = started_next(instance)
    assert (started[0], set(started)) == (drain, {drain, bars})
    assert blocked not in started, "two runs of ticks are enough for ClickHouse"
