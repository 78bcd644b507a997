"""Reads the days of the three sources, month by month, and writes what they disagree about to `reconciliation`.

What counts as a disagreement is in `compare`.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from marketdata_assets.reconciliation.compare import BARS, DAILY, DAYS, DISAGREEMENTS, TICKS, disagreements
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse, ledger, pgread
from marketdata_assets.stores.bookkeeping import Entry, Finding
from marketdata_assets.stores.clients import Client
from marketdata_assets.stores.postgres import connect, create_missing, objections, statement

TABLE = "reconciliation"
CODE_VERSION = "reconciliation-1"


@dataclass(frozen=True)
class MonthReport:
    """How many stock-days of a month at least two sources have, and the values on which they disagree."""

    month: str
    compared: int
    disagreements: int


@dataclass(frozen=True)
class Summary:
    """What was compared so far: months with days of two sources, months without, and what the sources disagree about.

    `newest` is the last day with a disagreement, `last_compared` when the last comparison ended (UTC).
    """

    compared: int
    empty: int
    disagreements: int
    symbols: int
    newest: dt.date | None
    last_compared: dt.datetime | None


def reconcile(
    dsn: str, client: "Client | None", months: Sequence[str], factors: pl.DataFrame, *, run_id: str
) -> list[MonthReport]:
    """Compare the sources in `months` and replace what was found there; each month is one commit, with its ledger.

    A source that does not exist says nothing. `factors` as of `reference.stored.adjust_factors`. Raises StoreAway.
    """
    reports = []
    with connect(dsn) as connection:
        ensure(connection)
        connection.commit()
        for month in months:
            started = dt.datetime.now(dt.UTC)
            report = _month(connection, client, month, factors)
            ledger.record(connection, _entry(report, run_id, started))
            connection.commit()
            reports.append(report)
    return reports


def ensure(connection: psycopg.Connection) -> None:
    """Create the table where it is missing."""
    with connection.transaction():
        ledger.ensure(connection)
        create_missing(connection, statement(__package__, "reconciliation.sql"))


def no_disagreements(connection: psycopg.Connection, months: Sequence[str]) -> Finding:
    """Object to every value of `months` on which two sources disagree."""
    ensure(connection)
    days = [Days.month(month).first for month in months]
    query = sql.SQL(
        "SELECT * FROM reconciliation WHERE date_trunc('month', date) = ANY(%(days)s) ORDER BY date, symbol, field"
    )
    return objections(connection, query, {"days": days}, len(months))


def summary(connection: psycopg.Connection) -> Summary:
    """What was compared so far, of the table and the ledger."""
    ensure(connection)
    row = connection.execute(statement(__package__, "summary.sql"), {"table": TABLE}).fetchone()
    assert row is not None
    return Summary(*row)


def _month(connection: psycopg.Connection, client: "Client | None", month: str, factors: pl.DataFrame) -> MonthReport:
    bars, daily = (_in_postgres(connection, name, month) for name in (BARS, DAILY))
    ticks = _in_clickhouse(client, month) if client else DAYS.to_frame()
    keys = ["symbol", "date"]
    sources = pl.concat([frame.select(keys).unique() for frame in (bars, ticks, daily)])
    compared = sources.group_by(keys).len().filter(pl.col("len") > 1).height
    found = disagreements(bars, ticks, daily, factors) if compared else DISAGREEMENTS.to_frame()
    connection.execute(
        "DELETE FROM reconciliation WHERE date >= %(first)s AND date <= %(last)s", vars(Days.month(month))
    )
    with connection.cursor().copy(f"COPY reconciliation ({', '.join(DISAGREEMENTS)}) FROM STDIN") as copy:
        for row in found.select(DISAGREEMENTS.names()).iter_rows():
            copy.write_row(row)
    return MonthReport(month, compared, found.height)


def _entry(report: MonthReport, run_id: str, started: dt.datetime) -> Entry:
    return Entry(
        dataset=TABLE,
        source=TABLE,
        unit=report.month,
        slices=[report.month],
        read=report.disagreements,
        rows=report.disagreements,
        outcome="ok" if report.compared else "empty",
        code_version=CODE_VERSION,
        run_id=run_id,
        started=started,
    )


def _in_postgres(connection: psycopg.Connection, table: str, month: str) -> pl.DataFrame:
    if connection.execute("SELECT to_regclass(%s)", [table]).fetchone() == (None,):
        return DAYS.to_frame()
    days = Days.month(month)
    name = "minute_bars" if table == BARS else table
    query = sql.SQL(statement(__package__, f"{name}.sql")).format(
        first=sql.Literal(days.first), last=sql.Literal(days.last)
    )
    blocks = [pl.read_csv(block, has_header=False, schema=DAYS) for block in pgread.copy_rows(connection, query)]
    code = pl.col("symbol").str.to_uppercase().str.replace(r"^(SH|SZ|BJ)(\d{6})$", "$2.$1")
    return pl.concat([DAYS.to_frame(), *blocks]).with_columns(code)


def _in_clickhouse(client: Client, month: str) -> pl.DataFrame:
    exists = "SELECT count() AS n FROM system.tables WHERE database = currentDatabase() AND name = {name:String}"
    if not clickhouse.read(client, exists, {"name": TICKS})["n"][0]:
        return DAYS.to_frame()
    bound: dict[str, Any] = vars(Days.month(month))
    found = clickhouse.read(client, statement(__package__, "tick_data.sql"), bound)
    return found.rename(dict(zip(found.columns, DAYS, strict=True))).cast(DAYS)
