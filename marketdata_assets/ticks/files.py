"""Minute bars and order books from CSV and Parquet files that a person dropped into a folder.

Order books lie in its folder `order_book`, bars anywhere else. Where two files have the same instant of a symbol, the
file with the newer modification time wins.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from marketdata_assets.ticks import books, file_drop, records
from marketdata_assets.ticks.books import BOOKS, BookDelivery
from marketdata_assets.ticks.file_drop import Folder, Made
from marketdata_assets.ticks.providers_file import FilesProvider
from marketdata_assets.ticks.records import BARS, Days, Delivery, Label

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

_OPTIONAL = ("turnover",)


class Files:
    """The files below `folder`. Each is read once, and again when it changed.

    While one of them cannot be read, every call that concerns its kind raises BadFile: any symbol may be in it.
    """

    name = NAME

    def __init__(self, folder: Path, config: FilesProvider, *, label: Label = "end") -> None:
        self.folder, self.config, self.label = folder, config, label
        self.of_bars = Folder(folder, file_drop.ORDER_BOOKS, bar_names, config.session)
        self.of_books = Folder(folder / file_drop.ORDER_BOOKS, None, books.names, config.session)

    async def bars(self, symbol: str, days: Days) -> Delivery:
        """The minute bars of `symbol` in `days` from all files; BadFile when one of them cannot be read."""
        theirs = self.config.symbol_mapping.theirs(symbol)
        without = Delivery.without
        if theirs is None:
            return without(NAME, symbol, days, self.label, "unsupported", _no_rule(symbol))

        def make(rows: pl.DataFrame) -> Made:
            if "turnover" not in rows.columns:
                rows = rows.with_columns(turnover=pl.lit(None, pl.Float64))
            return records.bars(rows, NAME, symbol, self.config.quality, self.config.session)

        frame, rejected = self.of_bars.together(theirs, days, BARS.to_frame(), make)
        if frame.is_empty() and not rejected:
            reason = f"no file in {self.folder} has a bar in these days"
            return without(NAME, symbol, days, self.label, "empty", reason)
        return Delivery(NAME, symbol, days, "ok", frame, self.label, rejected=rejected)

    async def books(self, symbol: str, days: Days) -> BookDelivery:
        """The order books of `symbol` in `days` from all files; BadFile when one of them cannot be read."""
        theirs = self.config.symbol_mapping.theirs(symbol)
        if theirs is None:
            return BookDelivery.without(NAME, symbol, days, "unsupported", _no_rule(symbol))
        made = self.of_books.together(theirs, days, BOOKS.to_frame(), lambda rows: books.books(rows, NAME, symbol))
        frame, rejected = made
        if frame.is_empty() and not rejected:
            reason = f"no file in {self.of_books.path} has a book in these days"
            return BookDelivery.without(NAME, symbol, days, "empty", reason)
        return BookDelivery(NAME, symbol, days, "ok", frame, rejected)

    def symbols(self) -> list[str]:
        """Every symbol that a file of bars has a row of."""
        return sorted(filter(None, map(self.config.symbol_mapping.ours, self.of_bars.symbols())))


def bar_names(path: Path, columns: Sequence[str]) -> dict[str, str]:
    """Which column of a file of bars is which of COLUMNS."""
    names = file_drop.by_names(path, columns, COLUMNS)
    for ours, theirs in COLUMNS.items():
        if ours not in names and ours not in _OPTIONAL:
            raise file_drop.missing(path, columns, theirs)
    return names


def _no_rule(symbol: str) -> str:
    return f"the symbol mapping of {NAME} has no rule for {symbol}"
