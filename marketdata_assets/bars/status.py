"""What is loaded and what is missing, month by month: the picture behind `marketdata status` and repair.

Nothing is written here.
"""

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from marketdata_assets.bars import changes, coverage
from marketdata_assets.bars import plan as planning
from marketdata_assets.bars.layout import scan, year_of
from marketdata_assets.bars.schema import DATASET
from marketdata_assets.loading.states import State, worst
from marketdata_assets.reference.codes import mentioned
from marketdata_assets.stores import ledger

_STATES: dict[planning.Reason, State] = {"missing": State.MISSING, "failed": State.FAILED, "unusable": State.FAILED}


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


def month_states(connection: psycopg.Connection, folder: Path, months: Collection[str]) -> dict[str, State]:
    """Compare the files with the ledger: the state of each of `months`; `unsupported` where no file has the month."""
    files = scan(folder)
    moved = coverage.moved(connection, {file.name: file.modified_ns for file in files})
    plan = planning.make(files, ledger.loaded(connection, DATASET), months, moved=moved)
    loaded, known = _months_loaded(connection, months), covered(connection, months)
    states = {month: State.OK if month in loaded else State.EMPTY for month in months}
    states |= dict.fromkeys({*months} - known, State.UNSUPPORTED)
    for task in plan.tasks:
        for month in task.touches & states.keys():
            states[month] = worst(states[month], _STATES.get(task.reason, State.STALE))
    return states


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
    """K-lines of each of `months` that has any."""
    rows = connection.execute(
        "SELECT to_char(month, 'YYYY-MM'), count(*) FROM stock_monthly_kline WHERE month = ANY(%s) GROUP BY month",
        [[dt.datetime.fromisoformat(f"{month}-01") for month in months]],
    )
    return dict(rows.fetchall())


def kline_states(connection: psycopg.Connection, bars: dict[str, State]) -> dict[str, State]:
    """The K-line's state of each month, given that of the bars: stale where the K-line or its bars are outdated."""
    due = kline_due(connection, bars)
    have = kline_rows_by_month(connection, list(bars)) if _kline_exists(connection) else {}
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
    have = kline_rows_by_month(connection, months) if _kline_exists(connection) else {}
    return changes.stale(connection).keys() & set(months) | _months_loaded(connection, months) - have.keys()


def stale_stocks(connection: psycopg.Connection, months: Collection[str]) -> dict[str, list[str]]:
    """By month, the stocks whose newest file failed to load, so that the month has their earlier rows or none.

    A stock is named by its code, or by its file where the member's name has no code.
    """
    failed = connection.execute(
        "SELECT source, unit, slices FROM marketdata_ledger WHERE dataset = %s AND outcome = 'failed' ORDER BY 1, 2",
        [DATASET],
    )
    found: dict[str, list[str]] = {}
    for source, unit, loaded in failed:
        year = year_of(source) or year_of(unit)
        for month in months:
            if month in loaded or month.startswith(f"{year}-"):
                found.setdefault(month, []).append(mentioned(unit) or source)
    return found


def _kline_exists(connection: psycopg.Connection) -> bool:
    return connection.execute("SELECT to_regclass('stock_monthly_kline') IS NOT NULL").fetchone() == (True,)
