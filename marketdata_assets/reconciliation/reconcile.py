"""Reads the days of the three sources, month by month, and writes what they disagree about to `reconciliation`.

What counts as a disagreement is in `compare`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import psycopg
from psycopg import sql

from marketdata_assets.reconciliation.compare import BARS, DAILY, DAYS, DISAGREEMENTS, TICKS, disagreements
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse, ledger, pgread
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_assets.stores.postgres import connect, objections, statement

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

TABLE = "reconciliation"


@dataclass(frozen=True)
class MonthReport:
    """How many stock-days of a month at least two sources have, and the values on which they disagree."""

    month: str
    compared: int
    disagreements: int


def reconcile(dsn: str, client: "Client | None", months: Sequence[str], factors: pl.DataFrame) -> list[MonthReport]:
    """Compare the sources in `months` and replace what was found there; each month is one commit.

    A source that does not exist says nothing. `factors` as of `reference.stored.adjust_factors`. Raises StoreAway.
    """
    reports = []
    with connect(dsn) as connection:
        ensure(connection)
        connection.commit()
        for month in months:
            reports.append(_month(connection, client, month, factors))
            connection.commit()
    return reports


def ensure(connection: psycopg.Connection) -> None:
    """Create the table where it is missing."""
    with connection.transaction():
        ledger.ensure(connection)
        connection.execute(statement(__package__, "reconciliation.sql"))


def no_disagreements(connection: psycopg.Connection, months: Sequence[str]) -> Finding:
    """Object to every value of `months` on which two sources disagree."""
    ensure(connection)
    days = [Days.month(month).first for month in months]
    query = sql.SQL(
        "SELECT * FROM reconciliation WHERE date_trunc('month', date) = ANY(%(days)s) ORDER BY date, symbol, field"
    )
    return objections(connection, query, {"days": days}, len(months))


def rows_by_month(connection: psycopg.Connection) -> dict[str, int]:
    """How many values of each month sources disagree about."""
    ensure(connection)
    rows = connection.execute("SELECT to_char(date, 'YYYY-MM'), count(*) FROM reconciliation GROUP BY 1")
    return dict(rows.fetchall())


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


def _in_clickhouse(client: "Client", month: str) -> pl.DataFrame:
    exists = "SELECT count() AS n FROM system.tables WHERE database = currentDatabase() AND name = {name:String}"
    if not clickhouse.read(client, exists, {"name": TICKS})["n"][0]:
        return DAYS.to_frame()
    bound: dict[str, Any] = vars(Days.month(month))
    found = clickhouse.read(client, statement(__package__, "tick_data.sql"), bound)
    return found.rename(dict(zip(found.columns, DAYS, strict=True))).cast(DAYS)
