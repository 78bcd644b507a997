"""The state of each symbol and month in ClickHouse: the basis of `marketdata status` and the nightly repair.

It is computed from the ledger and the registry; of the tables only rows and days are counted, and nothing is written.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import polars as pl

from marketdata_assets.reference import stored
from marketdata_assets.reference.calendar import TradingDays, last_closed
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.ticks import registry
from marketdata_assets.ticks.factor_reconcile import digest_of, months_of
from marketdata_assets.ticks.providers_file import TABLES, Table
from marketdata_assets.ticks.reports import Unit

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

State = Literal["ok", "empty", "unsupported", "missing", "stale", "failed"]
BEHIND: tuple[State, ...] = ("missing", "stale", "failed")

_KEYS = ["symbol", "month"]


@dataclass(frozen=True)
class TableStatus:
    """A table: of the window, symbol-months by month and state; of the whole table, rows, last day and rejected rows.

    Expected is every month with a closed trading day of every registered symbol that was listed then. Stale is a month
    of which days closed since, and factors that are older than their bars.
    """

    table: Table
    months: Mapping[str, Mapping[State, int]]
    rows: int
    newest: dt.date | None
    rejected: int

    def count(self, state: State) -> int:
        return sum(states.get(state, 0) for states in self.months.values())


@dataclass(frozen=True)
class Behind:
    """Units to `load`, and units whose bars are loaded and whose factors do not follow from them."""

    load: list[Unit]
    factors: list[Unit]


def overview(
    client: "Client", months: Sequence[str], now: dt.datetime, *, trading_days: TradingDays | None = None
) -> list[TableStatus]:
    """The status of the three tables over a window of months."""
    frames = _states(client, months, now, trading_days or stored.calendar(client).trading_days)
    statuses = []
    for table in TABLES:
        counted: dict[str, dict[State, int]] = {}
        units_by_state = frames[table].group_by("month", "state").agg(pl.len()).sort("month")
        for month, state, units in units_by_state.iter_rows():
            counted.setdefault(month, {})[state] = units
        rows, newest = clickhouse.read(client, f"SELECT count() AS rows, max(date) AS newest FROM {table}").row(0)
        sql = "SELECT sum(rejected) AS rejected FROM marketdata_ledger WHERE dataset = {table:String}"
        rejected = clickhouse.read(client, sql, {"table": table})["rejected"][0]
        statuses.append(TableStatus(table, counted, rows, newest if rows else None, int(rejected or 0)))
    return statuses


def behind(
    client: "Client", months: Sequence[str], now: dt.datetime, *, trading_days: TradingDays | None = None
) -> Behind:
    """What is missing, failed or stale of the registered symbols in a window of months, by month and symbol."""
    frames = _states(client, months, now, trading_days or stored.calendar(client).trading_days)
    late = {table: frames[table].filter(pl.col("registered"), pl.col("state").is_in(BEHIND)) for table in TABLES}
    with_bars = frames["tick_data"].filter(pl.col("rows") > 0).select(_KEYS)
    follow = late["factors"].join(with_bars, on=_KEYS, how="semi")
    return Behind(_units(late["tick_data"]), _units(follow))


def _units(frame: pl.DataFrame) -> list[Unit]:
    return [Unit(symbol, month) for symbol, month in frame.sort("month", "symbol").select(_KEYS).iter_rows()]


def _states(
    client: "Client", months: Sequence[str], now: dt.datetime, trading_days: TradingDays
) -> dict[Table, pl.DataFrame]:
    """For each table: symbol, month, state, rows, and whether the symbol is registered."""
    known = {name for month in months for name in months_of(month)}
    ledgers = {
        table: ledger.table(client, table, known).rename({"source": "symbol", "unit": "month"}) for table in TABLES
    }
    expected = _expected(client, months, now, trading_days)
    bars = ledgers["tick_data"]
    behind_bars = _older(ledgers["factors"].filter(pl.col("month").is_in(list(months))), bars)
    states_by_table: dict[Table, pl.DataFrame] = {}
    for table in TABLES:
        mine = ledgers[table].filter(pl.col("month").is_in(list(months)))
        both = expected.join(
            mine.select(*_KEYS, "outcome", "content_hash", "slices", "rows"), on=_KEYS, how="full", coalesce=True
        ).with_columns(pl.col("registered").fill_null(False), pl.col("rows").fill_null(0))
        if table == "tick_data":
            both = both.join(_uncovered(both, trading_days), on=["month", "first", "last", "slices"], how="left")
        elif table == "factors":
            both = both.join(behind_bars, on=_KEYS, how="left")
        else:
            both = both.with_columns(late=pl.lit(False))
        states_by_table[table] = both.select(*_KEYS, "registered", "rows", state=_state())
    return states_by_table


def _state() -> pl.Expr:
    return (
        pl.when(pl.col("outcome").is_null())
        .then(pl.lit("missing"))
        .when((pl.col("outcome") == "failed") | (pl.col("content_hash") == ""))
        .then(pl.lit("failed"))
        .when(pl.col("outcome") == "unsupported")
        .then(pl.lit("unsupported"))
        .when(pl.col("registered") & pl.col("late").fill_null(False))
        .then(pl.lit("stale"))
        .when(pl.col("rows") > 0)
        .then(pl.lit("ok"))
        .otherwise(pl.lit("empty"))
    )


def _expected(client: "Client", months: Sequence[str], now: dt.datetime, trading_days: TradingDays) -> pl.DataFrame:
    """Registered symbols by month, with the closed days `first` to `last` on which they were listed."""
    closed = last_closed(now)
    ends = [(month, Days.month(month).first, min(Days.month(month).last, closed)) for month in months]
    spans = [(month, first, last) for month, first, last in ends if first <= last and trading_days(Days(first, last))]
    window = pl.DataFrame(spans, {"month": pl.String, "first": pl.Date, "last": pl.Date}, orient="row")
    listings = [(listing.symbol, listing.listed, listing.delisted) for listing in registry.listed(client)]
    names = pl.DataFrame(listings, {"symbol": pl.String, "listed": pl.Date, "delisted": pl.Date}, orient="row")
    grid = names.join(window, how="cross").with_columns(
        first=pl.max_horizontal("first", "listed"), last=pl.min_horizontal("last", "delisted"), registered=pl.lit(True)
    )
    return grid.filter(pl.col("first") <= pl.col("last")).select(*_KEYS, "first", "last", "registered")


def _uncovered(units: pl.DataFrame, trading_days: TradingDays) -> pl.DataFrame:
    """For each span and set of covered days that occurs, whether a trading day of the span is not covered."""
    keys = ["month", "first", "last", "slices"]
    distinct = units.select(keys).unique().drop_nulls()
    sessions: dict[tuple[dt.date, dt.date], frozenset[str]] = {}
    late = []
    for _, first, last, slices in distinct.iter_rows():
        if (first, last) not in sessions:
            sessions[first, last] = frozenset(str(day) for day in trading_days(Days(first, last)))
        late.append(not sessions[first, last] <= set(slices.split(",")))
    return distinct.with_columns(late=pl.Series(late, dtype=pl.Boolean))


def _older(factors: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """For each symbol-month of factors, whether they were computed from other bars than the present ones."""
    loaded = {
        (symbol, month): (content, slices)
        for symbol, month, content, slices in bars.select(*_KEYS, "content_hash", "slices").iter_rows()
    }
    before = {month: months_of(month) for month in factors["month"].unique()}
    late = [
        (inputs or "").partition(" ")[0] != digest_of(loaded.get((symbol, name)) for name in before[month])
        for symbol, month, inputs in factors.select(*_KEYS, "attempted_hash").iter_rows()
    ]
    return factors.select(_KEYS).with_columns(late=pl.Series(late, dtype=pl.Boolean))
