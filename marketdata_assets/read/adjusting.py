"""Prices adjusted for splits, dividends and rights issues by cumulative factors. Frames in, frames out; no database.

Forward-adjusted: price x factor(day) / factor(as-of day). Back-adjusted: price x factor(day). Volumes and amounts stay
as traded. https://tushare.pro/document/2?doc_id=28 describes the factors.
"""

import datetime as dt
from collections.abc import Collection
from typing import Literal

import polars as pl

from marketdata_assets.read.errors import MissingFactors, OddValue, UnknownColumn
from marketdata_assets.read.resampling import PRICES

Adjust = Literal["none", "forward", "back"]
FACTORS = pl.Schema({"symbol": pl.String(), "date": pl.Date(), "adj_factor": pl.Float64()})
TABLE = "adjust_factors"


def adjusted(
    bars: pl.DataFrame,
    factors: pl.DataFrame,
    adjust: Adjust,
    as_of: dt.date | None = None,
    known: Collection[dt.date] | None = None,
) -> pl.DataFrame:
    """The bars with adjusted prices, and the column `factor`: what each price was multiplied with.

    `bars` has code, and `time` or `date`, and is sorted by them. `factors` has a row for the first known day of a code
    and for each day from which another factor holds; rows after `as_of` are not used. `known` are the days of which all
    factors are known; None is all days from the first row of a code on. Raises MissingFactors for a bar of another day,
    and OddValue for a factor that is not above 0.
    """
    if adjust == "none":
        return bars.with_columns(factor=pl.lit(1.0))
    changes = _checked(factors)
    if as_of is not None:
        changes = changes.filter(pl.col("day") <= as_of)
    day = pl.col("date") if "date" in bars.columns else pl.col("time").dt.date()
    keys = [name for name in ("code", "time", "date") if name in bars.columns]
    by_day = bars.with_columns(day=day).sort("day", maintain_order=True)
    found = by_day.join_asof(changes, on="day", by="code", check_sortedness=False).sort(keys)
    unknown = pl.col("factor").is_null()
    if known is not None:
        unknown |= ~pl.col("day").is_in(list(known))
    missing = found.filter(unknown)
    if not missing.is_empty():
        first, last = missing.select(first=pl.col("day").min(), last=pl.col("day").max()).row(0)
        raise MissingFactors(missing["code"].unique().sort().to_list(), first, last)
    if adjust == "forward":
        latest = changes.group_by("code").agg(latest=pl.col("factor").last())
        found = found.join(latest, "code", "left", maintain_order="left")
        found = found.with_columns(factor=pl.col("factor") / pl.col("latest"))
    prices = [pl.col(name) * pl.col("factor") for name in PRICES if name in bars.columns]
    return found.with_columns(prices).select(*bars.columns, "factor")


def _checked(factors: pl.DataFrame) -> pl.DataFrame:
    """Code, day and factor, by day."""
    for name in FACTORS:
        if name not in factors.columns:
            raise UnknownColumn(TABLE, name, factors.columns)
    found = factors.select(code=pl.col("symbol").cast(pl.String), day=pl.col("date"), factor=pl.col("adj_factor"))
    odd = found.filter(pl.col("factor").is_null() | ~pl.col("factor").is_between(0, float("inf"), closed="none"))
    if not odd.is_empty():
        code, day, factor = odd.row(0)
        raise OddValue(TABLE, "adj_factor", f"{factor} of {code} on {day} is not a number above 0")
    return found.sort("day")
