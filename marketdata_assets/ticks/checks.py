"""Checks of the tables after a load, on the months and symbols of the run; no finding is a pass.

What a finding means for a run is said in `defs.ticks.checks`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from marketdata_assets.loading.reports import and_more
from marketdata_assets.reference import stored
from marketdata_assets.reference.calendar import Calendar, ashares
from marketdata_assets.reference.records import Days, Listing
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.bookkeeping import EXAMPLES, Finding, sample_evenly
from marketdata_assets.ticks import coverage as minutes
from marketdata_assets.ticks import registry
from marketdata_assets.ticks.factor_reconcile import PENDING, Inputs, bars_digest, months_of
from marketdata_assets.ticks.factor_sql import NAME, differences, recomputed, window
from marketdata_assets.ticks.records import FLAGS
from marketdata_assets.ticks.reports import Unit, by_month
from marketdata_assets.ticks.tables import FACTORS, TICK_DATA, statement

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

LISTED_DAYS = 20  # symbol-days whose missing minutes are listed

LISTED_MINUTES = 10
RECOMPUTED_SYMBOLS = 20  # of each month


@dataclass(frozen=True)
class Question:
    """What a check is about. `listings` say when a stock was listed, where that is known."""

    client: "Client"
    units: tuple[Unit, ...]
    listings: Mapping[str, Listing] = field(default_factory=dict)
    calendar: Calendar = field(default_factory=ashares)

    @classmethod
    def of(cls, client: "Client", units: Sequence[Unit]) -> "Question":
        """About these units, with what is stored of their symbols and of trading days."""
        listings = {one.symbol: one for one in registry.listed(client, vanished=True)}
        return cls(client, tuple(sorted(set(units))), listings, stored.calendar(client))

    @property
    def months(self) -> Iterable[tuple[str, list[str]]]:
        """Each month with its symbols."""
        return by_month(self.units).items()

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


def newest(client: "Client") -> Question:
    """About all symbols of the newest month that has bars."""
    sql = "SELECT formatDateTime(max(date), '%Y-%m') AS month, count() AS bars FROM tick_data"
    month, bars = clickhouse.read(client, sql).row(0)
    known = ledger.table(client, TICK_DATA.name, [month]) if bars else pl.DataFrame({"source": []})
    return Question.of(client, [Unit(symbol, month) for symbol in known["source"]])


def duplicates(question: Question) -> Finding:
    """No symbol has two bars of one minute."""
    return _counted(question, statement("duplicate_bars"), "again")


def ohlc_order(question: Question) -> Finding:
    """High is the highest and low the lowest of the prices; a null is not compared."""
    return _rows(question, "high < open OR high < close OR high < low OR low > open OR low > close")


def price_bounds(question: Question) -> Finding:
    """No price is beyond the bounds that the providers file had when it was loaded."""
    return _rows(question, f"bitAnd(flags, {FLAGS['price_bounds']}) > 0")


def volume_bounds(question: Question) -> Finding:
    """No volume is beyond the bound that the providers file had when it was loaded."""
    return _rows(question, f"bitAnd(flags, {FLAGS['volume_bound']}) > 0")


def coverage(question: Question) -> Finding:
    """Every symbol has every minute of the days on which it has a bar at all.

    Days without any bar are counted in the facts: a stock may be suspended. They are objected to only when no symbol
    of several has a bar on that day.
    """
    frames = [
        minutes.symbol_days(question.client, month, symbols, question.calendar, question.listings)
        for month, symbols in question.months
    ]
    days = pl.concat([minutes.SYMBOL_DAYS.to_frame(), *frames])
    holes = days.filter(pl.col("bars") > 0, pl.col("missing") > 0).sort("date", "symbol")
    silent = days.group_by("date").agg(pl.len(), pl.col("bars").sum()).filter(pl.col("bars") == 0, pl.col("len") > 1)
    examples: list[dict[str, Any]] = [
        {"day": str(day), "note": f"none of {symbols} symbols has a bar"}
        for day, symbols in silent.sort("date").select("date", "len").head(EXAMPLES).iter_rows()
    ]
    listed = list(holes.head(LISTED_DAYS).select("symbol", "date", "label").iter_rows())
    for (symbol, day), times in minutes.missing_minutes(question.client, listed, question.calendar).items():
        shown = and_more(times, LISTED_MINUTES)
        examples.append({"symbol": symbol, "day": str(day), "missing": len(times), "minutes": shown})
    facts = {
        "minutes_expected": int(days["expected"].sum()),
        "minutes_missing": int(holes["missing"].sum()),
        "days_with_holes": holes.height,
        "days_without_a_bar": days.filter(pl.col("bars") == 0).height,
    }
    return Finding(holes.height + silent.height, tuple(examples), days.height, facts=facts)


def factors_recomputed(question: Question) -> Finding:
    """Of a sample of symbols of each month, the computed factors equal those recomputed from the bars in polars.

    Symbols whose bars are newer than their factors are left out.
    """
    count = checked = left_out = 0
    examples: list[dict[str, Any]] = []
    for month, symbols in question.months:
        known = {load.source: load for load in ledger.entries(question.client, FACTORS.name, [month], symbols)}
        sample = sample_evenly(sorted(known), RECOMPUTED_SYMBOLS)
        both = ledger.entries(question.client, TICK_DATA.name, months_of(month), sample)
        bars = {(load.source, load.unit): load for load in both}
        judged = []
        for symbol in sample:
            digest = bars_digest(bars.get((symbol, one)) for one in months_of(month))
            if Inputs.of(known[symbol]).bars == digest != PENDING:
                judged.append(symbol)
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
    sessions = window(month, question.calendar.trading_days)
    bound = {"symbols": list(symbols), "first": sessions[0], "last": sessions[-1], "month": Days.month(month).first}
    bars = clickhouse.read(
        question.client,
        "SELECT toString(symbol) AS symbol, date, ts, close, volume, turnover FROM tick_data"
        " WHERE symbol IN %(symbols)s AND date BETWEEN %(first)s AND %(last)s",
        bound,
    )
    stored = clickhouse.read(
        question.client,
        "SELECT toString(symbol) AS symbol, date, toString(factor) AS factor, value FROM factors"
        f" WHERE symbol IN %(symbols)s AND date BETWEEN %(month)s AND %(last)s AND provider = '{NAME}'",
        bound,
    )
    return differences(stored, recomputed(bars, sessions, Days.month(month).first))


def _rows(question: Question, wrong: str) -> Finding:
    sql = f"""
        SELECT toString(symbol) AS symbol, date, count() AS bars FROM tick_data WHERE {{mine}} AND ({wrong})
        GROUP BY symbol, date ORDER BY symbol, date"""
    finding = _counted(question, sql, "bars")
    examples = []
    for example in finding.examples:
        first = f"""
            SELECT ts, open, high, low, close, volume FROM tick_data
            WHERE symbol = {{symbol:String}} AND date = {{day:Date}} AND ({wrong}) ORDER BY ts LIMIT 1"""
        bound = {"symbol": example["symbol"], "day": example["day"]}
        [bar] = clickhouse.read(question.client, first, bound).to_dicts()
        examples.append({**example, **{name: str(value) for name, value in bar.items()}})
    return Finding(finding.count, tuple(examples), finding.checked)


def _counted(question: Question, sql: str, column: str) -> Finding:
    """A query by symbol and day, whose `column` says how many bars of the day are objected to."""
    count = 0
    examples: list[dict[str, Any]] = []
    for month, symbols in question.months:
        found = question.ask(month, symbols, sql)
        count += int(found[column].sum())
        for symbol, day, bars in found.head(EXAMPLES).select("symbol", "date", column).iter_rows():
            examples.append({"symbol": symbol, "day": str(day), "bars": bars})
    return Finding(count, tuple(examples[:EXAMPLES]), len(question.units))
