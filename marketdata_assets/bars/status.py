"""What is loaded and what is missing, by month and by file: the picture behind `marketdata status`, sensor and repair.

Nothing is written here.
"""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from marketdata_assets.bars import changes, coverage, minutes
from marketdata_assets.bars import plan as planning
from marketdata_assets.bars.layout import why_not_taken, year_of
from marketdata_assets.bars.plan import Task
from marketdata_assets.bars.profiles import SHIPPED, Shapes
from marketdata_assets.bars.schema import DATASET
from marketdata_assets.loading.file_ledger import FORGOTTEN, NAMED, FileEntry, FileState, Recorded, state_of
from marketdata_assets.loading.files import Delivered, everything
from marketdata_assets.loading.reports import and_more
from marketdata_assets.loading.states import State, worst
from marketdata_assets.reference.codes import mentioned
from marketdata_assets.stores import ledger
from marketdata_assets.stores.bookkeeping import Entry
from marketdata_assets.stores.ledger import Loaded
from marketdata_assets.stores.postgres import statement

_STATES: dict[planning.Reason, State] = {"missing": State.MISSING, "failed": State.FAILED, "unusable": State.FAILED}
_DUE: dict[planning.Reason, str] = {
    "missing": "never loaded, or not in all its months",
    "failed": "the load failed, and the file is another now",
    "unusable": "it cannot be read, as a load will say",
    "vanished": "members that are loaded are no longer in it",
    "moved": "older or newer than others now",
}


@dataclass(frozen=True)
class Summary:
    """One table at a glance; `newest` is its latest minute or month, on the exchange's wall clock."""

    rows: int
    codes: int
    newest: dt.datetime | None
    quarantined: int


@dataclass(frozen=True)
class MonthRows:
    """Rows and codes of one month."""

    rows: int
    codes: int


@dataclass(frozen=True)
class Survey:
    """The folder compared with the ledger: each month's state, what a load would do, and each entry of the folder.

    `files` have no counts of rows; see `with_counts`.
    """

    months: dict[str, State]
    tasks: tuple[Task, ...]
    files: tuple[FileEntry, ...]

    @property
    def undated(self) -> set[str]:
        """Files that are due or failed in no month that is known, so that a run of any month tries them."""
        dated = {task.source for task in self.tasks if task.touches}
        return {task.source for task in self.tasks if not task.touches} - dated

    def due(self, months: Collection[str]) -> bool:
        """Whether a run of `months` has anything to load."""
        return bool(self.undated) or any(not task.touches.isdisjoint(months) for task in self.tasks)


def survey(connection: psycopg.Connection, folder: Path, months: Collection[str], shapes: Shapes = SHIPPED) -> Survey:
    """Compare the folder with the ledger; `months` are all that may be loaded."""
    found = everything(folder)
    files = [one for one in found if not why_not_taken(one)]
    moved = coverage.moved(connection, {file.name: file.modified_ns for file in files if not file.problem})
    known = ledger.loaded(connection, DATASET)
    plan = planning.make(files, known, months, moved=moved, shapes=shapes)
    loaded, provided = _months_loaded(connection, months), covered(connection, months)
    states = {month: State.OK if month in loaded else State.EMPTY for month in months}
    states |= dict.fromkeys({*months} - provided, State.UNSUPPORTED)
    for task in plan.tasks:
        for month in task.touches & states.keys():
            states[month] = worst(states[month], _STATES.get(task.reason, State.STALE))
    failures = {(one.source, one.unit): one for one in ledger.entries(connection, DATASET, outcome="failed")}
    return Survey(states, plan.tasks, tuple(_entries(found, plan.tasks, known, failures, months)))


def file_entries(
    connection: psycopg.Connection, folder: Path, months: Collection[str], shapes: Shapes = SHIPPED
) -> list[FileEntry]:
    """The state of every entry of the folder, and what became of the rows of each file."""
    return with_counts(connection, survey(connection, folder, months, shapes).files)


def with_counts(connection: psycopg.Connection, files: Iterable[FileEntry]) -> list[FileEntry]:
    """The files with the counts of their rows; the reason of a loaded one is what there is to say of it."""
    known = loaded_files(connection)
    said = defaultdict[str, list[str]](list)
    for file, text in connection.execute(statement(__package__, "accounts/remarks.sql"), {"dataset": DATASET}):
        said[file].append(text)
    found = ((one, known.get(one.file, one)) for one in files)
    return [
        replace(counted, state=one.state, reason=one.reason or and_more(said[one.file], NAMED, "; "))
        for one, counted in found
    ]


def loaded_files(connection: psycopg.Connection) -> dict[str, FileEntry]:
    """Every file on record, with the counts of its rows in the months that are loaded."""
    rows = connection.execute(statement(__package__, "accounts/files.sql"), {"dataset": DATASET}).fetchall()
    replaced = _replaced(connection)
    return {
        file: FileEntry(file, FileState.LOADED, "", read, loaded, rejected, duplicates, replaced.get(file, {}))
        for file, read, loaded, rejected, duplicates in rows
    }


def _replaced(connection: psycopg.Connection) -> dict[str, Counter[str]]:
    """By older file, how many of its rows are now those of which newer file.

    Where a single newer file has minutes between those of the older one, it has replaced them all; where several have,
    the minutes decide.
    """
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for older, newer, rows in connection.execute(statement(__package__, "accounts/replaced.sql")):
        found[older][newer] += rows
    several = connection.execute(statement(__package__, "accounts/several.sql"))
    for (older, packed, *_), newest_first in groupby(several, key=lambda row: row[:5]):
        left = minutes.unpack(packed)
        for *_, newer, own in newest_first:
            taken = np.isin(left, minutes.unpack(own))
            found[older][newer] += int(taken.sum())
            left = left[~taken]
    return {older: +counts for older, counts in found.items()}


def _entries(
    found: Iterable[Delivered],
    tasks: Iterable[Task],
    known: Iterable[Loaded],
    failures: Mapping[tuple[str, str], Entry],
    months: Collection[str],
) -> Iterator[FileEntry]:
    """The state of each entry of the folder: what a load would do about its units, or else what is loaded of them."""
    todo: dict[str, list[Task]] = {}
    for task in tasks:
        todo.setdefault(task.source, []).append(task)
    loaded: dict[str, bool] = {}
    forgotten = set[str]()
    for one in known:
        if one.outcome == "forgotten":
            forgotten.add(one.source)
        if one.outcome in ("ok", "empty"):
            loaded[one.source] = loaded.get(one.source, False) or one.outcome == "ok"
    for entry in found:
        own = todo.get(entry.name, ())
        failed = [failures[task.source, task.name].error or "" for task in own if _tried(task, failures)]
        state, reason = FileState.EMPTY, ""
        if failed:
            state, reason = FileState.FAILED, and_more(failed, 1, "; ")
        elif entry.name in todo:
            state, reason = FileState.DUE, _DUE.get(todo[entry.name][0].reason, "changed since it was loaded")
        elif entry.name in loaded:
            state = FileState.LOADED if loaded[entry.name] else FileState.EMPTY
        elif entry.name in forgotten:
            state, reason = FileState.NOT_TAKEN, FORGOTTEN.format(domain="bars", file=entry.name)
        else:
            span = f"{min(months)} to {max(months)}" if months else "no month"
            state, reason = FileState.NOT_TAKEN, f"it has no month of those that are loaded, {span}"
        recorded = Recorded(entry.identity, FileEntry(entry.name, state, reason))
        yield state_of(entry, recorded, not_taken=why_not_taken(entry))


def _tried(task: Task, failures: Mapping[tuple[str, str], Entry]) -> bool:
    """Whether the last attempt to load just these bytes has failed."""
    attempt = failures.get((task.source, task.name))
    return attempt is not None and task.unit is not None and attempt.attempted_hash == (task.unit.checksum or None)


def by_month(connection: psycopg.Connection, months: Collection[str]) -> dict[str, MonthRows]:
    """Rows and codes loaded in each of `months` that has any, from the coverage record."""
    rows = connection.execute(
        """SELECT to_char(month, 'YYYY-MM'), sum(rows - superseded)::bigint, count(DISTINCT code)
           FROM stock_1min_coverage WHERE month = ANY(%s) GROUP BY 1""",
        [[coverage.first_day(month) for month in months]],
    )
    return {month: MonthRows(count, codes) for month, count, codes in rows}


def covered(connection: psycopg.Connection, months: Collection[str]) -> set[str]:
    """Those of `months` that have rows, or that a file was read for and has no row of; of others nothing is known."""
    rows = connection.execute(
        """SELECT DISTINCT month FROM unnest(%(months)s::text[]) AS month,
                  (SELECT DISTINCT slices FROM marketdata_ledger
                   WHERE dataset = %(dataset)s AND outcome <> 'removed') AS read
           WHERE month = ANY(read.slices)""",
        {"months": [*months], "dataset": DATASET},
    )
    return _months_loaded(connection, months) | {month for (month,) in rows}


def _months_loaded(connection: psycopg.Connection, months: Collection[str]) -> set[str]:
    """Those of `months` that have anything on record, without counting it."""
    rows = connection.execute(
        """SELECT to_char(month, 'YYYY-MM') FROM unnest(%s::date[]) AS wanted (month)
           WHERE EXISTS (SELECT FROM stock_1min_coverage c WHERE c.month = wanted.month)""",
        [[coverage.first_day(month) for month in months]],
    )
    return {month for (month,) in rows}


def bars_summary(connection: psycopg.Connection) -> Summary:
    """The minute bars at a glance, from the coverage record."""
    row: Any = connection.execute(
        """SELECT coalesce(sum(rows - superseded), 0)::bigint, count(DISTINCT code), max(last),
                  (SELECT count(*) FROM marketdata_quarantine WHERE dataset = %s)
           FROM stock_1min_coverage""",
        [DATASET],
    ).fetchone()
    return Summary(*row)


def kline_summary(connection: psycopg.Connection) -> Summary:
    """The monthly K-line at a glance; all zero when there is none yet."""
    if not _kline_exists(connection):
        return Summary(0, 0, None, 0)
    row: Any = connection.execute(
        "SELECT count(*), count(DISTINCT code), max(month), 0 FROM stock_monthly_kline"
    ).fetchone()
    return Summary(*row)


def kline_rows_by_month(connection: psycopg.Connection, months: Collection[str]) -> dict[str, int]:
    """K-lines of each of `months` that has any; none when there is no K-line yet."""
    if not _kline_exists(connection):
        return {}
    rows = connection.execute(
        "SELECT to_char(month, 'YYYY-MM'), count(*) FROM stock_monthly_kline WHERE month = ANY(%s) GROUP BY month",
        [[dt.datetime.fromisoformat(f"{month}-01") for month in months]],
    )
    return dict(rows.fetchall())


def kline_states(connection: psycopg.Connection, bars: dict[str, State]) -> dict[str, State]:
    """The K-line's state of each month, given that of the bars: stale where the K-line or its bars are outdated."""
    due = kline_due(connection, bars)
    have = kline_rows_by_month(connection, list(bars))
    states: dict[str, State] = {}
    for month, state in bars.items():
        if month in due:
            states[month] = State.STALE if month in have else State.MISSING
        elif month in have and state.outdated:
            states[month] = State.STALE
        else:
            states[month] = state
    return states


def kline_due(connection: psycopg.Connection, months: Collection[str]) -> set[str]:
    """Those of `months` whose minutes changed after the K-line was refreshed, or that have minutes and no K-line."""
    have = kline_rows_by_month(connection, months)
    return changes.stale(connection).keys() & set(months) | _months_loaded(connection, months) - have.keys()


def stale_stocks(connection: psycopg.Connection, months: Collection[str]) -> dict[str, list[str]]:
    """By month, the stocks whose newest file failed to load, so that the month has their earlier rows or none.

    A stock is named by its code, or by its file where the member's name has no code.
    """
    found: dict[str, list[str]] = {}
    for failed in ledger.entries(connection, DATASET, outcome="failed"):
        for month in months:
            if is_of_month(failed.source, failed.unit, failed.slices, month):
                found.setdefault(month, []).append(mentioned(failed.unit) or failed.source)
    return found


def is_of_month(source: str, unit: str, slices: Collection[str], month: str) -> bool:
    """Whether a member has rows of a month, or may have them by the year in its name or its file's."""
    return month in slices or month.startswith(f"{year_of(source) or year_of(unit)}-")


def _kline_exists(connection: psycopg.Connection) -> bool:
    return connection.execute("SELECT to_regclass('stock_monthly_kline') IS NOT NULL").fetchone() == (True,)
