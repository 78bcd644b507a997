"""Which minutes of the exchange's day a symbol has, day by day, and which are missing.

Expected are the trading days that the ledger has as covered, from a stock's listing to its delisting. A day without any
bar may be a suspension, which no provider reports; it is counted apart from a day with missing minutes.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import polars as pl

from marketdata_assets.reference.calendar import Calendar, calendar_of
from marketdata_assets.reference.exchanges import by_exchange
from marketdata_assets.reference.records import Days, Label, Listing
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks.tables import TICK_DATA, statement

SYMBOL_DAYS = pl.Schema(
    {
        "symbol": pl.String(),
        "date": pl.Date(),
        "label": pl.String(),  # null on a day without bars
        "bars": pl.Int64(),
        "expected": pl.Int64(),  # minutes of the exchange's day, as the label counts them
        "present": pl.Int64(),  # of these
        "missing": pl.Int64(),
    }
)

MAX_BOUND = 2000  # for more symbols, all of the month are read and the others are filtered out


def symbol_days(
    client: Client,
    month: str,
    symbols: Sequence[str],
    calendar: Calendar,
    listings: Mapping[str, Listing] | None = None,
) -> pl.DataFrame:
    """A row for every symbol and trading day that bars are expected of, by symbol and day; see SYMBOL_DAYS.

    `calendar` is that of the mainland's exchanges; those of the others are the library's.
    """
    frames = [SYMBOL_DAYS.to_frame()]
    for names in by_exchange(symbols).values():
        mine = calendar_of(names[0], calendar)
        expected = _expected(client, month, names, mine, listings or {})
        for days in _alike(mine, expected["date"].unique().sort().to_list()):
            counted = _counted(client, days, names, mine)
            here = expected.filter(pl.col("date").is_in(days)).join(counted, on=["symbol", "date"], how="left")
            lengths = {label: len(mine.labels(days[0], label)) for label in get_args(Label)}
            length = pl.when(pl.col("label") == "end").then(lengths["end"]).otherwise(lengths["start"])
            here = here.with_columns(pl.col("bars", "present").fill_null(0), expected=length)
            here = here.with_columns(missing=pl.col("expected") - pl.col("present"))
            frames.append(here.select(SYMBOL_DAYS.names()).cast(SYMBOL_DAYS))
    return pl.concat(frames).sort("symbol", "date")


def minutes_by_day(client: Client, symbol: str, days: Sequence[dt.date]) -> dict[dt.date, int]:
    """How many minutes of the exchange's day a symbol has on each of these trading days that has any bar."""
    calendar = calendar_of(symbol)
    counted = [_counted(client, alike, [symbol], calendar) for alike in _alike(calendar, days)]
    return {day: present for frame in counted for day, present in frame.select("date", "present").iter_rows()}


def missing_minutes(client: Client, symbol: str, day: dt.date, label: Label, calendar: Calendar) -> list[str]:
    """The minutes `10:31` of the exchange's clock that a symbol has no bar of."""
    sql = "SELECT ts FROM tick_data WHERE symbol = {symbol:String} AND date = {day:Date}"
    present = set(clickhouse.read(client, sql, {"symbol": symbol, "day": day})["ts"])
    calendar = calendar_of(symbol, calendar)
    missing = [time for time in calendar.labels(day, label) if time not in present]
    return [time.astimezone(calendar.exchange.zone).strftime("%H:%M") for time in missing]


def _alike(calendar: Calendar, days: Sequence[dt.date]) -> list[list[dt.date]]:
    """The days whose minutes are the same in UTC: other days are half days, and those of the other half of the year."""
    groups: dict[object, list[dt.date]] = {}
    for day in days:
        opening = dt.datetime.combine(day, calendar.hours(day)[0][0], calendar.exchange.zone)
        groups.setdefault((calendar.hours(day), opening.utcoffset()), []).append(day)
    return list(groups.values())


def _expected(
    client: Client, month: str, symbols: Sequence[str], calendar: Calendar, listings: Mapping[str, Listing]
) -> pl.DataFrame:
    """Symbol and date."""
    entries = ledger.table(client, TICK_DATA.name, [month], symbols).filter(pl.col("slices") != "")
    covered = entries.select(pl.col("source").alias("symbol"), date=pl.col("slices").str.split(",")).explode("date")
    covered = covered.with_columns(pl.col("date").str.to_date("%Y-%m-%d"))
    alive = pl.DataFrame(
        [(listing.symbol, listing.listed, listing.delisted) for listing in listings.values()],
        {"symbol": pl.String(), "first": pl.Date(), "last": pl.Date()},
        orient="row",
    )
    within = (pl.col("first").is_null() | (pl.col("date") >= pl.col("first"))) & (
        pl.col("last").is_null() | (pl.col("date") <= pl.col("last"))
    )
    covered = covered.filter(pl.col("date").is_in(calendar.trading_days(Days.month(month))))
    return covered.join(alive, on="symbol", how="left").filter(within).drop("first", "last")


def _counted(client: Client, days: Sequence[dt.date], symbols: Sequence[str], calendar: Calendar) -> pl.DataFrame:
    """Bars of each symbol, day and label, and how many of them are of a minute of the exchange's day, on days that are
    alike."""
    mine = "symbol IN %(symbols)s AND" if len(symbols) <= MAX_BOUND else ""
    bound: dict[str, Any] = {"days": days, **({"symbols": list(symbols)} if mine else {})}
    for label in get_args(Label):
        bound[label] = [time.hour * 60 + time.minute for time in calendar.labels(days[0], label)]
    counted = clickhouse.read(client, statement("minutes_present").replace("{mine}", mine), bound)
    return counted.rename({"name": "symbol", "day": "date", "named_for": "label"})
