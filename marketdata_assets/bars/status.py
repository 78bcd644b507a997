"""What stands in the tables and what is missing, month by month: the picture behind `marketdata status` and repair.

Nothing is written here.
"""

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psycopg

from marketdata_assets.bars import coverage, schema
from marketdata_assets.bars import plan as planning
from marketdata_assets.bars.schema import DATASET
from marketdata_assets.bars.sources import scan
from marketdata_assets.stores import ledger

State = Literal["ok", "empty", "missing", "stale", "failed"]
BEHIND: tuple[State, ...] = ("missing", "stale", "failed")


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


def ensure_readable(connection: psycopg.Connection) -> None:
    """Create the tables when they are missing, so that an empty database reads as one with nothing in it."""
    schema.ensure(connection)


def month_states(connection: psycopg.Connection, folder: Path, months: Collection[str]) -> dict[str, State]:
    """Hold the files against the ledger: the state of each of `months`."""
    sources = scan(folder)
    moved = coverage.moved(connection, {source.name: source.modified_ns for source in sources})
    plan = planning.make(sources, ledger.entries(connection, DATASET), months, moved=moved)
    standing = by_month(connection, months)
    states: dict[str, State] = {month: "ok" if month in standing else "empty" for month in months}
    worse: dict[planning.Reason, State] = {"missing": "missing", "failed": "failed"}
    for task in plan.tasks:
        for month in task.touches & states.keys():
            state: State = worse.get(task.reason, "stale")
            states[month] = max(states[month], state, key=_RANK.__getitem__)
    for broken in plan.broken:
        for month in broken.months & states.keys():
            states[month] = "failed"
    return states


_RANK: dict[State, int] = {"empty": 0, "ok": 1, "missing": 2, "stale": 3, "failed": 4}


def by_month(connection: psycopg.Connection, months: Collection[str]) -> dict[str, MonthRows]:
    """Rows and codes that stand in each of `months` that has any, from the coverage record."""
    rows = connection.execute(
        """SELECT to_char(month, 'YYYY-MM'), sum(rows - superseded)::bigint, count(DISTINCT code)
           FROM stock_1min_coverage WHERE month = ANY(%s) GROUP BY 1""",
        [[dt.date.fromisoformat(f"{month}-01") for month in months]],
    )
    return {month: MonthRows(count, codes) for month, count, codes in rows}


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
    exists = connection.execute("SELECT to_regclass('stock_monthly_kline')").fetchone()
    if exists is None or exists[0] is None:
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
    """The K-line's state of each month, given that of the bars: missing where bars stand and no K-line does."""
    exists = connection.execute("SELECT to_regclass('stock_monthly_kline')").fetchone()
    have: set[str] = set()
    if exists and exists[0]:
        rows = connection.execute("SELECT DISTINCT to_char(month, 'YYYY-MM') FROM stock_monthly_kline")
        have = {month for (month,) in rows}
    standing = by_month(connection, list(bars))
    states: dict[str, State] = {}
    for month, state in bars.items():
        if month in standing and month not in have:
            states[month] = "missing"
        elif month in have and state in BEHIND:
            states[month] = "stale"
        else:
            states[month] = state
    return states
