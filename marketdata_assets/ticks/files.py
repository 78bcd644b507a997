"""Dropped files as a provider: minute bars and order books from CSV and Parquet, and the scan for new files.

Order books are in the subfolder `order_book`, bars anywhere else. Where two files have the same instant of a symbol,
the row of the file with the newer modification time counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from marketdata_assets.loading.watch import compare, fingerprint
from marketdata_assets.logs import get_logger
from marketdata_assets.reference.records import Days, Label
from marketdata_assets.ticks import file_drop, order_book, records
from marketdata_assets.ticks.file_drop import Folder, Judged
from marketdata_assets.ticks.order_book import BOOKS
from marketdata_assets.ticks.providers_file import FilesProvider
from marketdata_assets.ticks.records import BARS, Delivery
from marketdata_assets.ticks.reports import Unit

NAME = "files"

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

MAX_UNITS = 20_000  # a scan that has found so many symbol-months leaves further files to the next one

log = get_logger(__name__)


class Files:
    """The files below `folder`. Each is read once, and again when it has changed.

    While one of them cannot be read, every call that concerns its kind raises BadFile: it may have any symbol.
    """

    name = NAME
    configured = True

    def __init__(self, folder: Path, config: FilesProvider, *, label: Label = "end") -> None:
        self.folder, self.config, self.label = folder, config, label
        self.of_bars = Folder(folder, file_drop.ORDER_BOOKS, bar_columns, self._judged_bars, config.session)
        books = folder / file_drop.ORDER_BOOKS
        self.of_books = Folder(books, None, order_book.book_columns, self._judged_books, config.session)

    async def bars(self, symbol: str, days: Days) -> Delivery:
        """The minute bars of `symbol` in `days` from all files; BadFile when one of them cannot be read."""
        return self._delivery(self.of_bars, symbol, days, BARS.to_frame(), self.label)

    async def books(self, symbol: str, days: Days) -> Delivery:
        """The order books of `symbol` in `days` from all files; BadFile when one of them cannot be read."""
        return self._delivery(self.of_books, symbol, days, BOOKS.to_frame(), None)

    def _judged_bars(self, raw: pl.DataFrame) -> Judged:
        if "turnover" not in raw.columns:
            raw = raw.with_columns(turnover=pl.lit(None, pl.Float64))
        rows, others = records.judged(raw, pl.col("reason"))
        return records.flagged(rows, NAME, self.config.quality, self.config.session), others

    def _judged_books(self, raw: pl.DataFrame) -> Judged:
        rows, others = order_book.judged(raw, pl.col("reason"))
        return order_book.as_books(rows, NAME), others

    def symbols(self) -> list[str]:
        """Every symbol that a file of bars has a row of."""
        return sorted(filter(None, map(self.config.symbol_mapping.ours, self.of_bars.symbols())))

    def _delivery(self, folder: Folder, symbol: str, days: Days, empty: pl.DataFrame, label: Label | None) -> Delivery:
        theirs = self.config.symbol_mapping.theirs(symbol)
        if theirs is None:
            reason = f"the symbol mapping of {NAME} has no rule for {symbol}"
            return Delivery.without(NAME, symbol, days, label, "unsupported", reason)
        found = folder.rows_of(theirs, days, empty)
        if found.frame.is_empty() and not found.rejected:
            reason = f"no file in {self.folder} has a row in these days"
            return Delivery.without(NAME, symbol, days, label, "empty", reason)
        rows = found.frame.with_columns(symbol=pl.lit(symbol))
        return Delivery(
            NAME, symbol, days, "ok", rows, label, None, found.rejected, skipped=found.skipped, files=found.files
        )


def bar_columns(path: Path, columns: Sequence[str]) -> dict[str, str]:
    """The column of a file of bars for each of COLUMNS."""
    names = file_drop.by_names(path, columns, COLUMNS)
    for ours, theirs in COLUMNS.items():
        if ours not in names and ours != "turnover":
            raise file_drop.missing(path, columns, theirs)
    return names


@dataclass(frozen=True)
class FileScan:
    """Symbol-months of bars and of order books to load now, and the cursor to keep.

    `waiting` are files left for later: one of them is still being written, or there are too many. `unreadable` has the
    cause for each file that cannot be read; while there is one, no unit is given, since no load could succeed.
    """

    units: tuple[Unit, ...]
    books: tuple[Unit, ...]
    cursor: str
    waiting: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


def scan(files: Files, cursor: str | None, now_ns: int, quiet_seconds: float) -> FileScan:
    """The symbol-months of files that are new or changed since `cursor`.

    No unit is given while a file is unfinished: a load reads all of them. Only new files are opened. A file that was
    removed changes nothing: the rows loaded from it are kept.
    """
    present = {
        fingerprint(folder.leave_out, file.name, file.size, file.modified_ns): (folder, file)
        for folder in (files.of_bars, files.of_books)
        for file in folder.files()
    }
    changes = compare(
        cursor,
        dict.fromkeys(present, True),
        now_ns=now_ns,
        quiet_seconds=quiet_seconds,
        legacy=lambda content: dict.fromkeys(content.get("seen", ()), True),  # earlier versions kept a list
    )
    ours = files.config.symbol_mapping.ours
    errors = {key: note for key, note in changes.notes.items() if key in present}
    new = {key: present[key] for key in (*changes.finished, *changes.unfinished) if key not in errors}
    units, books, taken, waiting = set[Unit](), set[Unit](), list[str](), list[str]()
    if not errors and not changes.unfinished:
        for key, (folder, file) in sorted(new.items(), key=lambda item: item[1][1].path):
            if len(units) + len(books) >= MAX_UNITS:
                waiting.append(file.path.name)
                continue
            try:
                found = {Unit(symbol, month) for theirs, month in folder.spans(file) if (symbol := ours(theirs))}
            except Exception as error:  # of one file: named until it is replaced
                log.warning("file_unreadable", file=file.name, error=error)
                errors[key] = str(error)
                continue
            (books if folder is files.of_books else units).update(found)
            taken.append(key)
    if errors or changes.unfinished:
        names = sorted(file.path.name for _, file in new.values())
        return FileScan((), (), changes.cursor((), errors), tuple(names), tuple(errors.values()))
    return FileScan(tuple(sorted(units)), tuple(sorted(books)), changes.cursor(taken, {}), tuple(sorted(waiting)))
