"""Adjustment factors of other exchanges than the mainland's, from the splits and dividends in the table `factors`.

Yahoo adjusts bars for the splits that it knew when it sent them, so loaded bars before a split may be adjusted or not:
the prices around it decide. Dividends are never in the bars.
"""

import datetime as dt
import math
from collections.abc import Mapping

import polars as pl

from marketdata_assets.read import columnar
from marketdata_assets.read.errors import OddValue
from marketdata_assets.stores import clickhouse_ledger
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks.records import FLAGS
from marketdata_assets.ticks.tables import FACTORS

EVENTS = ("split", "dividend")
BEFORE = dt.date(1970, 1, 1)


def known_days(client: Client, symbol: str) -> frozenset[dt.date]:
    """The days of which a provider has said which splits and dividends there were."""
    found = set[str]()
    for load in clickhouse_ledger.entries(client, FACTORS.name, None, [symbol]):
        found |= set(load.slices) - {state.slice for state in load.states if state.state == "unsupported"}
    return frozenset(map(dt.date.fromisoformat, found))


def event_factors(client: Client, symbol: str, as_of: dt.date | None = None) -> pl.DataFrame:
    """Cumulative factors (symbol, date, adj_factor) of a symbol: 1 at first, and a row for each day that changes them.

    A split multiplies by the new shares for an old one, unless the bars before it are adjusted; a dividend by
    close / (close - dividend) of the close before. Events without an earlier bar change nothing. Raises OddValue for a
    dividend that is not below that close.
    """
    bound = {"symbol": symbol, "events": list(EVENTS), "last": as_of or dt.date(2149, 1, 1)}
    events = columnar.ask(
        client,
        FACTORS.name,
        "SELECT date, toString(factor) AS kind, value FROM factors WHERE symbol = {symbol:String}"
        " AND factor IN {events:Array(String)} AND date <= {last:Date} ORDER BY date, kind DESC",
        bound,
    )
    rows, factor = [(symbol, BEFORE, 1.0)], 1.0
    prices = _prices(client, symbol) if events.height else {}
    for day, kind, value in events.iter_rows():
        earlier = max((date for date in prices if date < day), default=None)
        if earlier is None:
            continue
        close = prices[earlier][1]
        if kind == "dividend":
            if value >= close:
                raise OddValue(FACTORS.name, "value", f"the dividend {value} of {symbol} on {day} is not below {close}")
            factor *= close / (close - value)
        elif not _is_adjusted(close, next((prices[date][0] for date in sorted(prices) if date >= day), None), value):
            factor *= value
        rows.append((symbol, day, factor))
    schema = {"symbol": pl.String, "date": pl.Date, "adj_factor": pl.Float64}
    return pl.DataFrame(rows, schema, orient="row").unique("date", keep="last", maintain_order=True)


def _is_adjusted(close: float, opening: float | None, split: float) -> bool:
    """Whether the price before a split is nearer to that after it than to so many times that."""
    if opening is None or split <= 0:
        return True
    jump = math.log(close / opening)
    return abs(jump) < abs(jump - math.log(split))


def _prices(client: Client, symbol: str) -> Mapping[dt.date, tuple[float, float]]:
    """The first open and the last close of each day in its session."""
    sql = (
        "SELECT date, argMin(open, ts) AS first, argMax(close, ts) AS last FROM tick_data"
        f" WHERE symbol = {{symbol:String}} AND bitAnd(flags, {FLAGS['outside_session'] | FLAGS['units']}) = 0"
        " GROUP BY date HAVING first > 0 AND last > 0 ORDER BY date"
    )
    return {
        day: (first, last)
        for day, first, last in columnar.ask(client, "tick_data", sql, {"symbol": symbol}).iter_rows()
    }
