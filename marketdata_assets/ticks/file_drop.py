"""CSV and Parquet files that a person dropped into a folder: which there are, and their rows by symbol.

Columns go by their names, others are not read; a time without an offset is the exchange's clock. Which columns there
are, and what makes a row of them, is said in `files` for bars and in `books` for order books.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import polars as pl

from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.ticks.errors import BadFile
from marketdata_assets.ticks.providers_file import Session
from marketdata_assets.ticks.records import Days

SUFFIXES = (".csv", ".parquet")
ORDER_BOOKS = "order_book"
"""The folder of order books below the one of bars."""

SYMBOL = ("symbol", "ts_code", "code")
TIME = ("ts", "timestamp", "trade_time", "time", "datetime")

_TIMES = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M:%S%.f", "%Y/%m/%d %H:%M", "%Y-%m-%dT%H:%M:%S%.f")
_OFFSET = r"(?:Z|[+-]\d{2}:?\d{2})$"

Names = Callable[[Path, Sequence[str]], Mapping[str, str]]
"""Which column of a file is which of ours; BadFile when one is missing or there twice."""

Made = tuple[pl.DataFrame, tuple[Reject, ...]]


class File(NamedTuple):
    """A file and how it lay there; one that changed is another."""

    path: Path
    modified: int  # ns
    size: int


@dataclass(frozen=True)
class Content:
    """One file, read: rows with line, raw, symbol, ts in UTC and numbers, and rows that cannot be read at all."""

    name: str
    modified: int
    rows: Mapping[str, pl.DataFrame]
    unread: Mapping[str, pl.DataFrame]


@dataclass
class Folder:
    """The files of one kind below a folder. Each is read once, and again when it changed."""

    path: Path
    leave_out: str | None
    names: Names
    session: Session
    _read: dict[File, Content] = field(default_factory=dict)

    def files(self) -> list[File]:
        """What lies there now, by name."""
        found = []
        for path in sorted(self.path.rglob("*")) if self.path.is_dir() else []:
            if path.suffix.lower() in SUFFIXES and path.relative_to(self.path).parts[0] != self.leave_out:
                try:
                    stat = path.stat()
                except FileNotFoundError:
                    continue
                if path.is_file():
                    found.append(File(path, stat.st_mtime_ns, stat.st_size))
        return found

    def contents(self) -> list[Content]:
        """All files, the newest first; BadFile when one of them cannot be read: any symbol may be in it."""
        self._read = {file: self._read.get(file) or self.content(file) for file in self.files()}
        return sorted(self._read.values(), key=lambda content: content.modified, reverse=True)

    def content(self, file: File) -> Content:
        """Read one file."""
        raw = table(file.path) if file.size else None
        if raw is None:
            return Content(file.path.name, file.modified, {}, {})
        names = self.names(file.path, raw.columns)
        rows = raw.select(pl.col(theirs).alias(ours) for ours, theirs in names.items())
        rows = rows.with_columns(pl.concat_str(pl.all().cast(pl.String).fill_null(""), separator=",").alias("raw"))
        rows = rows.with_row_index("line", 2 if file.path.suffix.lower() == ".csv" else 1)
        rows = rows.with_columns(pl.col("line").cast(pl.Int64), symbol=_symbols(), ts=times(rows["ts"], self.session))
        unnamed = rows.filter(pl.col("symbol").is_null() | (pl.col("symbol") == ""))
        if not unnamed.is_empty():
            raise BadFile(f"{file.path}:{unnamed['line'][0]}", "a row without a symbol")
        numbers = [name for name in names if name not in ("symbol", "ts")]
        judged = rows.with_columns(reason=pl.coalesce(map(_no_number, numbers)))
        good = judged.filter(pl.col("reason").is_null())
        good = good.with_columns(pl.col(name).cast(pl.Float64, strict=False) for name in numbers).drop("reason")
        bad = judged.filter(pl.col("reason").is_not_null())
        return Content(file.path.name, file.modified, _by_symbol(good), _by_symbol(bad))

    def together(self, theirs: str, days: Days, empty: pl.DataFrame, make: Callable[[pl.DataFrame], Made]) -> Made:
        """The rows of one symbol from all files as `make` makes them; the newest file has an instant for itself."""
        contents = [content for content in self.contents() if theirs in content.rows or theirs in content.unread]
        if not contents:
            return empty, ()
        frames, rejected = [empty], list[Reject]()
        local = pl.col("ts").dt.convert_time_zone(self.session.timezone).dt.date()
        here = local.is_between(days.first, days.last) | local.is_null()  # a row without a time is everybody's
        for content in contents:
            if theirs in content.rows:
                frame, bad = make(content.rows[theirs].filter(here))
                frames.append(frame)
                rejected += [replace(reject, reason=f"{content.name}: {reject.reason}") for reject in bad]
            if theirs in content.unread:
                unread = content.unread[theirs].filter(here).select("line", "reason", "raw")
                rejected += [Reject(line, f"{content.name}: {reason}", raw) for line, reason, raw in unread.iter_rows()]
        return pl.concat(frames).unique("ts", keep="first", maintain_order=True).sort("ts"), tuple(rejected)

    def symbols(self) -> set[str]:
        """Every symbol that a file has a row of, as it is called there."""
        return {theirs for content in self.contents() for theirs in content.rows}

    def months(self, file: File) -> set[tuple[str, str]]:
        """The symbols of a file, as they are called there, and the months of the exchange that it has rows of.

        A row without a time counts for the months that its symbol has otherwise.
        """
        raw = table(file.path) if file.size else None
        if raw is None:
            return set()
        names = self.names(file.path, raw.columns)
        rows = raw.select(symbol=names["symbol"], ts=names["ts"])
        local = times(rows["ts"], self.session).dt.convert_time_zone(self.session.timezone)
        found = rows.select(symbol=_symbols(), month=local.dt.strftime("%Y-%m")).drop_nulls().unique()
        return set(found.iter_rows())


def table(path: Path) -> pl.DataFrame | None:
    """The file as it is; CSV as text, so that nothing is guessed. None when it has no row."""
    try:
        if path.suffix.lower() == ".parquet":
            return pl.read_parquet(path)
        return pl.read_csv(path, infer_schema=False, encoding="utf8")
    except pl.exceptions.NoDataError:
        return None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadFile(str(path), f"cannot be read ({' '.join(str(error).split())[:200]})") from error


def by_names(path: Path, columns: Sequence[str], wanted: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Which of `columns` is which of `wanted`, that lists the names each may have; those that are not there are left
    out."""
    names: dict[str, str] = {}
    for ours, theirs in wanted.items():
        found = [column for column in columns if column.strip().lower() in theirs]
        if len(found) > 1:
            raise BadFile(str(path), f"columns {' and '.join(found)} both mean {ours}")
        if found:
            names[ours] = found[0]
    return names


def missing(path: Path, columns: Sequence[str], names: Sequence[str]) -> BadFile:
    """The error for a column that a file must have under one of `names`."""
    return BadFile(str(path), f"no column {' or '.join(names)}; it has {', '.join(columns)}")


def times(column: pl.Series, session: Session) -> pl.Expr:
    """The column `ts` in UTC; null where it is no time."""
    clock = pl.col("ts")
    if isinstance(column.dtype, pl.Datetime):
        if column.dtype.time_zone:
            return clock.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
        return _utc(clock.dt.cast_time_unit("us"), session)
    text = clock.cast(pl.String).str.strip_chars()
    naive = pl.coalesce(text.str.to_datetime(form, strict=False, time_unit="us") for form in _TIMES)
    aware = text.str.to_datetime("%+", strict=False, time_unit="us", time_zone="UTC")
    return pl.when(text.str.contains(_OFFSET)).then(aware).otherwise(_utc(naive, session))


def _utc(naive: pl.Expr, session: Session) -> pl.Expr:
    """Null where the exchange's clocks show no such time, or show it twice."""
    return naive.dt.replace_time_zone(session.timezone, ambiguous="null", non_existent="null").dt.convert_time_zone(
        "UTC"
    )


def _symbols() -> pl.Expr:
    return pl.col("symbol").cast(pl.String).str.strip_chars().str.to_uppercase()


def _no_number(name: str) -> pl.Expr:
    text = pl.col(name).cast(pl.String).str.strip_chars()
    lost = text.is_not_null() & (text != "") & text.cast(pl.Float64, strict=False).is_null()
    return pl.when(lost).then(pl.lit(f"{name} is no number"))


def _by_symbol(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {str(key[0]): rows for key, rows in frame.partition_by("symbol", as_dict=True).items()}
