"""The computed factors again, in polars and without ClickHouse, to compare the table with.

It shares the definitions in the docstring of `computed` with the query there, and nothing else.
"""

import datetime as dt
from collections.abc import Sequence

import polars as pl

from marketdata_assets.ticks.factor_sql import COMPUTED, DAYS_BEFORE, MIN_BARS, NAME, long

TOLERANCE = 1e-9
"""How far two ways to add floats may be apart, relative to the value or to 1."""


def recomputed(bars: pl.DataFrame, sessions: Sequence[dt.date], month: dt.date) -> pl.DataFrame:
    """The factors of days from `month` on, from `bars` (symbol, date, ts, close, volume, turnover) of `sessions`."""
    numbers = pl.DataFrame({"date": sessions, "session": range(len(sessions))}, {"date": pl.Date, "session": pl.Int64})
    priced = bars.filter(pl.col("close").is_not_null()).sort("symbol", "date", "ts")
    step = pl.col("close") / pl.col("close").shift(1).over("symbol", "date") - 1
    closes = (
        priced.with_columns(step=step)
        .group_by("symbol", "date")
        .agg(
            closes=pl.len(),
            last=pl.col("close").last(),
            lowest=pl.col("close").min(),
            deviation=pl.col("step").drop_nulls().std(ddof=1),
        )
    )
    priceless = (pl.col("volume") > 0) & pl.col("turnover").is_null()
    volumes = bars.group_by("symbol", "date").agg(
        shares=pl.when(pl.col("volume").is_null().any()).then(None).otherwise(pl.col("volume").sum()),
        money=pl.when(priceless.any()).then(None).otherwise(pl.col("turnover").filter(pl.col("volume") > 0).sum()),
    )
    days = volumes.join(closes, on=["symbol", "date"], how="left").join(numbers, on="date")
    rows = days.filter(pl.col("date") >= month, pl.col("closes") >= MIN_BARS)
    rows = rows.join(_before(days), on=["symbol", "session"], how="left").with_columns(
        daily_return=pl.when(pl.col("before") > 0, pl.col("last") > 0).then(pl.col("last") / pl.col("before") - 1),
        volatility=pl.when(pl.col("lowest") > 0).then(pl.col("deviation")),
        volume_ratio=pl.when(pl.col("mean_before") > 0).then(pl.col("shares") / pl.col("mean_before")),
        vwap_deviation=pl.when(pl.col("shares") > 0, pl.col("money") > 0, pl.col("last") > 0).then(
            pl.col("last") / (pl.col("money") / pl.col("shares")) - 1
        ),
    )
    return long(rows, NAME, COMPUTED)


def differences(existing: pl.DataFrame, expected: pl.DataFrame) -> pl.DataFrame:
    """Factors that are in one frame only, differ, or are duplicated: symbol, date, factor, value, expected."""
    keys = ["symbol", "date", "factor"]
    both = existing.select(*keys, "value").join(
        expected.select(*keys, expected="value"), on=keys, how="full", coalesce=True, validate="m:1"
    )
    far = (pl.col("value") - pl.col("expected")).abs() > TOLERANCE * pl.max_horizontal(pl.col("expected").abs(), 1.0)
    repeated = pl.struct(keys).is_duplicated()
    return both.filter(far | repeated | pl.col("value").is_null() | pl.col("expected").is_null()).sort(keys)


def _before(days: pl.DataFrame) -> pl.DataFrame:
    """For each symbol and session: the last close within the sessions before it, and their mean volume."""
    pieces = [
        days.select("symbol", "closes", "last", "shares", pl.col("session") + back, back=pl.lit(back))
        for back in range(1, DAYS_BEFORE + 1)
    ]
    earlier = pl.concat(pieces).sort("symbol", "session", "back")
    return earlier.group_by("symbol", "session").agg(
        before=pl.col("last").filter(pl.col("closes") > 0).first(),
        mean_before=pl.when(pl.col("shares").count() == DAYS_BEFORE).then(pl.col("shares").mean()),
    )
