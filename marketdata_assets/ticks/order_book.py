"""Snapshots of order books as they are published: columns of dropped files, and the rows that are rejected.

Levels are not sorted: a crossed book and levels out of order are kept as published.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from marketdata_assets.ticks import file_drop
from marketdata_assets.ticks.errors import BadFile
from marketdata_assets.ticks.records import sift
from marketdata_assets.ticks.tables import ORDER_BOOK

DEPTH = 10  # levels of a side; deeper ones of a file are not read

SIDES = ("bid", "ask")

BOOKS = pl.Schema({name: kind for name, kind in ORDER_BOOK.columns.items() if name != "date"})

_LISTS = ("bid_price", "bid_size", "ask_price", "ask_size")
_COLUMN = re.compile(r"(?P<side>bid|ask)_?(?P<what>price|size|volume|vol)_?(?P<level>\d+)")


def book_columns(path: Path, columns: Sequence[str]) -> dict[str, str]:
    """The columns of a file: symbol, ts, and bid_price_1, bid_size_1, ask_price_1, ask_size_1 up to level 10."""
    names = file_drop.by_names(path, columns, {"symbol": file_drop.SYMBOL, "ts": file_drop.TIME})
    for column in columns:
        match = _COLUMN.fullmatch(column.strip().lower())
        if match and 1 <= int(match["level"]) <= DEPTH:
            ours = _name(match["side"], "price" if match["what"] == "price" else "size", int(match["level"]))
            if ours in names:
                raise BadFile(str(path), f"columns {names[ours]} and {column} both mean {ours}")
            names[ours] = column
    for side in SIDES:
        for level in range(1, DEPTH + 1):
            pair = [_name(side, what, level) for what in ("price", "size")]
            lacking = [name for name in pair if name not in names]
            deeper = any(_name(side, "price", below) in names for below in range(level + 1, DEPTH + 1))
            if len(lacking) == 1 or (lacking and deeper):
                raise file_drop.missing(path, columns, lacking[:1])
    if len(names) == 2:
        raise file_drop.missing(path, columns, [_name(side, "price", 1) for side in SIDES])
    return names


def judged(raw: pl.DataFrame, reason: pl.Expr | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of `raw` that are books, each instant of a symbol once, and the others; see `sift`.

    A level without a price and a size, or with a price of 0 and no size, is absent: vendors fill an empty side with
    zeros. Rejected are rows without a time or any level, with a number that is not finite or below 0, a price without a
    size, a level after an absent one, and rows that contradict an earlier one of the same instant. `reason` is one that
    is known already, null for most rows.
    """
    levels = {
        side: [level for level in range(1, DEPTH + 1) if _name(side, "price", level) in raw.columns] for side in SIDES
    }
    sides = [_side(side, what, levels[side]) for side in SIDES for what in ("price", "size")]
    known = _reason(levels) if reason is None else pl.coalesce(reason, _reason(levels))
    rows = raw.with_columns(*sides, reason=known).select("symbol", "ts", "line", "raw", "reason", *_LISTS)
    return sift(rows, list(_LISTS), "instant")


def as_books(rows: pl.DataFrame, provider: str) -> pl.DataFrame:
    """Rows of `judged` with the columns of BOOKS, by symbol and time."""
    frame = rows.sort("symbol", "ts").with_columns(provider=pl.lit(provider), file=pl.lit(""))
    return frame.select(BOOKS.names()).cast(BOOKS)


def _name(side: str, what: str, level: int) -> str:
    return f"{side}_{what}_{level}"


def _present(side: str, level: int) -> pl.Expr:
    price, size = pl.col(_name(side, "price", level)), pl.col(_name(side, "size", level))
    return ~(price.fill_null(0.0) == 0) | ~(size.fill_null(0.0) == 0)


def _side(side: str, what: str, levels: Sequence[int]) -> pl.Expr:
    name = f"{side}_{what}"
    if not levels:
        return pl.lit([], pl.List(pl.Float64())).alias(name)
    kept = [pl.when(_present(side, level)).then(pl.col(_name(side, what, level))) for level in levels]
    return pl.concat_list(kept).list.drop_nulls().alias(name)


def _reason(levels: dict[str, list[int]]) -> pl.Expr:
    """The first rule that a row breaks; null when it breaks none."""
    ts = pl.col("ts")
    wrong = {"the time cannot be parsed": ts.is_null(), "a time finer than a millisecond": ts != ts.dt.truncate("1ms")}
    nothing = pl.lit(True)
    for side in SIDES:
        for level in levels[side]:
            price, size = pl.col(_name(side, "price", level)), pl.col(_name(side, "size", level))
            present = _present(side, level)
            nothing &= ~present
            where = f"{side} level {level}"
            wrong[f"{where}: a number is not finite"] = ~(price.is_finite() & size.is_finite())
            wrong[f"{where}: the price is below 0"] = price < 0
            wrong[f"{where}: the size is below 0"] = size < 0
            wrong[f"{where}: no price"] = present & price.is_null()
            wrong[f"{where}: no size"] = present & size.is_null()
            if level - 1 in levels[side]:
                wrong[f"{where} is present and level {level - 1} is not"] = present & ~_present(side, level - 1)
    wrong["no level at all"] = nothing
    return pl.coalesce(pl.when(broken).then(pl.lit(reason)) for reason, broken in wrong.items())
