"""A folder of delivered files into the table, for some months: plan, fan out, report.

Ends in one frozen report; whether a failed unit fails a run is the caller's business.
"""

import datetime as dt
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psycopg

from marketdata_assets.bars import coverage, small_units
from marketdata_assets.bars import plan as planning
from marketdata_assets.bars.coverage import Provider
from marketdata_assets.bars.layout import scan
from marketdata_assets.bars.plan import Plan, Task
from marketdata_assets.bars.profiles import SHIPPED, Shapes
from marketdata_assets.bars.schema import DATASET, Server, ensure, settle
from marketdata_assets.bars.unit import CODE_VERSION, Job, load, remove
from marketdata_assets.fanout import Fanout
from marketdata_assets.loading.files import Opener
from marketdata_assets.loading.reports import Countdown, LoadReport, UnitReport, batches, run_batches
from marketdata_assets.loading.run import each, guarded
from marketdata_assets.progress import Progress
from marketdata_assets.stores import ledger
from marketdata_assets.stores.bookkeeping import Entry, Reject
from marketdata_assets.stores.postgres import connect

BATCH_BYTES = 48 * 1024 * 1024
BATCH_UNITS = 100
PASSES = 3


@dataclass(frozen=True)
class BarsReport(LoadReport[UnitReport]):
    """What one load of `months` did. `units` were loaded, removed or failed."""

    server: Server
    months: tuple[str, ...]

    @property
    def failed_months(self) -> tuple[str, ...]:
        """Requested months that a failed unit leaves incomplete."""
        return tuple(sorted({month for unit in self.failed for month in unit.months} & set(self.months)))


def ingest(
    dsn: str,
    folder: Path,
    months: Collection[str],
    *,
    run_id: str,
    fanout: Fanout,
    force: bool = False,
    progress: Progress | None = None,
    complete: Callable[[Sequence[str]], None] = lambda months: None,
    shapes: Shapes = SHIPPED,
) -> BarsReport:
    """Make the table hold the newest files' rows of `months` (`YYYY-MM`), reading only what is new or changed.

    `complete` is called with requested months as all of their units have ended and none has failed, those without work
    first. A unit that fails does not stop the others. Raises StoreAway or StoreFull when the database gives up; units
    loaded by then stay loaded.
    """
    started = time.monotonic()
    requested = tuple(sorted(months))
    with connect(dsn) as connection:
        server = ensure(connection)
    reports: dict[str, UnitReport] = {}
    unchanged = 0
    for number in range(PASSES):
        first = number == 0
        touched = {month for report in reports.values() for month in report.months}
        plan = _plan(dsn, folder, {*requested, *touched}, force and first, shapes)
        unchanged = plan.unchanged if first else unchanged
        failed = {place for place, report in reports.items() if report.outcome == "failed"}
        tasks = [task for task in plan.tasks if first or (task.reason == "missing" and task.place not in failed)]
        todo = batches(
            tasks,
            lambda task: task.unit.size if task.unit else 0,
            max_bytes=BATCH_BYTES,
            max_items=BATCH_UNITS,
            group=lambda task: task.source,
        )
        touches = {task.place: set(task.touches) & set(requested) for task in tasks}
        left = Countdown(touches.values())
        if first:
            complete([month for month in requested if not any(month in own for own in touches.values())])
        worker = partial(load_batch, dsn, Job(run_id, shapes, server.columnstore, force and first))
        for report in run_batches(worker, todo, _failed, fanout=fanout, folder=folder, progress=progress):
            own = touches.get(report.unit, set())
            complete(left.ended(own, own if report.outcome == "failed" else ()))
            if before := reports.get(report.unit):  # an earlier pass: the later outcome, the rows and months of both
                touched_months = tuple(sorted({*before.months, *report.months}))
                rows, replaced = before.rows + report.rows, before.replaced + report.replaced
                removed = before.removed + report.removed
                report = replace(report, rows=rows, months=touched_months, replaced=replaced, removed=removed)
            reports[report.unit] = report
        if not tasks:
            break
    if any(report.rows for report in reports.values()):
        with connect(dsn, autocommit=True) as connection:
            settle(connection, server)
    return BarsReport(tuple(reports.values()), unchanged, time.monotonic() - started, server, requested)


def _plan(dsn: str, folder: Path, months: Collection[str], force: bool, shapes: Shapes) -> Plan:
    files = scan(folder)
    delivered = {file.name: file.modified_ns for file in files if not file.problem}
    with connect(dsn) as connection:
        coverage.redeliver(connection, delivered)
        known = ledger.loaded(connection, DATASET, [file.name for file in files])
        moved = coverage.moved(connection, delivered)
    return planning.make(files, known, months, moved=moved, force=force, shapes=shapes)


def load_batch(dsn: str, job: Job, tasks: list[Task]) -> list[UnitReport]:
    """Load some units over one connection, small ones together. Raises StoreAway and StoreFull."""
    with Opener() as opener:
        groups = small_units.groups(tasks)
        together = each(dsn, groups, lambda connection, group: small_units.load(connection, opener, group, job))
        reports = {report.unit: report for group in together for report in group}
        alone = [task for task in tasks if task.place not in reports]
        rest = each(dsn, alone, lambda connection, task: _load_one(connection, opener, job, task))
    return [*reports.values(), *rest]


def _load_one(connection: psycopg.Connection, opener: Opener, job: Job, task: Task) -> UnitReport:
    started = dt.datetime.now(dt.UTC)

    def work() -> UnitReport:
        if task.unit is None:
            return remove(connection, task.place, Provider(task.source, task.name, 0), job.run_id)
        forced = job.force or task.reason in ("moved", "forgotten")
        return load(connection, opener, task.unit, task.months, replace(job, force=forced))

    def fail(error: str, rejected: Sequence[Reject]) -> UnitReport:
        attempt = Entry(
            dataset=DATASET,
            source=task.source,
            unit=task.name,
            outcome="failed",
            attempted_hash=task.unit.checksum or None if task.unit else None,
            error=error,
            code_version=CODE_VERSION,
            run_id=job.run_id,
            started=started,
        )
        ledger.record_failure(connection, attempt, rejected)
        return _failed(task, error)

    return guarded(task.place, work, fail)


def _failed(task: Task, error: str) -> UnitReport:
    return UnitReport(task.place, "failed", months=tuple(sorted(task.touches)), error=error)
