"""The factors that are computed from minute bars: what they are, and the query that computes them.

All are of one symbol and one trading day that has at least MIN_BARS bars with a close; a factor that cannot be computed
is absent, never 0. Prices are as traded; multiply them by adj_factor for returns across dividends.

daily_return     last close / last close of the trading day before that has one - 1. It is searched in the
                 DAYS_BEFORE trading days before. Both must be above 0.
volatility       sample standard deviation of the returns from one bar's close to the next within the day, whose closes
                 must all be above 0. It is per minute, not annualized.
volume_ratio     shares of the day / mean shares of the DAYS_BEFORE trading days before: volume per minute against
                 volume per minute, since all days have as many minutes. All of these days must have bars, and all of
                 their bars a volume.
vwap_deviation   last close / (sum of turnover / sum of volume) - 1. Every bar must have a volume, and every bar with
                 shares a turnover.
"""

import datetime as dt
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

import polars as pl

from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks.calendar import TradingDays
from marketdata_assets.ticks.records import Days
from marketdata_assets.ticks.tables import FACTORS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

NAME = "tick_data"
"""What the column `provider` says of these factors."""

COMPUTED = ("daily_return", "volatility", "volume_ratio", "vwap_deviation")
MIN_BARS = 10
DAYS_BEFORE = 5
DEFINITIONS = "1"
"""Change it with a definition: then all factors are computed again."""

SYMBOLS_A_QUERY = 1000


def computed(client: "Client", symbols: Sequence[str], month: str, trading_days: TradingDays) -> pl.DataFrame:
    """The computed factors of a month, with the columns of the table, by symbol, date and name."""
    sessions = window(month, trading_days)
    days = Days.month(month)
    if not symbols or not sessions or sessions[-1] < days.first:
        return FACTORS.columns.to_frame()
    sql = files(__package__).joinpath("sql/computed_factors.sql").read_text()
    frames = []
    for at in range(0, len(symbols), SYMBOLS_A_QUERY):
        bound = {
            "symbols": list(symbols[at : at + SYMBOLS_A_QUERY]),
            "sessions": sessions,
            "first": sessions[0],
            "last": sessions[-1],
            "month": days.first,
        }
        frames.append(clickhouse.read(client, sql, bound))
    return long(pl.concat(frames), NAME, COMPUTED)


def window(month: str, trading_days: TradingDays) -> list[dt.date]:
    """The trading days of a month, and those before it that its factors look at."""
    days = Days.month(month)
    within = list(trading_days(days))
    earlier: list[dt.date] = []
    first = days.first
    while len(earlier) < DAYS_BEFORE:  # a holiday takes up to two weeks
        first -= dt.timedelta(days=15)
        earlier = list(trading_days(Days(first, days.first - dt.timedelta(days=1))))
    return [*earlier[-DAYS_BEFORE:], *within]


def long(wide: pl.DataFrame, provider: str, names: Sequence[str]) -> pl.DataFrame:
    """A row for each number of the columns `names`, in the table's form; nulls are absent."""
    rows = wide.unpivot(names, index=["symbol", "date"], variable_name="factor", value_name="value").drop_nulls("value")
    rows = rows.with_columns(provider=pl.lit(provider)).select(FACTORS.columns.names()).cast(FACTORS.columns)
    return rows.sort("symbol", "date", "factor")
