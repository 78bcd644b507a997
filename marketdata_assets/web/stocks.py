"""Stocks that have minute bars: their list, candles of one, and which of its minutes are loaded."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl
import psycopg

from marketdata_assets.read.bar_sources import LOADED, LOT, Source
from marketdata_assets.read.bars import Query, bars
from marketdata_assets.reference.records import Days
from marketdata_assets.stores.postgres import statement
from marketdata_assets.web.coverage import Counted
from marketdata_assets.web.errors import Unknown

MOST_CANDLES = 2000
VALUES = ("open", "high", "low", "close", "volume")

Candle = tuple[str, float | None, float | None, float | None, float | None, float | None]
"""Label (a day or a minute, on the exchange's clock), open, high, low, close in yuan, volume in shares."""


@dataclass(frozen=True)
class Stock:
    """A code that has minutes, with its last known name, and its first and last month (`YYYY-MM`)."""

    code: str
    name: str | None
    first: str
    last: str


def all_stocks(connection: psycopg.Connection) -> list[Stock]:
    """Every stock that has minutes, by code. Raises NothingLoaded."""
    rows = connection.execute(statement(__package__, "stocks.sql")).fetchall()
    names: dict[str, str | None] = {}
    if exists(connection, "stock_monthly_kline"):
        codes = [code for code, _, _ in rows]
        names = dict(connection.execute(statement(__package__, "names.sql"), {"codes": codes}).fetchall())
    return [Stock(code, names.get(code), f"{first:%Y-%m}", f"{last:%Y-%m}") for code, first, last in rows]


def exists(connection: psycopg.Connection, table: str) -> bool:
    """Whether the database has the table or view."""
    return connection.execute("SELECT to_regclass(%s) IS NOT NULL", [table]).fetchone() == (True,)


def span(connection: Any, code: str, source: Source = "minutes") -> Days:
    """The first and last day of a stock that the source has. Raises Unknown."""
    if source != "minutes":
        if found := LOADED[source](connection, [code]).get(code):
            return found
        load = "ingest ticks" if source == "ticks" else "flows run --all"
        raise Unknown(f"no {source} of {code!r} are loaded. Choose other bars; or load them: marketdata {load}.")
    row = connection.execute(statement(__package__, "span.sql"), {"code": code}).fetchone()
    if row is None or row[0] is None:
        raise Unknown(
            f"no minute bars of {code!r} are loaded. Search for its code, such as 600000.SH, or its name; or"
            " load it: marketdata ingest bars."
        )
    return Days(*row)


def candles(
    connection: Any, code: str, days: Days, query: Query, factors: Callable[[], pl.DataFrame] | None = None
) -> list[Candle]:
    """At most MOST_CANDLES candles of a stock, by time, the newest ones.

    Months of minutes are those of the K-line, and none where it is not made yet. `factors` adjusts daily files.
    """
    if (query.source, query.freq) == ("minutes", "1mo"):
        return _months(connection, code, days)
    given = factors() if factors and query.source == "daily" and query.computed else None
    kind: Any = {"source": query.source, "freq": query.freq, "adjust": query.adjust, "factors": given}
    frame = bars(code, days.first, days.last + dt.timedelta(days=1), **kind, connection=connection)
    return [(row[0].isoformat(), *row[1:]) for row in frame.tail(MOST_CANDLES).select(frame.columns[1], *VALUES).rows()]


def _months(connection: psycopg.Connection, code: str, days: Days) -> list[Candle]:
    if not exists(connection, "stock_monthly_kline"):
        return []
    values = {"code": code, "first": days.first.replace(day=1), "last": days.last, "most": MOST_CANDLES}
    rows = connection.execute(statement(__package__, "months.sql"), values).fetchall()
    return [(*row[:5], None if row[5] is None else row[5] * LOT) for row in rows]


def counted(connection: psycopg.Connection, code: str) -> tuple[Days, dict[str, Counted]]:
    """The first and last day of a stock that has minutes, and what is loaded of its months. Raises Unknown."""
    loaded = span(connection, code)
    rows = connection.execute(statement(__package__, "coverage.sql"), {"code": code}).fetchall()
    return loaded, {month: (count, days) for month, count, days in rows}
