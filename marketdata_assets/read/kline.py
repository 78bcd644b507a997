"""Daily, weekly and monthly K-lines of any exchange's symbols, from the first source that has a symbol.

How bars become longer and are adjusted is in `bars`. The table stock_monthly_kline is that of the minute files alone.
"""

from collections.abc import Sequence
from typing import Literal

import polars as pl

from marketdata_assets.read import bar_sources, columnar
from marketdata_assets.read.adjusting import Adjust
from marketdata_assets.read.bar_sources import Source
from marketdata_assets.read.bars import Query, reader
from marketdata_assets.read.bounds import Moment
from marketdata_assets.read.errors import NothingLoaded, UnknownName
from marketdata_assets.read.resampling import VALUES
from marketdata_assets.read.sources import ClickHouse, Postgres
from marketdata_assets.read.tables import symbols
from marketdata_assets.reference.exchanges import MAINLAND, exchange_of, is_known
from marketdata_assets.reference.records import Label

COLUMNS = pl.Schema(
    {
        "code": pl.String(),
        "date": pl.Date(),
        **dict.fromkeys((*VALUES, "factor"), pl.Float64()),
        "source": pl.String(),
    }
)


def kline(
    codes: str | Sequence[str],
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    freq: Literal["1d", "1w", "1mo"] = "1mo",
    adjust: Adjust = "none",
    label: Label = "end",
    sources: Sequence[Source] = ("ticks", "minutes", "daily"),
    columns: Sequence[str] | None = None,
    final: bool = False,
    clickhouse: ClickHouse | None = None,
    postgres: Postgres | None = None,
) -> pl.DataFrame:
    """Return K-lines of symbols of any exchange, by code and date, raw or adjusted, whole periods of its trading days.

    Columns: code, date (the first or last trading day of the period, see `label`), open, high, low, close, volume
    (shares), amount (the exchange's currency), factor (what the prices were multiplied with; null if the vendor
    adjusted them), source. A symbol is read from the first of `sources` that has any of it: `ticks` (tick_data, of any
    exchange), `minutes` (stock_1min_qfq, which its vendor adjusted forward, so it is read for adjust="forward" alone),
    `daily` (stock_daily). A source that is not named needs no server.

    `adjust`, `final` and bounds as in `bars`. Raises UnknownName for a symbol that none of the sources has, and what
    `bars` raises.

        kline(["600000.SH", "AAPL.US", "0700.HK"], "2024-01", "2025-01", freq="1mo")
    """
    wanted = columnar.known("kline", columns, COLUMNS.names())
    if freq not in ("1d", "1w", "1mo"):
        raise UnknownName("frequency of a K-line", freq, ("1d", "1w", "1mo"))
    left, frames = list(dict.fromkeys(symbols(codes) or ())), [COLUMNS.to_frame()]
    for source in sources:
        mainland = (code for code in left if is_known(code) and exchange_of(code) is MAINLAND)
        mine = left if source == "ticks" else [*mainland]
        if not mine or (source == "minutes" and adjust != "forward"):
            continue
        query = Query(source, freq, adjust, label)
        with reader(query, clickhouse if source == "ticks" else postgres, final=final) as opened:
            try:
                found = set(bar_sources.LOADED[source](opened.connection, mine))
            except NothingLoaded:
                found = set()
            parts = opened.frames(sorted(found), start, end) if found else ()
            frames += [part.with_columns(source=pl.lit(source)).select(COLUMNS.names()) for part in parts]
        left = [code for code in left if code not in found]
    if left:
        raise UnknownName(f"symbol with {' or '.join(sources)} (adjust={adjust!r})", left[0], ())
    return pl.concat(frames).sort("code", "date").select(wanted)
