"""Checks of the tables after a load, on the months and symbols of the run; no finding is a pass.

How severe a finding is, is a column of `defs/checks.csv`; one with `advice` is a warning.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import polars as pl

from marketdata_assets.reference import stored
from marketdata_assets.reference.calendar import TradingDays, calendar_of, last_closed
from marketdata_assets.reference.completeness import Reference, finding, judge
from marketdata_assets.reference.exchanges import MAINLAND, by_exchange, exchange_of
from marketdata_assets.reference.records import Days
from marketdata_assets.reference.stored import Suspensions
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.bookkeeping import EXAMPLES, Finding, sample_evenly
from marketdata_assets.stores.clients import Client
from marketdata_assets.ticks import coverage as minutes
from marketdata_assets.ticks import registry
from marketdata_assets.ticks.factor_reconcile import PENDING, Inputs
from marketdata_assets.ticks.factor_sql import NAME, differences, off_limits, recomputed, window
from marketdata_assets.ticks.factors import stored_digests
from marketdata_assets.ticks.records import FLAGS
from marketdata_assets.ticks.reports import Unit, by_month
from marketdata_assets.ticks.tables import FACTORS, TICK_DATA, statement

RECOMPUTED_SYMBOLS = 20  # of each month


@dataclass(frozen=True)
class Question:
    """What a check is about, and what is known of its symbols and months."""

    client: Client
    units: tuple[Unit, ...]
    reference: Reference = field(default_factory=Reference)

    @classmethod
    def of(cls, client: Client, units: Sequence[Unit]) -> "Question":
        """About these units, with what is stored of their symbols and of trading days."""
        if not units:
            return cls(client, ())
        months = sorted(unit.month for unit in units)
        known = Reference.of(client, Days(Days.month(months[0]).first, Days.month(months[-1]).last))
        listings = {**known.listings, **{one.symbol: one for one in registry.listed(client, vanished=True)}}
        return cls(client, tuple(sorted(set(units))), replace(known, listings=listings))

    @property
    def months(self) -> Iterable[tuple[str, list[str]]]:
        """Each month with its symbols."""
        return by_month(self.units).items()

    def trading_days(self, symbol: str) -> TradingDays:
        """The days on which the exchange of a symbol is open."""
        return calendar_of(symbol, self.reference.calendar).trading_days

    def ask(self, month: str, symbols: Sequence[str], sql: str) -> pl.DataFrame:
        """The rows of a query whose condition `{mine}` is this month and these symbols; it gives a column `symbol`."""
        days = Days.month(month)
        bound: dict[str, Any] = {"first": days.first, "last": days.last}
        mine = "date BETWEEN %(first)s AND %(last)s"
        if len(symbols) <= minutes.MAX_BOUND:
            mine += " AND symbol IN %(symbols)s"
            bound["symbols"] = list(symbols)
        found = clickhouse.read(self.client, sql.replace("{mine}", mine), bound)
        return found.filter(pl.col("symbol").is_in(list(symbols)))


def newest(client: Client) -> Question:
    """About all symbols of the newest month that has bars."""
    sql = "SELECT formatDateTime(max(date), '%Y-%m') AS month, count() AS bars FROM tick_data"
    month, bars = clickhouse.read(client, sql).row(0)
    known = ledger.table(client, TICK_DATA.name, [month]) if bars else pl.DataFrame({"source": []})
    return Question.of(client, [Unit(symbol, month) for symbol in known["source"]])


def duplicates(question: Question) -> Finding:
    """No symbol has two bars of one minute."""
    return _by_day(question, statement("duplicate_bars"), _bars, "bars")


def ohlc_order(question: Question) -> Finding:
    """High is the highest and low the lowest of the prices; a null is not compared."""
    return _rows(question, "high < open OR high < close OR high < low OR low > open OR low > close")


def price_bounds(question: Question) -> Finding:
    """No price is beyond the bounds that the providers file had when it was loaded."""
    return _rows(question, f"bitAnd(flags, {FLAGS['price_bounds']}) > 0")


def volume_bounds(question: Question) -> Finding:
    """No volume is beyond the bound that the providers file had when it was loaded."""
    return _rows(question, f"bitAnd(flags, {FLAGS['volume_bound']}) > 0")


def units_agree(question: Question) -> Finding:
    """Turnover / volume of a day is a price of the day. Without that, it has no factors."""
    sql = f"""
        SELECT toString(symbol) AS symbol, date, count() AS bars, any(provider) AS provider, min(low) AS low,
            max(high) AS high, sumIf(turnover, volume > 0) / sumIf(volume, turnover > 0) AS paid
        FROM tick_data WHERE {{mine}} GROUP BY symbol, date HAVING max(bitAnd(flags, {FLAGS["units"]})) > 0
        ORDER BY symbol, date"""
    remedy = "turnover in yuan, volume in shares? Correct the source or the file, then load the day with --refetch"
    return _by_day(question, sql, lambda row: _ratio(row, f"{row['paid'] / row['high']:.4g} times the high: {remedy}"))


def prices_in_limits(question: Question) -> Finding:
    """No price is beyond the limits of the day; days and symbols without limits are not judged."""
    if not question.units or not stored.has_limits(question.client):
        return Finding(0, (), 0)
    sql = statement("off_limits")
    remedy = "prices in yuan and not adjusted? Correct the source or the file, then load the day with --refetch"
    words = "times the upper limit"
    return _by_day(question, sql, lambda row: _ratio(row, f"{row['high'] / row['up']:.4g} {words}: {remedy}"))


def ticks_complete(question: Question) -> Finding:
    """Every symbol has every minute of the days that were loaded of it, unless it was suspended.

    Where suspensions are unknown, a day without any bar is a silent one, and wrong only when too many symbols are
    silent. Single missing minutes are advice: some providers leave out minutes without trades.
    """
    reference = question.reference
    frames = [
        minutes.symbol_days(question.client, month, symbols, reference.calendar, reference.listings)
        for month, symbols in question.months
    ]
    days = pl.concat([minutes.SYMBOL_DAYS.to_frame(), *frames])
    ends = {symbol: one.delisted for symbol, one in reference.listings.items() if one.delisted}
    ended = pl.col("date") >= pl.col("symbol").replace_strict(ends, default=None, return_dtype=pl.Date())
    cells = days.select("symbol", "date", have="present", want="expected", certain=~ended.fill_null(False))
    labels = partial(_missing_minutes, question, days)
    judged: list[pl.DataFrame] = []
    for exchange, symbols in by_exchange(cells["symbol"].unique()).items():
        suspensions = reference.suspensions if exchange is MAINLAND else Suspensions.unknown()
        mine = cells.filter(pl.col("symbol").is_in(symbols))
        judged.append(judge(mine, suspensions, calendar_of(symbols[0], reference.calendar)))
    if not judged:
        return Finding(0, (), 0, advice=True)
    found = finding(pl.concat(judged), reference.calendar, labels, reference.unknown)
    return replace(found, advice=not (found.facts["days_missing"] or found.facts["days_with_many_silent"]))


def _missing_minutes(question: Question, days: pl.DataFrame, symbol: str, day: dt.date) -> list[str]:
    [label] = days.filter(pl.col("symbol") == symbol, pl.col("date") == day)["label"]
    return minutes.missing_minutes(question.client, symbol, day, label, question.reference.calendar)


def factors_recomputed(question: Question) -> Finding:
    """Of a sample of symbols of each month, the computed factors equal those recomputed from the bars in polars.

    Symbols whose bars are newer than their factors are left out.
    """
    count = checked = left_out = 0
    examples: list[dict[str, Any]] = []
    for month, symbols in [(month, each) for month, names in question.months for each in by_exchange(names).values()]:
        known = {load.source: load for load in ledger.entries(question.client, FACTORS.name, [month], symbols)}
        sample, trading_days = sample_evenly(sorted(known), RECOMPUTED_SYMBOLS), question.trading_days(symbols[0])
        closed = last_closed(dt.datetime.now(dt.UTC), exchange_of(symbols[0]))
        fresh = stored_digests(question.client, [Unit(symbol, month) for symbol in sample], closed, trading_days)
        judged = [symbol for (symbol, _), text in fresh.items() if Inputs.of(known[symbol]).bars == text != PENDING]
        left_out += len(sample) - len(judged)
        checked += len(judged)
        found = _compared(question, month, judged)
        count += found.height
        examples += [{name: str(value) for name, value in row.items()} for row in found.head(EXAMPLES).to_dicts()]
    return Finding(count, tuple(examples[:EXAMPLES]), checked, left_out)


def ledger_agrees(question: Question) -> Finding:
    """The ledger has as many rows of each symbol-month as the table, for bars, books and factors."""
    count = 0
    examples: list[dict[str, Any]] = []
    for table in ("tick_data", "order_book", "factors"):
        for month, symbols in question.months:
            sql = f"SELECT toString(symbol) AS symbol, count() AS rows FROM {table} WHERE {{mine}} GROUP BY symbol"
            counted = question.ask(month, symbols, sql)
            known = ledger.table(question.client, table, [month], symbols)
            entered = known.select(pl.col("source").alias("symbol"), entered="rows")
            both = counted.join(entered, on="symbol", how="full", coalesce=True).with_columns(
                pl.col("rows", "entered").cast(pl.Int64).fill_null(0)
            )
            wrong = both.filter(pl.col("rows") != pl.col("entered")).sort("symbol")
            count += wrong.height
            examples += [{"table": table, "month": month, **row} for row in wrong.head(EXAMPLES).to_dicts()]
    return Finding(count, tuple(examples[:EXAMPLES]), len(question.units))


def _compared(question: Question, month: str, symbols: Sequence[str]) -> pl.DataFrame:
    """Computed factors that are not what a recomputation gives, or are there twice."""
    if not symbols:
        return differences(FACTORS.columns.to_frame(), FACTORS.columns.to_frame())
    sessions = window(month, question.trading_days(symbols[0]))
    bound = {"symbols": list(symbols), "first": sessions[0], "last": sessions[-1], "month": Days.month(month).first}
    bars = clickhouse.read(
        question.client,
        "SELECT toString(symbol) AS symbol, date, ts, close, volume, turnover, flags FROM tick_data"
        " WHERE symbol IN %(symbols)s AND date BETWEEN %(first)s AND %(last)s",
        bound,
    )
    existing = clickhouse.read(
        question.client,
        "SELECT toString(symbol) AS symbol, date, toString(factor) AS factor, value FROM factors"
        f" WHERE symbol IN %(symbols)s AND date BETWEEN %(month)s AND %(last)s AND provider = '{NAME}'",
        bound,
    )
    off = off_limits(question.client, symbols, Days(sessions[0], sessions[-1]))
    return differences(existing, recomputed(bars, sessions, Days.month(month).first, off, calendar_of(symbols[0])))


def _rows(question: Question, wrong: str) -> Finding:
    sql = f"""
        SELECT toString(symbol) AS symbol, date, count() AS bars FROM tick_data WHERE {{mine}} AND ({wrong})
        GROUP BY symbol, date ORDER BY symbol, date"""
    first = f"""
        SELECT ts, open, high, low, close, volume FROM tick_data
        WHERE symbol = {{symbol:String}} AND date = {{date:Date}} AND ({wrong}) ORDER BY ts LIMIT 1"""

    def with_first(row: dict[str, Any]) -> dict[str, Any]:
        [bar] = clickhouse.read(question.client, first, row).to_dicts()
        return {**_bars(row), **{name: str(value) for name, value in bar.items()}}

    return _by_day(question, sql, with_first, "bars")


def _bars(row: dict[str, Any]) -> dict[str, Any]:
    return {"symbol": row["symbol"], "day": str(row["date"]), "bars": row["bars"]}


def _ratio(row: dict[str, Any], words: str) -> dict[str, Any]:
    return {name: str(value) for name, value in row.items()} | {"ratio": words}


def _by_day(
    question: Question, sql: str, example: Callable[[dict[str, Any]], dict[str, Any]], count: str = ""
) -> Finding:
    """A query of wrong days by symbol; counted are the days, or the sum of a column such as their wrong bars."""
    frames = [question.ask(month, symbols, sql) for month, symbols in question.months]
    rows = [row for frame in frames for row in frame.head(EXAMPLES).to_dicts()]
    total = sum(int(frame[count].sum()) if count else frame.height for frame in frames)
    return Finding(total, tuple(map(example, rows[:EXAMPLES])), len(question.units))
