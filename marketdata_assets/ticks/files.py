"""Dropped files as a provider: minute bars and order books from CSV and Parquet.

Order books are in the subfolder `order_book`, bars anywhere else. Where two files have the same instant of a symbol,
the row of the file with the newer modification time counts.
"""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from marketdata_assets.loading.errors import LoadError
from marketdata_assets.reference.calendar import calendar_of
from marketdata_assets.reference.exchanges import MAINLAND, exchange_of, split
from marketdata_assets.reference.records import LABELS, Days, labelled_otherwise
from marketdata_assets.ticks import file_drop, order_book, records
from marketdata_assets.ticks.file_drop import NAME, Folder, Judged
from marketdata_assets.ticks.order_book import BOOKS
from marketdata_assets.ticks.providers_file import DroppedFiles
from marketdata_assets.ticks.records import BARS, Delivery, day_of

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
        self.of_books = Folder(books, None, BOOKS, order_book.book_columns, self._judged_books, config)

    async def bars(self, symbol: str, days: Days) -> Delivery:
        """The minute bars of `symbol` in `days` from all files."""
        return self.of_bars.delivery(symbol, days, self.config.label_of(symbol))

    async def books(self, symbol: str, days: Days) -> Delivery:
        """The order books of `symbol` in `days` from all files."""
        return self.of_books.delivery(symbol, days, None)

    def _judged_bars(self, raw: pl.DataFrame) -> Judged:
        rows, others = records.judged(raw, pl.col("reason"))
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
        rows, others = order_book.judged(raw, pl.col("reason"))
        return order_book.as_books(rows, NAME), others


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
