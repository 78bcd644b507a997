"""Snapshots of order books as they are published, in one form, and the rows that are none.

Nothing is put in order: a crossed book and levels out of order stay as they came. How they land is in `order_book`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.ticks import file_drop
from marketdata_assets.ticks.errors import BadFile
from marketdata_assets.ticks.records import Days, Outcome

DEPTH = 10
"""Levels of a side; deeper ones of a file are not read."""

SIDES = ("bid", "ask")

BOOKS = pl.Schema(
    {
        "provider": pl.String(),
        "symbol": pl.String(),  # 600000.SH
        "ts": pl.Datetime("ms", "UTC"),
        "bid_price": pl.List(pl.Float64()),  # best first, as published; empty when nobody bids
        "bid_size": pl.List(pl.Float64()),  # shares
        "ask_price": pl.List(pl.Float64()),
        "ask_size": pl.List(pl.Float64()),
    }
)

_COLUMN = re.compile(r"(?P<side>bid|ask)_?(?P<what>price|size|volume|vol)_?(?P<level>\d+)")


@dataclass(frozen=True)
class BookDelivery:
    """The books of one symbol in some days. `empty` and `unsupported` have a `reason`.

    `books` has the columns of BOOKS, sorted by time, one row an instant.
    """

    provider: str
    symbol: str
    days: Days
    outcome: Outcome
    books: pl.DataFrame
    rejected: tuple[Reject, ...] = ()
    reason: str = ""

    @classmethod
    def without(cls, provider: str, symbol: str, days: Days, outcome: Outcome, reason: str) -> "BookDelivery":
        """A delivery of no books."""
        return cls(provider, symbol, days, outcome, BOOKS.to_frame(), reason=reason)


def names(path: Path, columns: Sequence[str]) -> dict[str, str]:
    """The columns of a file: symbol, ts, and bid_price_1, bid_size_1, ask_price_1, ask_size_1 up to level 10."""
    found = file_drop.by_names(path, columns, {"symbol": file_drop.SYMBOL, "ts": file_drop.TIME})
    for ours, theirs in (("symbol", file_drop.SYMBOL), ("ts", file_drop.TIME)):
        if ours not in found:
            raise file_drop.missing(path, columns, theirs)
    for column in columns:
        match = _COLUMN.fullmatch(column.strip().lower())
        if match and 1 <= int(match["level"]) <= DEPTH:
            ours = _name(match["side"], "price" if match["what"] == "price" else "size", int(match["level"]))
            if ours in found:
                raise BadFile(str(path), f"columns {found[ours]} and {column} both mean {ours}")
            found[ours] = column
    for side in SIDES:
        for level in range(1, DEPTH + 1):
            pair = [_name(side, what, level) for what in ("price", "size")]
            lacking = [name for name in pair if name not in found]
            deeper = any(_name(side, "price", below) in found for below in range(level + 1, DEPTH + 1))
            if len(lacking) == 1 or (lacking and deeper):
                raise file_drop.missing(path, columns, lacking[:1])
    if len(found) == 2:
        raise file_drop.missing(path, columns, [_name(side, "price", 1) for side in SIDES])
    return found


def books(raw: pl.DataFrame, provider: str, symbol: str) -> file_drop.Made:
    """Make books of `raw`, which has line, raw, ts and the columns of `names`; and say what is none.

    A level without a price and a size, or with a price of 0 and no size, is not there: vendors fill an empty side with
    zeros. Refused are rows without a time or any level, with a number that is not finite or below 0, a price without a
    size, a level after one that is not there, and rows that contradict an earlier one of the same instant.
    """
    levels = {
        side: [level for level in range(1, DEPTH + 1) if _name(side, "price", level) in raw.columns] for side in SIDES
    }
    sides = [_side(side, what, levels[side]) for side in SIDES for what in ("price", "size")]
    judged = raw.with_columns(*sides, reason=_reason(levels))
    kept = ["ts", "bid_price", "bid_size", "ask_price", "ask_size"]
    good = judged.filter(pl.col("reason").is_null()).unique(kept, keep="first", maintain_order=True)
    again = pl.col("ts").is_duplicated() & ~pl.col("ts").is_first_distinct()
    good = good.with_columns(reason=pl.when(again).then(pl.lit("contradicts an earlier row of the same instant")))
    bad = pl.concat([judged.filter(pl.col("reason").is_not_null()), good.filter(pl.col("reason").is_not_null())])
    rejected = tuple(Reject(*row) for row in bad.sort("line").select("line", "reason", "raw").iter_rows())
    frame = good.filter(pl.col("reason").is_null()).with_columns(provider=pl.lit(provider), symbol=pl.lit(symbol))
    return frame.sort("ts").select(BOOKS.names()).cast(BOOKS), rejected


def _name(side: str, what: str, level: int) -> str:
    return f"{side}_{what}_{level}"


def _there(side: str, level: int) -> pl.Expr:
    price, size = pl.col(_name(side, "price", level)), pl.col(_name(side, "size", level))
    return ~(price.fill_null(0.0) == 0) | ~(size.fill_null(0.0) == 0)


def _side(side: str, what: str, levels: Sequence[int]) -> pl.Expr:
    name = f"{side}_{what}"
    if not levels:
        return pl.lit([], pl.List(pl.Float64())).alias(name)
    kept = [pl.when(_there(side, level)).then(pl.col(_name(side, what, level))) for level in levels]
    return pl.concat_list(kept).list.drop_nulls().alias(name)


def _reason(levels: dict[str, list[int]]) -> pl.Expr:
    """The first thing that is wrong with a row; null when nothing is."""
    ts = pl.col("ts")
    wrong = {"no time that can be read": ts.is_null(), "a time finer than a millisecond": ts != ts.dt.truncate("1ms")}
    nothing = pl.lit(True)
    for side in SIDES:
        for level in levels[side]:
            price, size = pl.col(_name(side, "price", level)), pl.col(_name(side, "size", level))
            there = _there(side, level)
            nothing &= ~there
            where = f"{side} level {level}"
            wrong[f"{where}: a number is not finite"] = ~(price.is_finite() & size.is_finite())
            wrong[f"{where}: the price is below 0"] = price < 0
            wrong[f"{where}: the size is below 0"] = size < 0
            wrong[f"{where}: no price"] = there & price.is_null()
            wrong[f"{where}: no size"] = there & size.is_null()
            if level - 1 in levels[side]:
                wrong[f"{where} is there and level {level - 1} is not"] = there & ~_there(side, level - 1)
    wrong["no level at all"] = nothing
    return pl.coalesce(pl.when(found).then(pl.lit(reason)) for reason, found in wrong.items())
