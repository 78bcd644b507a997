"""The factors that are computed from minute bars: the query that computes them, and its check in polars.

Their definitions are at the head of `sql/computed_factors.sql`. All are of one symbol and one trading day that has at
least MIN_BARS bars with a close; a factor that cannot be computed is absent, never 0.
"""

import datetime as dt
from collections.abc import Sequence

import polars as pl

from marketdata_assets.reference import stored
from marketdata_assets.reference.calendar import Calendar, TradingDays
from marketdata_assets.reference.exchanges import exchange_of
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks.records import FLAGS
from marketdata_assets.ticks.tables import FACTORS, statement

NAME = "tick_data"  # what the column `provider` says of these factors

COMPUTED = ("daily_return", "volatility", "volume_ratio", "vwap_deviation")
MIN_BARS = 10
DAYS_BEFORE = 5
DEFINITIONS = "3"  # change it with a definition: then all factors are computed again

SYMBOLS_A_QUERY = 1000

TOLERANCE = 1e-9  # how far two ways to add floats may be apart, relative to the value or to 1


def computed(
    client: Client, symbols: Sequence[str], month: str, trading_days: TradingDays, calendar: Calendar | None = None
) -> pl.DataFrame:
    """The computed factors of a month, with the columns of the table, by symbol, date and name.

    The symbols are of one exchange, whose `calendar` has the hours of its days; without it all days are as long.
    """
    sessions = window(month, trading_days)
    days = Days.month(month)
    if not symbols or not sessions or sessions[-1] < days.first:
        return FACTORS.columns.to_frame()
    sql = statement("computed_factors")
    frames = []
    for at in range(0, len(symbols), SYMBOLS_A_QUERY):
        bound = {
            "symbols": list(symbols[at : at + SYMBOLS_A_QUERY]),
            "sessions": sessions,
            "lengths": lengths(sessions, calendar),
            "first": sessions[0],
            "last": sessions[-1],
            "month": days.first,
            "off_limits": off_limits(client, symbols, Days(sessions[0], sessions[-1])),
        }
        frames.append(clickhouse.read(client, sql, bound))
    return long(pl.concat(frames), NAME, COMPUTED)


def lengths(sessions: Sequence[dt.date], calendar: Calendar | None) -> list[float]:
    """How many usual days as long as each of the days are in one: more than 1 on a half day."""
    if calendar is None:
        return [1.0] * len(sessions)
    usual = calendar.exchange.minutes
    return [usual / calendar.length(day) for day in sessions]


def off_limits(client: Client, symbols: Sequence[str], days: Days) -> list[tuple[str, dt.date]]:
    """The symbols, of one exchange, and days whose prices are beyond the limits of the day."""
    if not symbols or not exchange_of(symbols[0]).price_limits or not stored.has_limits(client):
        return []
    mine = "symbol IN %(symbols)s AND date BETWEEN %(first)s AND %(last)s"
    bound = {"symbols": list(symbols), "first": days.first, "last": days.last}
    found = clickhouse.read(client, statement("off_limits").replace("{mine}", mine), bound)
    return list(found.select("symbol", "date").iter_rows())


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
    return FACTORS.fit(rows.with_columns(provider=pl.lit(provider))).sort("symbol", "date", "factor")


def recomputed(
    bars: pl.DataFrame,
    sessions: Sequence[dt.date],
    month: dt.date,
    off: Sequence[tuple[str, dt.date]] = (),
    calendar: Calendar | None = None,
) -> pl.DataFrame:
    """The factors again, in polars and without the query, to compare the table with: of days from `month` on.

    From `bars` (symbol, date, ts, close, volume, turnover, flags) of `sessions`, without days `off` their limits.
    """
    left_out = pl.DataFrame(off, {"symbol": pl.String, "date": pl.Date}, orient="row")
    bars = bars.filter(((pl.col("flags") & FLAGS["units"]) == 0).all().over("symbol", "date"))
    bars = bars.filter((pl.col("flags") & FLAGS["outside_session"]) == 0)
    bars = bars.join(left_out, on=["symbol", "date"], how="anti")
    numbers = pl.DataFrame(
        {"date": sessions, "session": range(len(sessions)), "length": lengths(sessions, calendar)},
        {"date": pl.Date, "session": pl.Int64, "length": pl.Float64},
    )
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
    days = days.with_columns(pace=pl.col("shares") * pl.col("length"))
    rows = days.filter(pl.col("date") >= month, pl.col("closes") >= MIN_BARS)
    rows = rows.join(_before(days), on=["symbol", "session"], how="left").with_columns(
        daily_return=pl.when(pl.col("before") > 0, pl.col("last") > 0).then(pl.col("last") / pl.col("before") - 1),
        volatility=pl.when(pl.col("lowest") > 0).then(pl.col("deviation")),
        volume_ratio=pl.when(pl.col("mean_before") > 0).then(pl.col("pace") / pl.col("mean_before")),
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
        days.select("symbol", "closes", "last", "pace", pl.col("session") + back, back=pl.lit(back))
        for back in range(1, DAYS_BEFORE + 1)
    ]
    earlier = pl.concat(pieces).sort("symbol", "session", "back")
    return earlier.group_by("symbol", "session").agg(
        before=pl.col("last").filter(pl.col("closes") > 0).first(),
        mean_before=pl.when(pl.col("pace").count() == DAYS_BEFORE).then(pl.col("pace").mean()),
    )
