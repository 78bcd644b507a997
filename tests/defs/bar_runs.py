"""Small deliveries, runs of the bars jobs over them in this process, and a look at what they left."""

import os
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.execute_in_process import core_execute_in_process, merge_run_tags

from marketdata_assets.partitions import PARTITION, range_tags
from marketdata_demo import sample_bars
from tests.project_definitions import definitions

BARS, KLINE = dg.AssetKey("stock_1min_qfq"), dg.AssetKey("stock_monthly_kline")
STOCKS = (("sh600001", "示例银行"), ("sz000001", "样本地产"))
ALL_YEAR = range(1, 13)
QUIET = 3600

QUIET_LOG = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Database:
    """A Postgres database, read and changed behind the package's back."""

    dsn: str

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(query, values or None).fetchall()

    def change(self, *statements: str) -> None:
        """Change tables; each statement must do something."""
        with psycopg.connect(self.dsn) as connection:
            for statement in statements:
                assert connection.execute(statement).rowcount != 0, statement


@dataclass(frozen=True)
class BarsEnv(Database):
    """A database, a folder of deliveries and a Dagster instance that has seen nothing yet."""

    folder: Path
    instance: dg.DagsterInstance

    def run(
        self,
        first: str,
        last: str | None = None,
        job: str = "bars_and_kline",
        ops: Mapping[str, Any] | None = None,
        *,
        checks: bool = False,
    ) -> dg.ExecuteInProcessResult:
        """Run a job for one month, or for those from `first` to `last`; a failed run is returned, not raised."""
        tags = range_tags(first, last) if last else None
        return execute(
            self.instance, job, {"ops": dict(ops or {})}, tags, partition=None if last else first, checks=checks
        )

    def in_progress(self, asset: str, month: str) -> dg.DagsterRun:
        """A run of the UI, of a backfill or of automation, that has begun: it names its asset, and no job of ours."""
        return self.instance.create_run_for_job(
            repository().get_job("__ASSET_JOB"),
            status=dg.DagsterRunStatus.STARTED,
            tags={PARTITION: month},
            asset_selection=frozenset({dg.AssetKey(asset)}),
        )

    def materialized(self, asset: dg.AssetKey) -> set[str]:
        return self.instance.get_materialized_partitions(asset)


def repository() -> dg.RepositoryDefinition:
    return definitions().get_repository_def()


def execute(
    instance: dg.DagsterInstance,
    job: str,
    config: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
    assets: Sequence[dg.AssetKey] | None = None,
    *,
    partition: str | None = None,
    checks: bool = False,
) -> dg.ExecuteInProcessResult:
    """Run a job in this process, by default without its checks; a failed run is returned, not raised."""
    prepared = _prepared(repository(), job, frozenset(assets or ()), checks)
    return _execute(instance, prepared, config, tags, assets, partition)


def run_checks(
    instance: dg.DagsterInstance, assets: Sequence[dg.AssetKey], tags: Mapping[str, str] | None = None
) -> dg.ExecuteInProcessResult:
    """Run the checks of some assets alone, as the UI does."""
    return _execute(instance, _checks(repository(), frozenset(assets)), {}, tags)


def _execute(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    config: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
    assets: Sequence[dg.AssetKey] | None = None,
    partition: str | None = None,
) -> dg.ExecuteInProcessResult:
    asked = {**QUIET_LOG, **config}
    return core_execute_in_process(
        job=InMemoryJob(job),
        run_config=asked,
        instance=instance,
        output_capturing_enabled=True,
        raise_on_error=False,
        run_tags=merge_run_tags(job, partition, tags, assets, instance, asked),
        asset_selection=frozenset(assets or ()),
    )


@lru_cache(64)
def _prepared(
    found: dg.RepositoryDefinition, job: str, assets: frozenset[dg.AssetKey], checks: bool
) -> dg.JobDefinition:
    """What `execute_in_process` makes of a job and its assets; to make it anew takes longer than most runs."""
    made = found.get_job(job).as_ephemeral_job({}, {}, asset_selection=[*assets] or None)
    selected = made.asset_layer.selected_asset_keys
    if checks or not selected:
        return made
    return made.get_subset(asset_selection={*selected}, asset_check_selection=set())


@lru_cache(16)
def _checks(found: dg.RepositoryDefinition, assets: frozenset[dg.AssetKey]) -> dg.JobDefinition:
    job = _prepared(found, "__ASSET_JOB", frozenset(), checks=True)
    keys = {key for key in job.asset_layer.asset_graph.asset_check_keys if key.asset_key in assets}
    return job.get_subset(asset_selection=set(), asset_check_selection=keys)


def deliver(
    folder: Path,
    year: int,
    months: Sequence[int] = ALL_YEAR,
    *,
    dividend: float = 0.0,
    stocks: Sequence[tuple[str, str]] = STOCKS,
    age_seconds: float = QUIET,
) -> Path:
    """Write a yearly zip with the weekdays among the first three days of `months`, a while ago."""
    days = [day for day in sample_bars.weekdays(year) if day.month in months and day.day <= 3]
    members = {
        f"{code}_{year}.csv": sample_bars.csv_bytes(sample_bars.stock_year(code, name, days, 7, dividend))
        for code, name in stocks
    }
    return write_zip(folder / f"{year}_1min.zip", members, age_seconds)


def write_zip(path: Path, members: Mapping[str, bytes], age_seconds: float = QUIET) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return aged(path, age_seconds)


def aged(path: Path, seconds: float) -> Path:
    """Let `path` be as old as that."""
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """By step, what its failure says to a person."""
    said = {}
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            error = data.error
            while error is not None and error.cause is not None:
                error = error.cause
            told = data.user_failure_data.description if data.user_failure_data else error and error.message
            said[event.step_key or ""] = told or ""
    return said


def verdicts(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """By check, whether it passed."""
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


def recorded_verdicts(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """By check, whether it passed, with those that a step has logged before it failed."""
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    events = [entry.dagster_event for entry in instance.all_logs(result.run_id, of_type=kind)]
    found = [event.asset_check_evaluation_data for event in events if event]
    return {one.check_name: one.passed for one in found}


def materializations(
    instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult, asset: dg.AssetKey
) -> dict[str, dict[str, Any]]:
    """By partition, the metadata of the last materialization of an asset in a run."""
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    logged = [entry.dagster_event for entry in instance.all_logs(result.run_id, of_type=kind)]
    found = [event.step_materialization_data.materialization for event in logged if event]
    return {
        one.partition or "": {k: v.value for k, v in one.metadata.items()} for one in found if one.asset_key == asset
    }


def totals(result: dg.ExecuteInProcessResult, asset: dg.AssetKey) -> dict[str, Any]:
    """What the output of an asset's step has: the figures of the run."""
    step = asset.to_user_string()
    [event] = [one for one in result.all_events if one.is_successful_output and one.step_key == step]
    return {name: value.value for name, value in event.step_output_data.metadata.items()}
