"""Which minutes, days and stocks the minute bars lack, from the counts in `stock_1min_days`.

What counts as missing is in `reference.completeness`; here is what the bars should have: every trading day between the
first and the last loaded one, of each stock from its listing, or its own first bar, to its end.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import polars as pl
import psycopg

from marketdata_assets.bars import days
from marketdata_assets.bars.coverage import first_day
from marketdata_assets.bars.status import covered
from marketdata_assets.loading.reports import and_more
from marketdata_assets.reference.calendar import Calendar
from marketdata_assets.reference.completeness import LISTED, SESSION_MINUTES, Reference, day_shapes, finding, judge
from marketdata_assets.reference.records import Days
from marketdata_assets.stores.bookkeeping import Finding
from marketdata_assets.stores.postgres import statement

ONE_OF_THREE = 1 / 3
"""Of a year's days that must be alike: vendors change what they leave out, but not often."""

OUTSIDE = "daily bars, or another time zone; deliver 1-minute bars on the exchange's clock"
SELECTION = 0.05
"""Of the listed stocks; when more of them are in no file, the files are a selection."""


def bars_complete(connection: psycopg.Connection, months: Sequence[str], reference: Reference) -> Finding:
    """Object to missing minutes and days of `months`, as far as these are loaded, and to days without a session.

    Bars of days on which the exchange is closed are facts alone, since it may be the calendar that is wrong.
    """
    outside = _outside_session(connection, months)
    closed = _closed_days(connection, months, reference.calendar)
    stocks, unknown = expected_stocks(connection, reference)
    frames = list(judged(connection, months, reference, stocks))
    if not frames:
        return replace(outside, facts={**outside.facts, **closed})
    frame = pl.concat(frames)
    missing = partial(_missing_minutes, connection)
    found = finding(frame, reference.calendar, missing, [*reference.unknown, *unknown])
    return replace(
        found,
        count=found.count + outside.count,
        examples=(*outside.examples, *found.examples),
        facts={**found.facts, **outside.facts, **closed},
    )


def _outside_session(connection: psycopg.Connection, months: Sequence[str]) -> Finding:
    """Object to days of which there are bars, none of them in the session; an example for each code and file."""
    query = statement(__package__, "checks/outside_session.sql")
    rows = connection.execute(query, {"months": [first_day(month) for month in months]}).fetchall()
    by_file: dict[tuple[str, str], list[tuple[dt.date, int, str, str]]] = {}
    for code, day, bars, first, last, source in rows:
        by_file.setdefault((source, code), []).append((day, bars, first, last))
    examples: list[dict[str, Any]] = []
    for (source, code), found in list(by_file.items())[:LISTED]:
        clock = f"from {min(first for *_, first, _ in found)} to {max(last for *_, last in found)}"
        note = f"{sum(bars for _, bars, *_ in found)} bars {clock}, none from 09:30 to 15:00: {OUTSIDE}"
        own = {"file": source, "symbol": code, "first": str(found[0][0]), "last": str(found[-1][0])}
        examples.append({**own, "days": len(found), "note": note})
    facts = {"days_outside_session": len(rows)} if rows else {}
    return Finding(len(rows), tuple(examples), len(rows), facts=facts)


def _closed_days(connection: psycopg.Connection, months: Sequence[str], calendar: Calendar) -> dict[str, int | str]:
    """How many days there are bars of on which the exchange is known to be closed, and which these are."""
    days = [day for month in months for day in calendar.closed_days(Days.month(month))]
    rows = connection.execute(statement(__package__, "checks/closed_days.sql"), {"days": days}).fetchall()
    named = [f"{day} ({codes} codes, such as {code} of {source})" for day, codes, code, source in rows]
    return {"days_closed": len(rows), "closed_days_with_bars": and_more(named, LISTED)} if rows else {}


def judged(
    connection: psycopg.Connection, months: Sequence[str], reference: Reference, stocks: pl.DataFrame
) -> Iterator[pl.DataFrame]:
    """What every expected stock and day of `months` has and should have, year by year; see `reference.completeness`."""
    if stocks.is_empty():
        return
    loaded = Days(stocks["own_first"].min(), stocks["own_last"].max())  # type: ignore[arg-type]
    asked = covered(connection, months)
    for year in sorted({month[:4] for month in asked}):
        counts = reference.present_codes(days.read(connection, [f"{year}-{month:02d}" for month in range(1, 13)]))
        counts = counts.sort("have").unique(["symbol", "date"], keep="last")
        trading = [
            day
            for day in reference.calendar.trading_days(Days(dt.date(int(year), 1, 1), dt.date(int(year), 12, 31)))
            if f"{day:%Y-%m}" in asked and loaded.first <= day <= loaded.last
        ]
        if trading:
            yield judge(_cells(counts, stocks, trading), reference.suspensions, reference.calendar)


def _cells(counts: pl.DataFrame, stocks: pl.DataFrame, trading: Sequence[dt.date]) -> pl.DataFrame:
    """A cell for each stock and day on which it is expected to trade."""
    grid = stocks.join(pl.DataFrame({"date": list(trading)}, {"date": pl.Date()}), how="cross")
    grid = grid.filter(pl.col("date").is_between("first", "last"))
    cells = grid.join(_wanted(counts), on=["symbol", "date"], how="left")
    of_day = pl.col("want").drop_nulls().mode().first().over("date")
    return cells.with_columns(
        pl.col("have").fill_null(0),
        want=pl.when(pl.col("have").is_null()).then(of_day.fill_null(SESSION_MINUTES)).otherwise("want"),
        certain=pl.col("date") <= pl.col("trades_until"),
    )


def _wanted(counts: pl.DataFrame) -> pl.DataFrame:
    """The counts with what most days of the same file, exchange and month have, or else of the year."""
    counts = counts.with_columns(exchange=pl.col("symbol").str.slice(-2), month=pl.col("date").dt.month())
    place = ["source", "exchange"]
    monthly = day_shapes(counts, [*place, "month"]).filter("whole").drop("whole").rename({"want": "of_month"})
    yearly = day_shapes(counts, place, ONE_OF_THREE).drop("whole").rename({"want": "of_year"})
    both = counts.join(monthly, on=[*place, "month"], how="left").join(yearly, on=place, how="left")
    return both.select("symbol", "date", "have", want=pl.coalesce("of_month", "of_year"))


def expected_stocks(connection: psycopg.Connection, reference: Reference) -> tuple[pl.DataFrame, list[str]]:
    """From when to when each stock is expected, until when it is certain that it traded, and what is not expected.

    Stocks of an exchange of which no file has a bar are left out: the vendor does not deliver them. So are all stocks
    without any bar when they are many: then the files are a selection. A delisted stock does not trade in the days
    before, so what follows its own last bar is not certain.
    """
    stocks = _stocks(connection, reference)
    never = stocks["own_first"].null_count()
    if never <= SELECTION * stocks.height:
        return stocks, []
    return stocks.drop_nulls("own_first"), [f"whether files should have {never} listed stocks of which none has a bar"]


def _stocks(connection: psycopg.Connection, reference: Reference) -> pl.DataFrame:
    own = pl.DataFrame(
        connection.execute(
            "SELECT code, min(first)::date, max(last)::date FROM stock_1min_coverage GROUP BY code"
        ).fetchall(),
        {"symbol": pl.String(), "own_first": pl.Date(), "own_last": pl.Date()},
        orient="row",
    )
    own = reference.present_codes(own).group_by("symbol").agg(pl.col("own_first").min(), pl.col("own_last").max())
    listed = pl.DataFrame(
        [(one.symbol, one.listed, one.delisted) for one in reference.listings.values() if one.status != "vanished"],
        {"symbol": pl.String(), "listed": pl.Date(), "delisted": pl.Date()},
        orient="row",
    ).filter(pl.col("symbol").str.slice(-2).is_in(own["symbol"].str.slice(-2).unique().to_list()))
    both = own.join(listed.with_columns(is_listed=True), on="symbol", how="full", coalesce=True)
    forever = pl.lit(dt.date.max)
    ends = (
        pl.when(pl.col("is_listed"))
        .then((pl.col("delisted") - pl.duration(days=1)).fill_null(forever))
        .otherwise("own_last")
    )
    return both.select(
        "symbol",
        "own_first",
        "own_last",
        first=pl.coalesce("listed", "own_first"),
        last=ends,
        trades_until=pl.when(pl.col("delisted").is_null()).then(forever).otherwise(pl.coalesce("own_last", "delisted")),
    ).drop_nulls("first")


def _missing_minutes(connection: psycopg.Connection, code: str, day: dt.date) -> list[str]:
    """The minutes that the stock has on most other days of the month, and not on this one."""
    query = statement(__package__, "checks/missing_minutes.sql")
    return [minute for (minute,) in connection.execute(query, {"code": code, "day": day})]
