"""Data quality checks of the tables for some UTC days; no finding means passed.

The severity of a finding is in `defs/checks.csv`.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import polars as pl

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.records import Gap
from marketdata_assets.exchanges.tables import gaps, ohlcv
from marketdata_assets.exchanges.tables.gaps import CLOCKS_DIFFER_NS, is_trade_gap
from marketdata_assets.exchanges.tables.history import CANDLES, loaded_days
from marketdata_assets.exchanges.tables.history import DATASET as HISTORIES
from marketdata_assets.exchanges.tables.history import TYPES as HISTORY_TYPES
from marketdata_assets.exchanges.tables.schema import DAY_NS, TABLES, day_span, sql
from marketdata_assets.exchanges.venue_adapter import interval_ns
from marketdata_assets.stores import clickhouse, clickhouse_ledger
from marketdata_assets.stores.bookkeeping import EXAMPLES, Finding, sample_evenly
from marketdata_assets.stores.clickhouse_ledger import Load
from marketdata_assets.stores.clients import Client

SAMPLE = 12  # instruments of a day whose bars are computed again, and whose books are followed
SAMPLE_ROWS = 300_000  # of an instrument with more rows a day, a span of the day with about so many is checked

RELATIVE = 1e-8
"""So far a volume may be from that of the venue's candle, for candles are published with fewer digits than trades."""

ABSOLUTE = 1e-7

MINUTE_NS = 60_000_000_000
MINUTE = dt.timedelta(minutes=1)

_ABOUT = ["exchange", "market_type", "instrument"]


@dataclass(frozen=True)
class Question:
    """What a check is about."""

    client: Client
    days: tuple[dt.date, ...]

    def ask(self, name: str, day: dt.date, **more: Any) -> pl.DataFrame:
        """The rows of one of our statements about one day."""
        return clickhouse.read(self.client, sql(name), {**day_span(day), **more})


def newest(client: Client) -> Question:
    """About the newest day with trades, if there is one."""
    return Question(client, tuple(ohlcv.days_with_trades(client)[-1:]))


def written_since(client: Client, before: Mapping[dt.date, int]) -> Question:
    """About the days whose trades were written since `ohlcv.newest_parts` was `before`; without one, as `newest`."""
    days = tuple(day for day, part in ohlcv.newest_parts(client).items() if part != before.get(day))
    return Question(client, days) if days else newest(client)


def nothing_refused(question: Question, type_name: str) -> Finding:
    """No record of a type was rejected by its table since the first of the days."""
    if not question.days:
        return Finding(0, (), 0)
    rejects = question.ask("rejects_since", min(question.days), type=type_name)
    rows = clickhouse.read(question.client, f"SELECT toInt64(count()) AS rows FROM {TABLES[type_name].name}")
    return Finding(int(rejects["records"].sum()), _examples(rejects), int(rows["rows"].item()))


def one_row_a_trade(question: Question) -> Finding:
    """No trade id of an instrument is stored with two times."""
    return _counted(question, "trades_stored_again", "again", "trades")


def holes_on_record(question: Question) -> Finding:
    """Every gap in the sequence numbers of trades is recorded."""
    unrecorded = [gap for day in question.days for gap in gaps.unrecorded_gaps(question.client, day)]
    trades = sum(
        question.ask("numbered_trades_counted", day, numbered=gaps.numbered())["n"].item() for day in question.days
    )
    missing = sum((gap.next_id or 0) - (gap.last_id or 0) - 1 for gap in unrecorded)
    examples = tuple({"hole": gaps.line(gap)} for gap in unrecorded[:EXAMPLES])
    return Finding(len(unrecorded), examples, int(trades), facts={"trades_missing": missing})


def changes_follow(question: Question) -> Finding:
    """In a sample of books, every update follows the one before it, or the snapshot, or a gap is recorded."""
    return _of_sample(question, "exchange_orderbooks", _broken_chains, "changes")


def bars_equal_klines(question: Question) -> Finding:
    """Bars have the prices, volumes and counts of the venue's own closed candles.

    Left out are bars that an open gap touches, the first bar of an instrument, as its trades may begin within it, and
    bars without a candle.
    """
    count = rows_checked = left_out = 0
    examples: list[dict[str, Any]] = []
    holes = gaps.open_gaps(question.client)
    for day in question.days:
        both = question.ask("bars_and_klines", day)
        judged = both.filter(pl.col("judged") == 1, ~_in_holes(holes))
        wrong = judged.with_columns(differs=_differences()).filter(pl.col("differs") != "")
        count, rows_checked = count + wrong.height, rows_checked + judged.height
        left_out += both.height - judged.height
        when = pl.from_epoch("minute", time_unit="ns").dt.strftime("%F %T")
        examples += wrong.select(*_ABOUT, when, "differs").head(EXAMPLES).to_dicts()
    return Finding(count, tuple(examples[:EXAMPLES]), rows_checked, left_out)


def price_order(question: Question) -> Finding:
    """High is the highest and low the lowest of a bar's prices, and takers did not buy more than was traded."""
    return _counted(question, "bars_out_of_order", "wrong", "bars")


def bars_recomputed(question: Question) -> Finding:
    """Of a sample of instruments, the bars are those that polars makes of the trades."""
    return _of_sample(question, "exchange_trades", _other_bars, "bars")


def none_open(question: Question) -> Finding:
    """No gap of trades that began on the days is open."""
    of_days = [gap for day in question.days for gap in gaps.of_day(question.client, day)]
    trade_gaps = [gap for gap in of_days if gap.healed_at is None and is_trade_gap(gap)]
    others = sum(gap.healed_at is None and not is_trade_gap(gap) for gap in of_days)
    examples = tuple({"gap": gaps.line(gap)} for gap in trade_gaps[:EXAMPLES])
    return Finding(len(trade_gaps), examples, len(of_days), facts={"other_gaps_open": others})


def newest_history(client: Client) -> Question:
    """About the newest day of the histories that were loaded, if there is one."""
    newest_day = loaded_days(client)[2]
    return Question(client, (newest_day,) if newest_day else ())


def history_stored(question: Question) -> Finding:
    """The tables have at least the records that the ledger has of each loaded day of a history."""
    loads = _loaded_histories(question)
    fewer = [(load, rows) for load, rows in loads if rows < load.rows]
    examples = ({"source": load.source, "day": load.unit, "loaded": load.rows, "stored": rows} for load, rows in fewer)
    return Finding(len(fewer), tuple(examples)[:EXAMPLES], len(loads))


def candles_complete(question: Question) -> Finding:
    """Of each loaded day of candles of less than a day, there are all that the day has room for."""
    room = [(load, rows, _candles_a_day(load.source)) for load, rows in _loaded_histories(question)]
    candles = [one for one in room if one[2]]
    fewer = [one for one in candles if one[1] < one[2]]
    examples = ({"source": load.source, "day": load.unit, "stored": rows, "of": of} for load, rows, of in fewer)
    return Finding(len(fewer), tuple(examples)[:EXAMPLES], len(candles))


def _candles_a_day(source: str) -> int:
    """How many candles a day has of a stream of candles of less than a day; else 0."""
    _, candles, interval = source.rpartition(CANDLES)
    return DAY_NS // interval_ns(interval) if candles and interval[-1] in "smh" else 0


def _loaded_histories(question: Question) -> list[tuple[Load, int]]:
    """The loaded streams and days, and the records that the tables have of each."""
    loads = clickhouse_ledger.entries(question.client, HISTORIES, units=[str(day) for day in question.days])
    found: dict[tuple[str, str], int] = {}
    for kind in HISTORY_TYPES:
        statement = sql("history_counted").replace("{table}", TABLES[kind].name)
        statement = statement.replace("{stream}", f"concat('{CANDLES}', interval)" if kind == "kline" else f"'{kind}'")
        paid = "fromUnixTimestamp64Nano(ifNull(funding_time, ts_recv), 'UTC')"
        statement = statement.replace("{time}", paid if kind == "funding_rate" else "time")
        for day in question.days:
            for source, rows in clickhouse.read(question.client, statement, day_span(day)).iter_rows():
                found[source, str(day)] = rows
    return [(load, found.get((load.source, load.unit), 0)) for load in loads if load.outcome == "ok"]


Window = dict[str, dt.datetime]
"""The half-open bounds `first` and `end`, whole minutes."""

Judge = Callable[["Question", dt.date, dict[str, str], Window], tuple[int, list[dict[str, Any]]]]
"""How many rows of an instrument were checked in a span of a day, and the findings."""


def _of_sample(question: Question, table: str, judge: Judge, unit: str) -> Finding:
    statement = sql("rows_by_instrument").replace("{table}", table)
    rows_checked = left_out = 0
    wrong: list[dict[str, Any]] = []
    for day in question.days:
        there = clickhouse.read(question.client, statement, day_span(day))
        sample = sample_evenly(there.to_dicts(), SAMPLE)
        left_out += there.height - len(sample)
        for instrument in sample:
            about = {name: instrument[name] for name in _ABOUT}
            checked, wrong_rows = judge(question, day, about, _window(day, **instrument))
            rows_checked += checked
            wrong += [{**about, "day": str(day), **row} for row in wrong_rows]
    facts = {f"instruments_without_{unit}_judged": left_out}
    return Finding(len(wrong), tuple(wrong[:EXAMPLES]), rows_checked, facts=facts)


def _window(day: dt.date, instrument: str, rows: int, first: dt.datetime, last: dt.datetime, **_: str) -> Window:
    """The whole day; of more rows than SAMPLE_ROWS, minutes that have about so many, chosen by day and instrument."""
    span = day_span(day)
    if rows <= SAMPLE_ROWS:
        return span
    begin = first.replace(second=0, microsecond=0)
    minutes = (last - begin) // MINUTE + 1
    length = max(1, minutes * SAMPLE_ROWS // rows)
    skipped = crc32(f"{day} {instrument}".encode()) % (minutes - length + 1)
    begin += skipped * MINUTE
    return {"first": begin, "end": min(begin + length * MINUTE, span["end"])}


def _broken_chains(
    question: Question, day: dt.date, about: dict[str, str], window: Window
) -> tuple[int, list[dict[str, Any]]]:
    # In the venue's order, by its clock and its ids, as in `read.books`: two recorders share no receive clock.
    # A snapshot only shows where updates may begin, as it may be older than what was received before it.
    rows = question.ask("book_updates", day, **about, **window)
    is_update, last_id = pl.col("kind") == "delta", pl.col("last_id")
    before = pl.coalesce(pl.when(is_update).then(last_id).shift(1).forward_fill(), last_id.shift(1).forward_fill())
    broken = rows.with_columns(before=before).filter(is_update, pl.col("begin") > pl.col("before")).sort("begin")
    bases = rows.filter(~is_update, last_id.is_not_null()).select(base=last_id).sort("base")
    broken = broken.join_asof(bases, left_on="begin", right_on="base", strategy="forward")
    broken = broken.filter((pl.col("base") <= last_id).fill_null(False).not_()).sort("time", "last_id")
    for gap in gaps.of_day(question.client, day) if broken.height else []:
        if gaps.is_book_gap(gap) and all(getattr(gap, name) == value for name, value in about.items()):
            received = pl.col("ts_recv").is_between(gap.ts_from, max(gap.ts_to, gap.healed_at or 0))
            broken = broken.filter(~(received | (pl.col("before") == (gap.last_id or -1))))
    return rows.height, broken.select(last_id="before", next_id="begin").to_dicts()


def _other_bars(
    question: Question, day: dt.date, about: dict[str, str], window: Window
) -> tuple[int, list[dict[str, Any]]]:
    stored = question.ask("instrument_bars", day, **about, **window)
    trades = question.ask("instrument_trades", day, **about, **window)
    expected = plain_bars(trades, by_receipt=not venues.find(about["exchange"]).ordered_trades)
    both = expected.join(stored, on="time", how="full", coalesce=True, suffix="_stored")
    names = ("open", "high", "low", "close", "volume", "trades")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_stored")) for name in names)
    return both.height, [{"minute": str(moment)} for moment in both.filter(~same).sort("time")["time"]]


def plain_bars(trades: pl.DataFrame, *, by_receipt: bool = False) -> pl.DataFrame:
    """Bars of one instrument's trades, in polars: time, prices, volume (null where a size is), trades.

    With `by_receipt` trades of the same moment are in the order in which they were received, else in that of their ids.
    """
    number = pl.col("trade_id").str.extract(r"(\d+)$").cast(pl.UInt64)
    first, last = pl.col("first_id").cast(pl.Int64), pl.col("last_id").cast(pl.Int64)
    singles = pl.when(pl.col("aggregated")).then(last - first + 1).otherwise(1)
    frame = trades.with_columns(number=number, singles=singles)
    if frame["aggregated"].n_unique() > 1:
        numbers = pl.int_ranges(first, last + 1).explode().cast(pl.UInt64)
        inside = frame.filter(pl.col("aggregated")).select(number=numbers, aggregated=pl.lit(False))
        frame = frame.join(inside, on=["number", "aggregated"], how="anti")
    frame = frame.sort("time", "ts_recv" if by_receipt else "number", "trade_id").with_columns(
        time=pl.col("time").dt.truncate("1m")
    )
    whole = pl.when(pl.col("size").null_count() == 0).then(pl.col("size").sum())
    prices = pl.col("price")
    return frame.group_by("time").agg(
        open=prices.first(),
        high=prices.max(),
        low=prices.min(),
        close=prices.last(),
        volume=whole,
        trades=pl.col("singles").sum().cast(pl.Int64),
    )


def _differences() -> pl.Expr:
    """What of a bar is not as in the candle, by name; "" where all is."""
    names = [
        pl.when(pl.col(f"bar_{name}").ne_missing(pl.col(name))).then(pl.lit(name))
        for name in ("open", "high", "low", "close")
    ]
    for name in ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"):
        bar, candle = pl.col(f"bar_{name}").cast(pl.Float64), pl.col(name).cast(pl.Float64)
        apart = (bar - candle).abs() > RELATIVE * candle.abs() + ABSOLUTE
        names.append(pl.when(apart.fill_null(False)).then(pl.lit(name)))
    count = pl.col("bar_trades").cast(pl.Int64) != pl.col("trades")
    names.append(pl.when(count.fill_null(False)).then(pl.lit("trades")))
    missing = pl.when(pl.col("bar_open").is_null()).then(pl.lit("no bar"))
    return pl.coalesce(missing, pl.concat_str(names, separator=" ", ignore_nulls=True))


def _in_holes(holes: list[Gap]) -> pl.Expr:
    """Whether trades of a minute may be missing; one in which all are has no bar that says so."""
    mine = pl.lit(False)
    for gap in holes:
        same = pl.all_horizontal(pl.col(name) == getattr(gap, name) for name in _ABOUT)
        first, last = gap.ts_from - CLOCKS_DIFFER_NS - MINUTE_NS, gap.ts_to + CLOCKS_DIFFER_NS
        mine = mine | (same & pl.col("minute").is_between(first, last, closed="right"))
    return mine


def _counted(question: Question, name: str, column: str, seen: str) -> Finding:
    """A statement by instrument with the number of findings in `column`, of so many rows as in `seen`."""
    if not question.days:
        return Finding(0, (), 0)
    every = pl.concat(question.ask(name, day).with_columns(day=pl.lit(str(day))) for day in question.days)
    wrong = every.filter(pl.col(column) > 0)
    return Finding(int(wrong[column].sum()), _examples(wrong), int(every[seen].sum()))


def _examples(rows: pl.DataFrame) -> tuple[dict[str, Any], ...]:
    return tuple({name: str(value) for name, value in row.items()} for row in rows.head(EXAMPLES).to_dicts())
