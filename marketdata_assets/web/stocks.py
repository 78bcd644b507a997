"""Stocks that have minute bars: finding one, its candles, and which of its minutes are loaded."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from marketdata_assets.bars.codes import canonical
from marketdata_assets.months import months_from
from marketdata_assets.read.bar_sources import LOT
from marketdata_assets.read.bars import bars
from marketdata_assets.read.resampling import Frequency
from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.completeness import PLAUSIBLE, SESSION_MINUTES
from marketdata_assets.reference.records import Days
from marketdata_assets.stores.postgres import statement
from marketdata_assets.web.errors import UnknownCode

MOST_CANDLES = 2000
STEPS: tuple[tuple[int, Frequency], ...] = ((8, "1m"), (40, "5m"), (240, "30m"), (1100, "1d"))
"""For a span of at most so many days, the length of a candle; for a longer one it is a month."""
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


@dataclass(frozen=True)
class Month:
    """A month of a stock: its minutes, those expected on its trading days, and how many of these are missing.

    `none` are the trading days without a minute, as on a suspension, and `few` those with fewer than usual. Minutes on
    other days are loaded, and make up for no missing one.
    """

    month: str
    loaded: int
    expected: int
    missing: int
    none: tuple[int, ...] = ()
    few: tuple[int, ...] = ()


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


def found(stocks: Sequence[Stock], text: str) -> Iterator[Stock]:
    """Those whose code or name starts with the text, codes first; `sh600000` is 600000.SH."""
    wanted = text.strip().casefold()
    code = (canonical(wanted) or wanted).casefold()
    by_code = [stock for stock in stocks if stock.code.casefold().startswith(code)]
    yield from by_code
    known = {stock.code for stock in by_code}
    for stock in stocks:
        if stock.name and stock.name.casefold().startswith(wanted) and stock.code not in known:
            yield stock


def span(connection: psycopg.Connection, code: str) -> Days:
    """The first and last day of a stock that has minutes. Raises UnknownCode."""
    row = connection.execute(statement(__package__, "span.sql"), {"code": code}).fetchone()
    if row is None or row[0] is None:
        raise UnknownCode(code)
    return Days(*row)


def step(days: int) -> Frequency:
    """The length of a candle in a chart of so many days."""
    return next((freq for most, freq in STEPS if days <= most), "1mo")


def candles(connection: psycopg.Connection, code: str, days: Days) -> list[Candle]:
    """At most MOST_CANDLES candles of a stock, by time, whose length is that of `step`; the oldest ones are left out.

    Months are those of the K-line, and none where it is not made yet.
    """
    freq = step(len(days))
    if freq == "1mo":
        return _months(connection, code, days)
    after = days.last + dt.timedelta(days=1)
    frame = bars(code, days.first, after, freq=freq, connection=connection)
    return [(row[0].isoformat(), *row[1:]) for row in frame.tail(MOST_CANDLES).select(frame.columns[1], *VALUES).rows()]


def _months(connection: psycopg.Connection, code: str, days: Days) -> list[Candle]:
    if not exists(connection, "stock_monthly_kline"):
        return []
    values = {"code": code, "first": days.first.replace(day=1), "last": days.last, "most": MOST_CANDLES}
    rows = connection.execute(statement(__package__, "months.sql"), values).fetchall()
    return [(*row[:5], None if row[5] is None else row[5] * LOT) for row in rows]


def coverage(connection: psycopg.Connection, code: str) -> list[Month]:
    """Every month of a stock from its first to its last, also those without a row. Raises UnknownCode.

    Expected is what the stock usually has on a day, on each trading day of the calendar between its first and last one.
    """
    loaded = span(connection, code)
    rows = connection.execute(statement(__package__, "coverage.sql"), {"code": code}).fetchall()
    usual = _usual(minutes for _, _, days in rows for minutes in days or ())
    trading: dict[str, list[int]] = {}
    for day in ashares().trading_days(loaded):
        trading.setdefault(f"{day:%Y-%m}", []).append(day.day)
    have = {month: (count, days) for month, count, days in rows}
    return [
        _month(month, trading.get(month, []), usual, *have.get(month, (0, [])))
        for month in months_from(f"{loaded.first:%Y-%m}", f"{loaded.last:%Y-%m}")
    ]


def _usual(minutes: Iterator[int]) -> int:
    """What most whole days have; the minutes of the sessions where there is no whole day."""
    whole = Counter(one for one in minutes if one >= PLAUSIBLE * SESSION_MINUTES)
    return whole.most_common(1)[0][0] if whole else SESSION_MINUTES


def _month(month: str, trading: Sequence[int], usual: int, rows: int, days: Sequence[int] | None) -> Month:
    expected = usual * len(trading)
    if days is None:
        return Month(month, rows, expected, max(0, expected - rows))
    on = {day: days[day - 1] if day <= len(days) else 0 for day in trading}
    none = tuple(day for day, minutes in on.items() if minutes == 0)
    few = tuple(day for day, minutes in on.items() if 0 < minutes < usual)
    missing = sum(max(0, usual - minutes) for minutes in on.values())
    return Month(month, sum(days), expected, missing, none, few)


def as_rows(months: Sequence[Month]) -> list[dict[str, Any]]:
    """The months as JSON has them."""
    return [{**vars(month), "none": list(month.none), "few": list(month.few)} for month in months]
