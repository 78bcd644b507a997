"""Where two sources disagree about the day of a stock, beyond what units and rounding explain: functions on frames.

Sources have rows by symbol and date (see DAYS): prices in yuan, volume in shares, turnover in yuan.
"""

import polars as pl

PRICES = ("open", "high", "low", "close")
FIELDS = (*PRICES, "volume", "turnover")
DAYS = pl.Schema({"symbol": pl.String(), "date": pl.Date(), "bars": pl.Int64(), **dict.fromkeys(FIELDS, pl.Float64())})
DISAGREEMENTS = pl.Schema(
    {
        "date": pl.Date(),
        "symbol": pl.String(),
        "field": pl.String(),
        "source": pl.String(),
        "value": pl.Float64(),
        "other_source": pl.String(),
        "other_value": pl.Float64(),
        "tolerance": pl.Float64(),
    }
)
CENT = 0.01
HALF_LOT = 50
"""Shares by which rounding to lots of 100 changes the volume of a bar."""
SHARE = 0.001
"""Of volume and turnover, by which sources may differ: a few trades are corrected after the close."""
BARS, TICKS, DAILY = "stock_1min_qfq", "tick_data", "stock_daily"


def disagreements(bars: pl.DataFrame, ticks: pl.DataFrame, daily: pl.DataFrame, factors: pl.DataFrame) -> pl.DataFrame:
    """What minute bars and ticks say differently from the daily files, or, where these have nothing, from each other.

    The bars are adjusted forward; `factors` (symbol, date, adj_factor) rebase them. Where these are unknown, or a price
    is not positive, prices of bars are not compared. See DISAGREEMENTS; ordered.
    """
    ticks, daily = _tolerant(ticks), _tolerant(daily)
    bars_alone, ticks_alone = (frame.join(daily, on=["symbol", "date"], how="anti") for frame in (bars, ticks))
    found = [
        compare(rebased(bars, daily, factors), daily, BARS, DAILY),
        compare(ticks, daily, TICKS, DAILY),
        compare(rebased(bars_alone, ticks_alone, factors), ticks_alone, BARS, TICKS),
    ]
    return pl.concat(found).sort("date", "symbol", "field", "source", "other_source")


def rebased(bars: pl.DataFrame, other: pl.DataFrame, factors: pl.DataFrame) -> pl.DataFrame:
    """The bars as traded: price = adjusted price * scale / factor, null where that is unknown.

    The scale, the factor on the day of delivery, is the median of what the closes of the month say; their rounding
    widens the tolerance.
    """
    dated = bars.sort("date").join_asof(factors.sort("date"), on="date", by="symbol", check_sortedness=False)
    closes = other.select("symbol", "date", traded="close")
    ratio = pl.col("traded") * pl.col("adj_factor") / pl.col("close")
    dated = dated.join(closes, on=["symbol", "date"], how="left").with_columns(ratio=ratio)
    multiplier = pl.when(pl.col("low") > 0).then(pl.col("ratio").median().over("symbol") / pl.col("adj_factor"))
    return dated.with_columns(multiplier=multiplier).select(
        "symbol",
        "date",
        *(pl.col(name) * pl.col("multiplier") for name in PRICES),
        "volume",
        "turnover",
        present=pl.lit(value=True),
        price_tolerance=(1 + 2 * pl.col("multiplier")) * CENT / 2,
        volume_tolerance=pl.col("bars") * HALF_LOT + pl.col("volume") * SHARE / 2,
        turnover_tolerance=pl.col("bars") + pl.col("turnover") * SHARE / 2,
    )


def compare(left: pl.DataFrame, right: pl.DataFrame, source: str, other_source: str) -> pl.DataFrame:
    """The fields on which two sources differ by more than both tolerances; see DISAGREEMENTS.

    A day with volume that only one of them has is a disagreement about the volume, where both have the symbol on days
    before and after it.
    """
    keys = ["symbol", "date"]
    both = left.join(right, on=keys, how="full", coalesce=True, suffix="_other")
    for frame in (left, right):
        span = frame.group_by("symbol").agg(first=pl.col("date").min(), last=pl.col("date").max())
        both = both.join(span, on="symbol").filter(pl.col("date").is_between("first", "last")).drop("first", "last")
    found = []
    for field in FIELDS:
        value, other = pl.col(field), pl.col(f"{field}_other")
        allowed = "price" if field in PRICES else field
        tolerance = pl.col(f"{allowed}_tolerance") + pl.col(f"{allowed}_tolerance_other")
        wrong = ((value - other).abs() > tolerance).fill_null(False)
        if field == "volume":
            wrong |= pl.col("present_other").is_null() & (value > 0).fill_null(False)
            wrong |= pl.col("present").is_null() & (other > 0).fill_null(False)
        rows = both.filter(wrong)
        found.append(rows.select(
            "date", "symbol", field=pl.lit(field), source=pl.lit(source), value=value,
            other_source=pl.lit(other_source), other_value=other, tolerance=tolerance.fill_null(0.0),
        ))  # fmt: skip
    return pl.concat(found)


def _tolerant(days: pl.DataFrame) -> pl.DataFrame:
    """Days of a source that has prices to the cent and volume in shares, with its tolerances."""
    return days.select(
        "symbol",
        "date",
        *FIELDS,
        present=pl.lit(value=True),
        price_tolerance=pl.lit(CENT / 2),
        volume_tolerance=HALF_LOT + pl.col("volume") * SHARE / 2,
        turnover_tolerance=1 + pl.col("turnover") * SHARE / 2,
    )
