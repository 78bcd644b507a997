"""A folder of delivered files into the table, for some months: plan, fan out, report.

Ends in one frozen report; whether a failed unit fails a run is the caller's business.
"""

import datetime as dt
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg

from marketdata_assets.bars import coverage
from marketdata_assets.bars import plan as planning
from marketdata_assets.bars.loader import UnitReport, load, record_failure, remove
from marketdata_assets.bars.plan import Broken, Plan, Task
from marketdata_assets.bars.schema import DATASET, Server, ensure, settle
from marketdata_assets.bars.sources import WHOLE_FILE, Opener, scan
from marketdata_assets.errors import MarketDataError
from marketdata_assets.fanout import Done, Fanout
from marketdata_assets.progress import Progress
from marketdata_assets.stores import ledger
from marketdata_assets.stores.postgres import connect
from marketdata_assets.stores.work import despite_races, each, is_the_connections

BATCH_BYTES = 48 * 1024 * 1024
BATCH_UNITS = 100
PASSES = 3


@dataclass(frozen=True)
class LoadReport:
    """What one load did. `units` are those that were read or taken out; `failed_months` stay incomplete."""

    server: Server
    months: tuple[str, ...]
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
    def failed_months(self) -> tuple[str, ...]:
        """Months asked for that a failed unit leaves incomplete."""
        return tuple(sorted({month for unit in self.failed for month in unit.months} & set(self.months)))

    @property
    def touched_months(self) -> tuple[str, ...]:
        """Months whose rows were written anew, asked for or not."""
        return tuple(sorted({month for unit in self.units if unit.result != "failed" for month in unit.months}))

    def count(self, result: str) -> int:
        return sum(unit.result == result for unit in self.units)


def ingest(
    dsn: str,
    folder: Path,
    months: Collection[str],
    *,
    run_id: str,
    fanout: Fanout,
    force: bool = False,
    progress: Progress | None = None,
) -> LoadReport:
    """Make the table hold the newest files' rows of `months` (`YYYY-MM`), reading only what is new or changed.

    A unit that fails does not stop the others. Raises StoreAway or StoreFull when the database gives up; units that
    had landed by then stay.
    """
    started = time.monotonic()
    asked = tuple(sorted(months))
    with connect(dsn) as connection:
        server = ensure(connection)
    reports: dict[str, UnitReport] = {}
    unchanged = 0
    for number in range(PASSES):
        plan = _plan(dsn, folder, {*asked, *_months_of(reports.values())}, force and number == 0)
        unchanged = plan.unchanged if number == 0 else unchanged
        tasks = [t for t in plan.tasks if number == 0 or (t.reason == "missing" and _place(t) not in _failed(reports))]
        if number == 0:
            _record_broken(dsn, plan, run_id)
            reports.update({_broken_place(broken): _broken_report(broken) for broken in plan.broken})
        if not tasks:
            break
        for report in _run(dsn, folder, tasks, run_id, force and number == 0, fanout, progress):
            reports[report.place] = _joined(reports.get(report.place), report)
    if any(report.rows for report in reports.values()):
        with connect(dsn, autocommit=True) as connection:
            settle(connection, server)
    return LoadReport(server, asked, tuple(reports.values()), unchanged, time.monotonic() - started)


def _plan(dsn: str, folder: Path, months: Collection[str], force: bool) -> Plan:
    sources = scan(folder)
    delivered = {source.name: source.modified_ns for source in sources}
    with connect(dsn) as connection:
        coverage.redeliver(connection, delivered)
        known = ledger.entries(connection, DATASET, list(delivered))
        moved = coverage.moved(connection, delivered)
    return planning.make(sources, known, months, moved=moved, force=force)


def _record_broken(dsn: str, plan: Plan, run_id: str) -> None:
    now = dt.datetime.now(dt.UTC)
    with connect(dsn) as connection:
        for broken in plan.broken:
            record_failure(connection, broken.source, broken.name, None, broken.error, run_id, now)


def _run(
    dsn: str,
    folder: Path,
    tasks: Sequence[Task],
    run_id: str,
    force: bool,
    fanout: Fanout,
    progress: Progress | None,
) -> Iterable[UnitReport]:
    """Load all tasks in batches; a lost database ends the whole, anything else only its unit."""
    done = 0
    worker = partial(load_batch, dsn, run_id, force)
    for batch in fanout.map(worker, _batches(tasks), folder):
        for report in _reports(batch):
            done += 1
            if progress:
                progress(done, len(tasks), report.place)
            yield report


def _reports(batch: Done[list[Task], list[UnitReport]]) -> list[UnitReport]:
    if isinstance(batch.error, MarketDataError):
        raise batch.error
    if batch.error is not None:
        return [_failed_report(task, str(batch.error)) for task in batch.item]
    return batch.answer or []


def _batches(tasks: Sequence[Task]) -> list[list[Task]]:
    """Neighbouring units of one source together, at most BATCH_BYTES of text."""
    batches: list[list[Task]] = []
    room = 0
    for task in tasks:
        size = task.unit.size if task.unit else 0
        if not batches or room < size or len(batches[-1]) >= BATCH_UNITS or batches[-1][-1].source != task.source:
            batches.append([])
            room = BATCH_BYTES
        batches[-1].append(task)
        room -= size
    return batches


def load_batch(dsn: str, run_id: str, force: bool, tasks: list[Task]) -> list[UnitReport]:
    """Load some units over one connection; a lost one is opened again for a few seconds, then StoreAway is raised."""
    opener = Opener()
    try:
        return each(dsn, tasks, lambda connection, task: _load_one(connection, opener, task, run_id, force))
    finally:
        opener.close()


def _load_one(connection: psycopg.Connection, opener: Opener, task: Task, run_id: str, force: bool) -> UnitReport:
    started = dt.datetime.now(dt.UTC)
    try:
        report = _try(connection, opener, task, run_id, force or task.reason == "moved")
    except (psycopg.Error, OSError) as error:
        if is_the_connections(error):
            raise
        message = f"{_place(task)}: {type(error).__name__}: {error}".strip()
        record_failure(connection, task.source, task.name, None, message, run_id, started)
        return _failed_report(task, message)
    return _failed_report(task, report.error) if report.result == "failed" else report


def _try(connection: psycopg.Connection, opener: Opener, task: Task, run_id: str, force: bool) -> UnitReport:
    """Load or take out one unit."""
    unit = task.unit
    if unit is None:
        return despite_races(lambda: remove(connection, task.source, task.name, run_id))
    return despite_races(lambda: load(connection, opener, unit, task.months, run_id, force))


def _failed_report(task: Task, error: str | None) -> UnitReport:
    return UnitReport(_place(task), "failed", months=tuple(sorted(task.touches)), error=error)


def _broken_report(broken: Broken) -> UnitReport:
    return UnitReport(_broken_place(broken), "failed", months=tuple(sorted(broken.months)), error=broken.error)


def _joined(before: UnitReport | None, report: UnitReport) -> UnitReport:
    """Two passes over one unit as one: the later end, the rows and months of both."""
    if before is None:
        return report
    months = tuple(sorted({*before.months, *report.months}))
    return UnitReport(report.place, report.result, before.rows + report.rows, report.rejected, months, report.error)


def _months_of(reports: Iterable[UnitReport]) -> set[str]:
    return {month for report in reports for month in report.months}


def _failed(reports: dict[str, UnitReport]) -> set[str]:
    return {place for place, report in reports.items() if report.result == "failed"}


def _place(task: Task) -> str:
    return task.name if task.name == task.source else f"{task.source}!{task.name}"


def _broken_place(broken: Broken) -> str:
    return broken.source if broken.name == WHOLE_FILE else f"{broken.source}!{broken.name}"
