"""Dropped files as a provider: minute bars and order books from CSV and Parquet.

Order books are in the subfolder `order_book`, bars anywhere else. Where two files have the same instant of a symbol,
the row of the file with the newer modification time counts. Levels of books are not sorted: a crossed book and levels
out of order are kept as published.
"""

import datetime as dt
import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from marketdata_assets.loading.errors import LoadError
from marketdata_assets.reference.calendar import calendar_of
from marketdata_assets.reference.exchanges import MAINLAND, exchange_of, split
from marketdata_assets.reference.records import LABELS, Days, labelled_otherwise
from marketdata_assets.ticks import file_drop, records
from marketdata_assets.ticks.errors import BadFile
from marketdata_assets.ticks.file_drop import NAME, Folder, Judged
from marketdata_assets.ticks.providers_file import DroppedFiles
from marketdata_assets.ticks.records import BARS, Delivery, day_of, sift
from marketdata_assets.ticks.tables import ORDER_BOOK

COLUMNS: dict[str, tuple[str, ...]] = {
    "symbol": file_drop.SYMBOL,
    "ts": file_drop.TIME,
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "volume": ("volume", "vol"),
    "turnover": ("turnover", "amount"),
}
"""Our columns and the names they may have in a file, in any case. A symbol is 600000.SH, volume is in shares."""

DEPTH = 10  # levels of a side; deeper ones of a file are not read

SIDES = ("bid", "ask")

BOOKS = pl.Schema({name: kind for name, kind in ORDER_BOOK.columns.items() if name != "date"})

_LISTS = ("bid_price", "bid_size", "ask_price", "ask_size")
_COLUMN = re.compile(r"(?P<side>bid|ask)_?(?P<what>price|size|volume|vol)_?(?P<level>\d+)")


class Files:
    """The files below `folder`. Each is read once, and again when it has changed; one that cannot be read is left to
    `Folder.broken`, and costs the others nothing.
    """

    name = NAME
    configured = True

    def __init__(self, folder: Path, config: DroppedFiles) -> None:
        self.folder, self.config, self.label = folder, config, config.label
        self.of_bars = Folder(folder, file_drop.ORDER_BOOKS, BARS, bar_columns, self._judged_bars, config)
        books = folder / file_drop.ORDER_BOOKS
        self.of_books = Folder(books, None, BOOKS, book_columns, self._judged_books, config)

    async def bars(self, symbol: str, days: Days) -> Delivery:
        """The minute bars of `symbol` in `days` from all files."""
        return self.of_bars.delivery(symbol, days, self.config.label_of(symbol))

    async def books(self, symbol: str, days: Days) -> Delivery:
        """The order books of `symbol` in `days` from all files."""
        return self.of_books.delivery(symbol, days, None)

    def _judged_bars(self, raw: pl.DataFrame) -> Judged:
        rows, others = records.judged(raw)
        if cause := self._other_label(rows):
            raise LoadError(cause)
        return records.flagged(rows, NAME, self.config.quality, self.config.session), others

    def _other_label(self, rows: pl.DataFrame) -> str:
        """Why the bars of a file are labelled by the other end of their minute, as most of its days say."""
        if others := [symbol for symbol in rows["symbol"].unique() if exchange_of(symbol) is not MAINLAND]:
            abroad = pl.col("symbol").is_in(others)
            if cause := _labelled_otherwise(self.config, rows.filter(abroad)):
                return cause
            rows = rows.filter(~abroad)
        local = pl.col("ts").dt.convert_time_zone(self.config.session.timezone)
        has = [(local.dt.time() == dt.time(*label)).any().cast(pl.Int64) * 2**n for n, label in enumerate(LABELS)]
        days = rows.group_by("symbol", day=local.dt.date()).agg(has=pl.sum_horizontal(has))
        wrong = labelled_otherwise(self.label, {(symbol, day): bits for symbol, day, bits in days.iter_rows()})
        found = "start" if self.label == "end" else "end"
        return (
            ""
            if not wrong
            else (
                f"its bars are labelled by the {found} of their minute on {len(wrong)} days; write label: {found} into"
                " the section files of the providers file if those of all files are"
            )
        )

    def _judged_books(self, raw: pl.DataFrame) -> Judged:
        rows, others = judged_books(raw)
        return as_books(rows, NAME), others


def bar_columns(path: Path, columns: Sequence[str]) -> dict[str, str]:
    """The column of a file of bars for each of COLUMNS."""
    return file_drop.by_names(path, columns, COLUMNS, optional=["turnover"])


def _labelled_otherwise(config: DroppedFiles, rows: pl.DataFrame) -> str:
    """Why the bars of another exchange than the mainland's are labelled by the other end of their minute, as most of
    its days say: the first and the last bar of their hours are those of that label."""
    counts: dict[tuple[str, bool], int] = {}
    for (name, day), bars in rows.group_by("symbol", day_of(rows["symbol"]).alias("day")):
        symbol, times = str(name), set(bars["ts"].cast(pl.Datetime("us", "UTC")))
        calendar, declared = calendar_of(symbol), config.label_of(symbol)
        starts, ends = calendar.labels(day, "start"), calendar.labels(day, "end")
        started = {starts[0], starts[-1]} <= times and ends[-1] not in times
        ended = {ends[0], ends[-1]} <= times and starts[0] not in times
        if started != ended and not calendar.exchange.always_open:  # whose first bar has both labels
            key = split(symbol)[2], started == (declared == "start")
            counts[key] = counts.get(key, 0) + 1
    for (suffix, right), days in counts.items():
        if not right and days > counts.get((suffix, True), 0):
            found = "end" if config.label_of(f"X.{suffix}") == "start" else "start"
            remedy = f"write labels: {{{suffix}: {found}}} into the section files of the providers file"
            return (
                f"its bars of {suffix} are labelled by the {found} of their minute on {days} days; {remedy} if all are"
            )
    return ""


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


def judged_books(raw: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of `raw` that are books, each instant of a symbol once, and the others; see `sift`.

    A level without a price and a size, or with a price of 0 and no size, is absent: vendors fill an empty side with
    zeros. Rejected are rows without a time or any level, with a number that is not finite or below 0, a price without a
    size, a level after an absent one, and rows that contradict an earlier one of the same instant.
    """
    levels = {
        side: [level for level in range(1, DEPTH + 1) if _name(side, "price", level) in raw.columns] for side in SIDES
    }
    sides = [_side(side, what, levels[side]) for side in SIDES for what in ("price", "size")]
    return sift(raw.with_columns(sides), _reason(levels), list(_LISTS), "instant")


def as_books(rows: pl.DataFrame, provider: str) -> pl.DataFrame:
    """Rows of `judged_books` with the columns of BOOKS, by symbol and time."""
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
