"""Bars of longer periods from minute bars and daily bars. Frames in, frames out; no database.

Periods respect the sessions: they begin with a session, and the last one of a session ends with it. A missing value is
skipped; a period in which a column has no value has none there.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl

from marketdata_assets.reference.calendar import SESSIONS, TradingDays
from marketdata_assets.reference.exchanges import Sessions
from marketdata_assets.reference.records import Days, Label

Frequency = Literal["1m", "5m", "15m", "30m", "60m", "1d", "1w", "1mo"]
MINUTES: Mapping[str, int] = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "60m": 60}
"""The frequencies within a day."""
PRICES = ("open", "high", "low", "close")
VALUES = (*PRICES, "volume", "amount")


def of_minutes(bars: pl.DataFrame, freq: Frequency, label: Label, hours: Sessions = SESSIONS) -> pl.DataFrame:
    """Bars of `freq` from minute bars in order of time: by code and `time`, or by code and `date` for days and longer.

    `bars` has code, time (the exchange's clock), label (of the row: the end of its minute that `time` is) and any of
    VALUES. `hours` are those of its days. A row outside the sessions counts to the minute before it; an auction before
    the opening to the first minute.
    """
    keys: dict[str, pl.Expr] = {"date": pl.col("time").dt.date()}
    if freq in MINUTES:
        keys["period"] = _start_of_period(hours, MINUTES[freq])
    grouped = bars.group_by("code", *(key.alias(name) for name, key in keys.items()), maintain_order=True)
    found = grouped.agg(_aggregates(bars)).sort("code", *keys)
    if freq not in MINUTES:
        return found
    clock = pl.col("period") if label == "start" else _end_of_period(hours, MINUTES[freq])
    time = pl.col("date").cast(pl.Datetime("us")) + pl.duration(minutes=clock)
    return found.select("code", time.alias("time"), pl.exclude("code", "date", "period"))


def spans(hours: Sessions) -> list[tuple[int, int]]:
    """The sessions as minutes from midnight: the first, and how many."""
    return [(start.hour * 60 + start.minute, minutes) for start, minutes in hours]


def of_days(bars: pl.DataFrame, freq: Frequency, label: Label, trading_days: TradingDays) -> pl.DataFrame:
    """Weeks or months from daily bars in order of date; `date` is the first or last trading day of the period.

    Trading days are those of the calendar and those that have bars.
    """
    every: Literal["1w", "1mo"] = "1w" if freq == "1w" else "1mo"
    by_period = bars.group_by("code", pl.col("date").dt.truncate(every).alias("period"), maintain_order=True)
    found = by_period.agg(_aggregates(bars))
    traded = bars.group_by(pl.col("date").dt.truncate(every).alias("period")).agg(
        first=pl.col("date").min(), last=pl.col("date").max()
    )
    names: dict[dt.date, dt.date] = {}
    for period, first, last in traded.iter_rows():
        days = trading_days(whole_period(period, freq))
        names[period] = min([first, *days[:1]]) if label == "start" else max([last, *days[-1:]])
    date = pl.col("period").replace_strict(names, return_dtype=pl.Date)
    return found.with_columns(date.alias("date")).select("code", "date", pl.exclude("code", "date", "period"))


def whole_period(day: dt.date, freq: Frequency) -> Days:
    """The days of the period that `day` is in."""
    if freq == "1w":
        monday = day - dt.timedelta(days=day.weekday())
        return Days(monday, monday + dt.timedelta(days=6))
    return Days.month(f"{day:%Y-%m}") if freq == "1mo" else Days(day, day)


def times_of_day(freq: Frequency, label: Label) -> Sequence[dt.time]:
    """The labels of all bars of a day of A-shares, in order; midnight for days and longer."""
    if freq not in MINUTES:
        return [dt.time()]
    step = MINUTES[freq]
    offset = 0 if label == "start" else step
    minutes = [start + offset + n for start, length in spans(SESSIONS) for n in range(0, length, step)]
    return [dt.time(*divmod(minute, 60)) for minute in minutes]


def _start_of_period(hours: Sessions, step: int) -> pl.Expr:
    """The first minute of the period of a row, from midnight."""
    time = pl.col("time").dt
    second = time.hour().cast(pl.Int32) * 3600 + time.minute().cast(pl.Int32) * 60 + time.second()
    end = pl.when(pl.col("label") == "start").then(second // 60 + 1).otherwise((second + 59) // 60)
    periods = [(start, start + ((end - start).clip(1, length) - 1) // step * step) for start, length in spans(hours)]
    found = periods[0][1]
    for start, period in periods[1:]:
        found = pl.when(end < start).then(found).otherwise(period)
    return found


def _end_of_period(hours: Sessions, step: int) -> pl.Expr:
    """The last minute of a `period`, from midnight; the last one of a session may be shorter than the others."""
    ends = [(start, pl.min_horizontal(pl.col("period") + step, start + length)) for start, length in spans(hours)]
    found = ends[0][1]
    for start, end in ends[1:]:
        found = pl.when(pl.col("period") < start).then(found).otherwise(end)
    return found


def _aggregates(bars: pl.DataFrame) -> list[pl.Expr]:
    found = []
    for name in (name for name in (*VALUES, "factor") if name in bars.columns):
        column = pl.col(name)
        present = column.drop_nulls() if bars[name].null_count() else column
        if name in ("volume", "amount"):
            found.append(pl.when(column.count() > 0).then(column.sum()).alias(name))
        else:
            how = {"open": present.first(), "high": column.max(), "low": column.min()}
            found.append(how.get(name, present.last()).alias(name))
    return found
