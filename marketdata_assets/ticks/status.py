"""The state of each symbol and month in ClickHouse: the basis of `marketdata status` and the nightly repair.

It is computed from the ledger and the registry; of the tables only rows and days are counted, and nothing is written.
A table is overdue by its newest day, since a load of an old month makes no table fresh.
"""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal
from zoneinfo import ZoneInfo

import polars as pl

from marketdata_assets.months import EXCHANGE_CLOCK, last_months
from marketdata_assets.reference import stored
from marketdata_assets.reference.calendar import TradingDays, ashares
from marketdata_assets.reference.exchanges import by_exchange, exchange_of
from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.clickhouse_ledger import states_of
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks import file_ledger, registry
from marketdata_assets.ticks.factor_reconcile import Inputs, input_digests, months_of
from marketdata_assets.ticks.finality import Moment, count, due_again
from marketdata_assets.ticks.providers_file import TABLES, Table
from marketdata_assets.ticks.reports import Unit
from marketdata_assets.ticks.tables import FACTORS, TICK_DATA

State = Literal["ok", "empty", "provisional", "incomplete", "unsupported", "missing", "stale", "failed"]
BEHIND: tuple[State, ...] = ("missing", "stale", "failed")

_KEYS = ["symbol", "month"]
_LATE = pl.Schema({"symbol": pl.String(), "month": pl.String(), "late": pl.Boolean()})
_SPANS = ["exchange", "month", "first", "last", "slices", "slice_states"]
_STATES: tuple[tuple[State, pl.Expr], ...] = (
    ("missing", pl.col("outcome").is_null()),
    ("failed", (pl.col("outcome") == "failed") | (pl.col("content_hash") == "")),
    ("stale", pl.col("changed")),
    ("unsupported", pl.col("outcome") == "unsupported"),
    ("stale", pl.col("registered") & pl.col("late")),
    ("provisional", pl.col("provisional") > 0),
    ("incomplete", pl.col("incomplete") > 0),
    ("ok", pl.col("rows") > 0),
    ("empty", pl.lit(True)),
)
"""A symbol-month is in the first state whose condition holds."""


@dataclass(frozen=True)
class TableStatus:
    """A table: of the window, symbol-months by month and state; of the whole table, rows, last day and rejected rows.

    Expected is every month with a closed trading day of every registered symbol that was listed then; symbols that a
    person removed are left out, whatever is loaded of them. Stale is a month
    of which days closed since or are due again, or whose dropped files have changed, and factors that are older than
    their bars or lack an answer. Provisional has days that are not final yet, incomplete has days that are known to
    lack bars.
    """

    table: Table
    months: Mapping[str, Mapping[State, int]]
    rows: int
    newest: dt.date | None
    rejected: int
    provisional_days: int = 0
    incomplete_days: int = 0

    def count(self, state: State) -> int:
        return sum(states.get(state, 0) for states in self.months.values())


@dataclass(frozen=True)
class Behind:
    """Units to `load`, and units whose bars are loaded and whose factors do not follow from them."""

    load: list[Unit]
    factors: list[Unit]


def overview(
    client: Client,
    months: Sequence[str],
    now: dt.datetime,
    *,
    trading_days: TradingDays | None = None,
    changed: Mapping[Table, Collection[Unit]] | None = None,
) -> list[TableStatus]:
    """The status of the three tables over a window of months; `changed` are units whose dropped files have changed."""
    frames = _states(client, months, now, trading_days or stored.calendar(client).trading_days, changed or {})
    statuses, undated = [], file_ledger.undated(client)
    sql = """
        SELECT dataset, toInt64(sum(rejected)) FROM marketdata_ledger
        WHERE dataset IN {tables:Array(String)} GROUP BY dataset"""
    rejected = dict(clickhouse.read(client, sql, {"tables": list(TABLES)}).iter_rows())
    for table in TABLES:
        counted: dict[str, dict[State, int]] = {}
        units_by_state = frames[table].group_by("month", "state").agg(pl.len()).sort("month")
        for month, state, units in units_by_state.iter_rows():
            counted.setdefault(month, {})[state] = units
        rows, newest = clickhouse.read(client, f"SELECT count() AS rows, max(date) AS newest FROM {table}").row(0)
        days = frames[table].select(pl.col("provisional", "incomplete").sum().cast(pl.Int64)).row(0)
        counts = rejected.get(table, 0) + undated[table], *days
        statuses.append(TableStatus(table, counted, rows, newest if rows else None, *counts))
    return statuses


def behind(
    client: Client, months: Sequence[str], now: dt.datetime, *, trading_days: TradingDays | None = None
) -> Behind:
    """What is missing, failed or stale of the registered symbols in a window of months, by month and symbol."""
    frames = _states(client, months, now, trading_days or stored.calendar(client).trading_days)
    late = {table: frames[table].filter(pl.col("registered"), pl.col("state").is_in(BEHIND)) for table in TABLES}
    # A suspended stock has daily figures, without bars.
    has_bars, is_empty = pl.col("rows") > 0, pl.col("state").is_in(["empty", "provisional", "incomplete"])
    loaded = frames["tick_data"].filter(has_bars | is_empty).select(_KEYS)
    follow = late["factors"].join(loaded, on=_KEYS, how="semi")
    return Behind(_units(late["tick_data"]), _units(follow))


def next_months(client: Client, units: Collection[Unit], months: Sequence[str]) -> set[Unit]:
    """Of a window of months, the loaded factors of the month after each of `units`, computed from the last bars of
    these too."""
    rows = ledger.table(client, FACTORS.name, months, {unit.symbol for unit in units}) if units else None
    loaded = () if rows is None else rows.filter(pl.col("rows") > 0).select("source", "unit").iter_rows()
    return {Unit(*unit) for unit in loaded if Unit(unit[0], months_of(unit[1])[1]) in units}


def _units(frame: pl.DataFrame) -> list[Unit]:
    return [Unit(symbol, month) for symbol, month in frame.sort("month", "symbol").select(_KEYS).iter_rows()]


def _states(
    client: Client,
    months: Sequence[str],
    now: dt.datetime,
    trading_days: TradingDays,
    changed: Mapping[Table, Collection[Unit]] = MappingProxyType({}),
) -> dict[Table, pl.DataFrame]:
    """For each table: symbol, month, state, rows, and whether the symbol is registered."""
    known = {name for month in months for name in months_of(month)}
    ledgers = {
        table: ledger.table(client, table, known).rename({"source": "symbol", "unit": "month"}) for table in TABLES
    }
    bars, moment = ledgers["tick_data"], Moment(now, trading_days)
    expected, removed = _expected(client, months, moment), sorted(registry.removed(client))
    limits = stored.limit_digests(client, known, moment.closed)
    behind_bars = _older(ledgers["factors"].filter(pl.col("month").is_in(list(months))), bars, moment, limits)
    states_by_table: dict[Table, pl.DataFrame] = {}
    for table in TABLES:
        mine = ledgers[table].filter(pl.col("month").is_in(list(months)))
        both = expected.join(
            mine.select(*_KEYS, "outcome", "content_hash", "slices", "slice_states", "rows"),
            on=_KEYS,
            how="full",
            coalesce=True,
        )
        both = both.join(_of_files(changed.get(table, ()), months), on=_KEYS, how="full", coalesce=True).with_columns(
            pl.col("registered", "changed").fill_null(False), pl.col("rows").fill_null(0)
        )
        # A symbol of the exchange of each: days are the same for both.
        examples = {symbol: exchange_of(symbol).example for symbol in both["symbol"].unique()}
        both = both.with_columns(exchange=pl.col("symbol").replace_strict(examples, return_dtype=pl.String))
        both = both.join(_days(both, moment), on=_SPANS, how="left", nulls_equal=True)
        if table == "factors":
            both = both.drop("late").join(behind_bars, on=_KEYS, how="left")
        elif table == "order_book":
            both = both.with_columns(late=pl.lit(False))
        both = both.filter(~pl.col("symbol").is_in(removed))
        state = pl.coalesce(pl.when(holds).then(pl.lit(name)) for name, holds in _STATES)
        states_by_table[table] = both.select(*_KEYS, "registered", "rows", "provisional", "incomplete", state=state)
    return states_by_table


def _expected(client: Client, months: Sequence[str], moment: Moment) -> pl.DataFrame:
    """Registered symbols by month, with the closed days `first` to `last` on which they were listed."""
    listings = {listing.symbol: listing for listing in registry.listed(client)}
    days = {"first": pl.Date, "last": pl.Date}
    grids = [pl.DataFrame(schema={"symbol": pl.String, "month": pl.String, **days, "registered": pl.Boolean})]
    for symbols in by_exchange(listings).values():
        here = moment.of(symbols[0])
        spans = []
        for month in map(Days.month, months):
            first, last = month.first, min(month.last, here.last)
            if first <= last and here.trading_days(Days(first, last)):
                spans.append((f"{first:%Y-%m}", first, last))
        window = pl.DataFrame(spans, {"month": pl.String, **days}, orient="row")
        rows = [(symbol, listings[symbol].listed, listings[symbol].delisted) for symbol in symbols]
        names = pl.DataFrame(rows, {"symbol": pl.String, "listed": pl.Date, "delisted": pl.Date}, orient="row")
        grid = names.join(window, how="cross").with_columns(
            first=pl.max_horizontal("first", "listed"),
            last=pl.min_horizontal("last", "delisted"),
            registered=pl.lit(True),
        )
        grids.append(grid.filter(pl.col("first") <= pl.col("last")).select(grids[0].columns))
    return pl.concat(grids)


def _of_files(units: Collection[Unit], months: Sequence[str]) -> pl.DataFrame:
    """The units of a window whose dropped files are new or have changed."""
    rows = [(*unit, True) for unit in units if unit.month in months]
    return pl.DataFrame(rows, {"symbol": pl.String, "month": pl.String, "changed": pl.Boolean}, orient="row")


def _days(units: pl.DataFrame, moment: Moment) -> pl.DataFrame:
    """For each span with its covered days and their states that occurs: how many are provisional, how many incomplete,
    and whether a day of it is due."""
    distinct = units.select(_SPANS).unique()
    sessions: dict[tuple[str, dt.date, dt.date], frozenset[str]] = {}
    days = []
    for symbol, _, first, last, slices, text in distinct.iter_rows():
        states, late = states_of(text or ""), False
        if first is not None and slices is not None:
            here, span = moment.of(symbol), (symbol, first, last)
            if span not in sessions:
                sessions[span] = frozenset(str(day) for day in here.trading_days(Days(first, last)))
            covered = {*slices.split(","), *(state.slice for state in states)}
            late = not sessions[span] <= covered or any(due_again(state, here) for state in states)
        days.append((count(states, "provisional"), count(states, "incomplete"), late))
    types = {"provisional": pl.Int64, "incomplete": pl.Int64, "late": pl.Boolean}
    return distinct.hstack(pl.DataFrame(days, types, orient="row"))


def _older(
    factors: pl.DataFrame, bars: pl.DataFrame, moment: Moment, limits: Mapping[tuple[str, str], str]
) -> pl.DataFrame:
    """For each symbol-month of factors, whether what they were computed from is another now, or a provider is due."""
    bars, frames = bars.rename({"symbol": "source", "month": "unit"}), [_LATE.to_frame()]
    for symbols in by_exchange(factors["symbol"].unique()).values():
        here, until, mine = moment.of(symbols[0]), dict[str, str](), factors.filter(pl.col("symbol").is_in(symbols))
        for month in mine["month"].unique():
            until[month] = max(map(str, here.closed_days(Days.month(month))), default="")
        units = [Unit(*unit) for unit in mine.select(_KEYS).iter_rows()]
        fresh = input_digests(units, bars, limits, here.trading_days)
        late = []
        for (_, month), digest, text in zip(units, fresh.values(), mine["attempted_hash"], strict=True):
            inputs = Inputs.parse(text or "")
            late.append(inputs.bars != digest or bool(inputs.missing(inputs.answered, until[month], here)))
        frames.append(mine.select(_KEYS).with_columns(late=pl.Series(late, dtype=pl.Boolean)))
    return pl.concat(frames)


DAILY = (TICK_DATA.name, FACTORS.name)
"""Tables that are loaded on every trading day; order books come when files bring them."""
MISSED = 2
"""How many trading days may be over and without rows before a table is overdue: the nightly repair fetches one."""


def overdue(client: Client, now: dt.datetime) -> list[str]:
    """The tables in which the last trading days that are over have no rows; an empty table is none of them.

    Of bars, those of each exchange that has some in these two months, each requested within a day of the close.
    """
    today = now.astimezone(ZoneInfo(EXCHANGE_CLOCK)).date()
    sql = """
        SELECT table, toDate32(max(max_date)) AS newest FROM system.parts
        WHERE database = currentDatabase() AND active AND rows > 0 AND table IN {tables:Array(String)} GROUP BY table"""
    newest_days = clickhouse.read(client, sql, {"tables": list(DAILY)})  # of the metadata of parts: no row is read
    found = {table for table, newest in newest_days.iter_rows() if _missed(newest, today) >= MISSED}
    ledger_rows = ledger.table(client, TICK_DATA.name, last_months(2, now))
    loaded = ledger_rows.filter(pl.col("rows") > 0, pl.col("slices") != "")
    newest_of = dict(loaded.group_by("source").agg(pl.col("slices").str.split(",").list.max().max()).iter_rows())
    yesterday = Moment(now - dt.timedelta(days=1), ashares().trading_days)
    for symbols in by_exchange(newest_of).values():
        newest = dt.date.fromisoformat(max(newest_of[symbol] for symbol in symbols))
        if yesterday.of(symbols[0]).closings_after(newest) >= MISSED:
            found.add(TICK_DATA.name)
    return sorted(found)


def _missed(newest: dt.date, today: dt.date) -> int:
    after = newest + dt.timedelta(days=1)
    if (today - after).days < MISSED:  # the calendar takes half a second to load
        return 0
    return len(ashares().trading_days(Days(after, today - dt.timedelta(days=1))))
