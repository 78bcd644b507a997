"""A table that is loaded by months from delivered files, of which a domain says how: its asset, its jobs, the sensor of
its files, and what the nightly repair checks.

For domains with one such table and nothing else to say; `docs/extend.md` has an example.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import dagster as dg

from marketdata_assets.dagster_internals import StepContext
from marketdata_assets.defs.metadata import OWNERS, Column, column_schema
from marketdata_assets.defs.partition_results import (
    Ended,
    Partitions,
    as_dagster_failure,
    find_mismatches,
    finish_partitions,
    finish_selected,
    run_partitions,
)
from marketdata_assets.defs.runs import (
    MOST_RANGES,
    Repair,
    range_requests,
    ranges_or_selection,
    run_key,
    runs_that_load,
    sensor,
)
from marketdata_assets.defs.selection import check_selected
from marketdata_assets.loading import watch
from marketdata_assets.loading.reports import and_more
from marketdata_assets.loading.states import State
from marketdata_assets.months import month_ranges
from marketdata_assets.partitions import joined


@dataclass(frozen=True)
class Dataset:
    """A table, how its months are loaded, and when they are due."""

    domain: str
    table: str
    description: str
    columns: Sequence[Column]
    months: dg.MonthlyPartitionsDefinition
    """With keys such as 2024-01."""
    load: Callable[[Sequence[str], str, Callable[[Sequence[str]], None], bool], Ended]
    """Loads months, in a run of this id, calls the third for months that are committed; True loads unchanged ones too.

    A month without a file is neither in the result nor failed; its totals have `seconds`. Raises what fails all.
    """
    states: Callable[[], Mapping[str, State]]
    """The months by which files and ledger are compared, with what that says; others have neither."""
    files: Callable[[], Mapping[str, watch.State]]
    """By month the size and the modification time of its files."""
    quiet_seconds: float
    """A file is complete when it has not changed for so long."""
    code_version: str
    kinds: Collection[str] = ("postgres", "table")
    pool: str = "timescale"
    freshness: dg.FreshnessPolicy | None = None

    @property
    def job(self) -> str:
        return f"{self.domain}_months"

    @property
    def selected_job(self) -> str:
        return f"{self.domain}_selected"

    @property
    def selected_op(self) -> str:
        return f"load_selected_{self.domain}"

    @property
    def jobs(self) -> tuple[str, str]:
        return self.job, self.selected_job


class LoadConfig(dg.Config):
    """How months are loaded."""

    force: bool = False
    """Load also the files that have not changed."""


class SelectedConfig(LoadConfig):
    """Which months."""

    months: list[str]
    """Months such as 2024-01; those between them are not loaded."""


def definitions(dataset: Dataset) -> dg.Definitions:
    """The asset, its files as an external one, a job of a range of months, one of any months, and the sensor."""
    job = dg.define_asset_job(dataset.job, [dataset.table], description=f"Load {dataset.table} of some months.")
    files = dg.AssetSpec(f"{dataset.table}_files", group_name=dataset.domain, kinds={"file"}, owners=OWNERS)
    jobs: list[Any] = [job, _selected_job(dataset)]
    return dg.Definitions(assets=[files, _asset(dataset)], jobs=jobs, sensors=[_sensor(dataset, job)])


def repair(dataset: Dataset) -> Repair:
    """What the nightly repair checks."""
    due, files = partial(_due, dataset), partial(_files, dataset)
    return Repair(dataset.domain, (dataset.table,), dataset.jobs, due, files, selections=True)


def _files(dataset: Dataset, _: object) -> tuple[Mapping[str, watch.State], float]:
    return dataset.files(), dataset.quiet_seconds


def _load(dataset: Dataset, context: StepContext, months: Sequence[str], force: bool) -> Ended:
    marks = Partitions(context, dg.AssetKey(dataset.table))
    ended = dataset.load(months, context.run.run_id, marks, force)
    marks.show_failed(ended.failed)
    return ended


def _asset(dataset: Dataset) -> dg.AssetsDefinition:
    @dg.asset(
        name=dataset.table,
        description=dataset.description,
        deps=[f"{dataset.table}_files"],
        partitions_def=dataset.months,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=dataset.domain,
        owners=OWNERS,
        kinds={*dataset.kinds},
        code_version=dataset.code_version,
        pool=dataset.pool,
        freshness_policy=dataset.freshness,
        metadata=column_schema(*dataset.columns, table=dataset.table),
    )
    def load(context: dg.AssetExecutionContext, config: LoadConfig) -> dg.MaterializeResult:
        with as_dagster_failure():
            ended = _load(dataset, context, run_partitions(context), config.force)
        return finish_partitions(context, ended.metadata, ended.by_key, ended.failed)

    return load


def _selected_job(dataset: Dataset) -> dg.JobDefinition:
    @dg.op(name=dataset.selected_op, pool=dataset.pool, out=dg.Out(dg.Nothing))
    def load(context: dg.OpExecutionContext, config: SelectedConfig) -> None:
        with as_dagster_failure():
            months = check_selected(config.months, dataset.months.get_partition_keys())
            ended = _load(dataset, context, months, config.force)
        finish_selected(context, {dataset.table: ended}, ended.metadata)

    @dg.job(name=dataset.selected_job, description=f"Load {dataset.table} of months that are no range.")
    def selected() -> None:
        load()

    return selected


def _sensor(dataset: Dataset, job: Any) -> dg.SensorDefinition:
    @sensor(
        name=f"{dataset.domain}_files",
        job=job,
        minimum_interval_seconds=60,
        description=f"New or changed files of {dataset.table}: a run for each range of months.",
    )
    def scan(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        seen = watch.compare(
            context.cursor, dataset.files(), now_ns=time.time_ns(), quiet_seconds=dataset.quiet_seconds
        )
        if seen.finished and runs_that_load(context.instance, [dataset.table], dataset.jobs):
            context.update_cursor(seen.cursor(()))
            return dg.SkipReason("a run is in progress; the next scan finds the files again")
        states = dataset.states() if seen.finished else {}
        due = [month for month in seen.finished if month in states and states[month].outdated]
        if not due:
            context.update_cursor(seen.cursor(seen.finished))
            waiting = f"; still being written: {and_more(seen.unfinished, 5)}" if seen.unfinished else ""
            return dg.SkipReason(f"no new file{waiting}")
        requests = range_requests(month_ranges(due), after=f":{run_key(seen.fingerprint(seen.finished))}")
        return dg.SensorResult(run_requests=requests, cursor=seen.cursor(seen.finished))

    return scan


def _due(
    dataset: Dataset, instance: dg.DagsterInstance, _: object, unfinished: Collection[str] = ()
) -> list[dg.RunRequest]:
    """Months that are missing, failed or stale, and those that Dagster shows in another state than the ledger.

    A run by range makes Dagster forget the failure of a month that no file covers any more.
    """
    states, keys = dataset.states(), dataset.months.get_partition_keys()
    loaded = [month for month, state in states.items() if state is State.OK]
    months = {month for month, state in states.items() if state.outdated}
    months |= find_mismatches(instance, dataset.table, dataset.months, loaded, keys)
    uncovered = joined(month_ranges(months - states.keys()), MOST_RANGES)
    return [
        *ranges_or_selection((months & states.keys()) - {*unfinished}, *dataset.jobs, dataset.selected_op),
        *range_requests(uncovered, before="uncovered:", job_name=dataset.job),
    ]
