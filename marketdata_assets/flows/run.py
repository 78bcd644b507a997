"""A flow over the files of a folder: plan, fan out, report.

Ends in one frozen report; whether a failed unit fails a run is the caller's business.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from marketdata_assets.errors import MarketDataError
from marketdata_assets.fanout import Done, Fanout
from marketdata_assets.flows import claims, plan, storage
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.errors import UnknownUnit
from marketdata_assets.flows.unit_work import Job, UnitReport, load_batch, record_failure
from marketdata_assets.flows.units import Unit
from marketdata_assets.flows.version import code_version
from marketdata_assets.progress import Progress
from marketdata_assets.stores.postgres import connect

PRELOAD = ("marketdata_assets.flows.unit_work",)
BATCH_BYTES = 8 * 1024 * 1024
BATCH_UNITS = 100
BATCHES_OF_WORKER = 4


@dataclass(frozen=True)
class FlowReport:
    """What one run did. `units` are those that were looked into; `unchanged` counts those of which nothing was read."""

    flow: str
    table: str
    units: tuple[UnitReport, ...]
    unchanged: int
    seconds: float

    @property
    def rows(self) -> int:
        return sum(unit.rows for unit in self.units)

    @property
    def rejected(self) -> int:
        return sum(unit.rejected for unit in self.units)

    @property
    def failed(self) -> tuple[UnitReport, ...]:
        return tuple(unit for unit in self.units if unit.result == "failed")

    @property
    def months(self) -> tuple[str, ...]:
        """Months that rows were written of, where the flow has months as partitions."""
        return tuple(sorted({month for unit in self.units if unit.result == "ok" for month in unit.months}))

    def count(self, result: str) -> int:
        return sum(unit.result == result for unit in self.units)


def run_flow(
    flow: FlowDefinition,
    dsn: str,
    folder: Path,
    *,
    run_id: str,
    fanout: Fanout,
    force: bool = False,
    units: Collection[str] | None = None,
    progress: Progress | None = None,
) -> FlowReport:
    """Bring the flow's table up to the files below `folder`, reading only what is new or changed.

    `units` are the names of some; None takes all. A unit that fails does not stop the others. Raises FlowError when
    the flow cannot run at all, StoreAway or StoreFull when the database gives up; what had landed by then stays.
    """
    started = time.monotonic()
    version = code_version(flow)
    found = plan.units(flow, folder)
    if units is not None and (unknown := sorted(set(units) - {unit.name for unit in found})):
        raise UnknownUnit(flow.name, unknown[0], str(folder / flow.loader.folder))
    with connect(dsn) as connection:
        storage.ensure(connection, flow)
        todo, unchanged = plan.tasks(connection, flow, found, version, units, force)
        claims.register(connection, flow.dataset, todo)
    job = Job(dsn, flow, version, run_id, force)
    reports: list[UnitReport] = []
    for batch in fanout.map(partial(load_batch, job), _batches(todo, fanout.width) if todo else [], folder):
        for report in _reports(batch, job):
            reports.append(report)
            if progress:
                progress(len(reports), len(todo), report.unit)
    unchanged += sum(report.result == "unchanged" for report in reports)
    looked = tuple(report for report in reports if report.result != "unchanged")
    return FlowReport(flow.name, flow.target.table, looked, unchanged, time.monotonic() - started)


def _reports(batch: Done[list[Unit], list[UnitReport]], job: Job) -> list[UnitReport]:
    if isinstance(batch.error, MarketDataError):
        raise batch.error
    if batch.error is None:
        return batch.answer or []
    with connect(job.dsn) as connection:
        return [record_failure(connection, job, unit, f"{unit.name}: {batch.error}") for unit in batch.item]


def _batches(units: Sequence[Unit], workers: int) -> list[list[Unit]]:
    """Small files together, big ones alone; in the order of size."""
    share = sum(unit.size for unit in units) // (workers * BATCHES_OF_WORKER) + 1
    limit = min(BATCH_BYTES, share)
    batches: list[list[Unit]] = []
    room = 0
    for unit in units:
        if not batches or room < unit.size or len(batches[-1]) >= BATCH_UNITS:
            batches.append([])
            room = limit
        batches[-1].append(unit)
        room -= unit.size
    return batches
