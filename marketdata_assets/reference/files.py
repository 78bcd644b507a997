"""Reference data that a person dropped as CSV files into one folder.

A file is named after its table, as in `instruments.csv`, and has a header with the names of the table's columns. The
name of a file of a daily table may say which trading days it has in full: `suspensions_2026-03.csv` or
`suspensions_2026-03-02.csv`. Otherwise it has those days in full that occur in it.
"""

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from marketdata_assets.reference.boards import board_of, lot_of
from marketdata_assets.reference.calendar import Calendar
from marketdata_assets.reference.errors import BadReferenceFile
from marketdata_assets.reference.records import Days
from marketdata_assets.reference.tables import DAILY, INSTRUMENTS, NAME_HISTORY, SUSPENSIONS, TABLES, Table

NAME = "files"
SYMBOL = r"^[A-Z0-9]+\.[A-Z]+$"

_PERIOD = re.compile(r"[_.](\d{4}-\d{2})(-\d{2})?\.csv")
_OPTIONAL = {
    INSTRUMENTS.name: ("name", "listed", "delisted", "status", "board", "lot"),
    NAME_HISTORY.name: ("last", "reason"),
    SUSPENSIONS.name: ("timing",),
}
"""Columns that a file may leave out; other columns than the table's are ignored."""


@dataclass(frozen=True)
class Dropped:
    """The rows of a table that files have. `days` are those of which they have all rows."""

    frame: pl.DataFrame
    days: frozenset[dt.date] = frozenset()


@dataclass(frozen=True)
class ReferenceFiles:
    """The CSV files in one folder, which need not exist."""

    folder: Path

    def paths(self, table: str) -> list[Path]:
        """The files of a table, by name."""
        return sorted(path for path in self.folder.glob(f"{table}*.csv") if _table_of(path.name) == table)

    def read(self, table: Table, calendar: Calendar) -> Dropped:
        """The rows of all files of a table; a later file replaces rows of an earlier one. Raises BadReferenceFile."""
        frames, days = [table.values.to_frame()], set[dt.date]()
        for path in self.paths(table.name):
            frames.append(_read(path, table))
            if table.name in DAILY:
                days |= _days(path, frames[-1], calendar)
        rows = pl.concat(frames).unique(list(table.keys), keep="last", maintain_order=True)
        return Dropped(rows.sort(table.keys), frozenset(days))


def _table_of(name: str) -> str:
    return next((table for table in TABLES if re.fullmatch(rf"{table}([_.].*)?\.csv", name)), "")


def _days(path: Path, frame: pl.DataFrame, calendar: Calendar) -> set[dt.date]:
    found = _PERIOD.search(path.name)
    if found is None:
        return set(frame["date"])
    month, day = found.groups()
    try:
        span = Days(*[dt.date.fromisoformat(f"{month}{day}")] * 2) if day else Days.month(month)
    except ValueError as error:
        raise BadReferenceFile(str(path), f"its name has no day or month such as 2026-03 ({error})") from error
    outside = frame.filter(~pl.col("date").is_between(span.first, span.last))
    if outside.height:
        raise BadReferenceFile(str(path), f"it is named after {span} and has a row of {outside['date'][0]}")
    return set(calendar.trading_days(span))


def _read(path: Path, table: Table) -> pl.DataFrame:
    """The rows of a file, with defaults for the columns that it leaves out."""
    try:
        text = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BadReferenceFile(str(path), f"cannot be read ({str(error).splitlines()[0]})") from error
    optional = _OPTIONAL.get(table.name, ())
    missing = [name for name in table.values if name not in text.columns and name not in optional]
    if missing:
        raise BadReferenceFile(f"{path}:1", f"columns {', '.join(missing)} are missing; it has {text.columns}")
    columns = [_column(path, text, name, kind) for name, kind in table.values.items() if name in text.columns]
    frame = pl.DataFrame(columns)
    for name in table.keys:
        _object(path, name, text, frame[name].is_null() if name != "timing" else pl.Series([False]))
    for name in {"symbol", "old", "new"} & {*frame.columns}:
        _object(path, name, text, ~frame[name].str.contains(SYMBOL))
    return _completed(frame, table).select(table.values.names())


def _column(path: Path, text: pl.DataFrame, name: str, kind: pl.DataType) -> pl.Series:
    values = text[name].str.strip_chars()
    values = values.set(values == "", None)
    if isinstance(kind, pl.Boolean):
        known = {"1": True, "true": True, "0": False, "false": False}
        parsed = values.str.to_lowercase().replace_strict(known, default=None, return_dtype=pl.Boolean)
    elif isinstance(kind, pl.Date):
        parsed = values.str.to_date("%Y-%m-%d", strict=False)
    else:
        parsed = values.cast(kind, strict=False)
    _object(path, name, text, parsed.is_null() & values.is_not_null())
    return parsed


def _object(path: Path, name: str, text: pl.DataFrame, wrong: pl.Series) -> None:
    """Raise an error that names the first line that is `wrong`."""
    if (line := wrong.arg_true().to_list()[:1]) != []:
        raise BadReferenceFile(f"{path}:{line[0] + 2}", f"column {name!r} must not be {text[name][line[0]]!r}")


def _completed(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    absent = {name: kind for name, kind in table.values.items() if name not in frame.columns}
    frame = frame.with_columns(pl.lit(None, kind).alias(name) for name, kind in absent.items())
    if table is INSTRUMENTS:
        delisted = pl.when(pl.col("delisted").is_null()).then(pl.lit("listed")).otherwise(pl.lit("delisted"))
        boards = pl.Series("board", [board_of(symbol) for symbol in frame["symbol"]], pl.String)
        lots = pl.Series("lot", [lot_of(board_of(symbol)) for symbol in frame["symbol"]], pl.UInt32)
        frame = frame.with_columns(
            pl.col("status").fill_null(delisted), pl.col("board").fill_null(boards), pl.col("lot").fill_null(lots)
        )
    return frame.with_columns(pl.col(name).fill_null("") for name in ("name", "reason", "timing") if name in frame)
