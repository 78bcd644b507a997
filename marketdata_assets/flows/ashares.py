"""What Chinese exchanges' daily rules say about a row. For `call` in a flow of daily A-share files."""

import datetime as dt

import polars as pl

CHINEXT_WIDENED = dt.date(2020, 8, 24)
SPECIAL_TREATMENT = r"^S?\*?ST"


def flag_moves(
    frame: pl.DataFrame,
    column: str = "suspicious",
    tolerance: float = 0.02,
    pct_change: str = "pct_change",
    code: str = "code",
    name: str = "name",
    date: str = "trade_date",
) -> pl.DataFrame:
    """Set `column` where a day's change is beyond the board's price limit and `tolerance`; nothing is taken out.

    Limits: Beijing (bj) 30 %, STAR (sh68) 20 %, ChiNext (sz30) 20 % from 2020-08-24, special treatment (ST) on the
    other boards 5 %, else 10 %. The first row of a code has no limit. An unknown change is not marked.
    """
    beijing, star, chinext = (pl.col(code).str.starts_with(board) for board in ("bj", "sh68", "sz30"))
    special = pl.col(name).cast(pl.String).str.contains(SPECIAL_TREATMENT).fill_null(False)
    limit = (
        pl.when(beijing)
        .then(0.30)
        .when(star | (chinext & (pl.col(date) >= CHINEXT_WIDENED)))
        .then(0.20)
        .when(special & ~chinext)
        .then(0.05)
        .otherwise(0.10)
    )
    first = pl.col(date) == pl.col(date).min().over(code)
    beyond = pl.col(pct_change).cast(pl.Float64).abs() > limit + tolerance
    return frame.with_columns((beyond & ~first).fill_null(False).alias(column))
