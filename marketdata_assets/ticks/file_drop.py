"""CSV and Parquet files dropped into a folder, and their rows by symbol.

Columns are matched by name, other columns are not read; a time without an offset is on the exchange's clock. The
columns, and the rules for a row, are those of `files` for bars and of `order_book` for order books.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from marketdata_assets.loading.files import FileState, walk
from marketdata_assets.reference.records import Days
from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.ticks.errors import BadFile
from marketdata_assets.ticks.providers_file import Session
from marketdata_assets.ticks.records import to_utc

SUFFIXES = (".csv", ".parquet")
ORDER_BOOKS = "order_book"  # the folder of order books below the one of bars

SYMBOL = ("symbol", "ts_code", "code")
TIME = ("ts", "timestamp", "trade_time", "time", "datetime")

_TIMES = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M:%S%.f", "%Y/%m/%d %H:%M", "%Y-%m-%dT%H:%M:%S%.f")
_OFFSET = r"(?:Z|[+-]\d{2}:?\d{2})$"

Names = Callable[[Path, Sequence[str]], Mapping[str, str]]
"""The file's column for each canonical column; BadFile when one is missing or duplicated."""

Parsed = tuple[pl.DataFrame, tuple[Reject, ...]]
"""Rows, and rejected rows."""


@dataclass(frozen=True)
class Content:
    """One file: rows with line, raw, symbol, ts in UTC and numbers, and rows with a value that cannot be parsed."""

    name: str
    modified: int
    rows: Mapping[str, pl.DataFrame]
    unparsed: Mapping[str, pl.DataFrame]


@dataclass
class Folder:
    """The files of one kind below a folder. Each is read once, and again when it has changed."""

    path: Path
    leave_out: str | None
    names: Names
    session: Session
    _contents: dict[FileState, Content | BadFile] = field(default_factory=dict)

    def files(self) -> list[FileState]:
        """The files now, by name."""
        return walk(self.path, keep=self._is_ours)

    def _is_ours(self, name: str) -> bool:
        return name.lower().endswith(SUFFIXES) and name.split("/")[0] != self.leave_out

    def contents(self) -> list[Content]:
        """All files, the newest first; BadFile when one of them cannot be read, since it may have any symbol."""
        self._contents = {file: self._contents.get(file) or self._read(file) for file in self.files()}
        for content in self._contents.values():
            if isinstance(content, BadFile):
                raise content.with_traceback(None)
        contents = [content for content in self._contents.values() if isinstance(content, Content)]
        return sorted(contents, key=lambda content: content.modified, reverse=True)

    def _read(self, file: FileState) -> Content | BadFile:
        try:
            return self.content(file)
        except BadFile as error:
            return error

    def content(self, file: FileState) -> Content:
        """Read one file."""
        raw = table(file.path) if file.size else None
        if raw is None:
            return Content(file.path.name, file.modified_ns, {}, {})
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
        return Content(file.path.name, file.modified_ns, _by_symbol(good), _by_symbol(bad))

    def rows_of(self, theirs: str, days: Days, empty: pl.DataFrame, parse: Callable[[pl.DataFrame], Parsed]) -> Parsed:
        """The rows of one symbol from all files, by `parse`; of equal instants the row of the newest file counts."""
        contents = [content for content in self.contents() if theirs in content.rows or theirs in content.unparsed]
        if not contents:
            return empty, ()
        frames, rejected = [empty], list[Reject]()
        local = pl.col("ts").dt.convert_time_zone(self.session.timezone).dt.date()
        here = local.is_between(days.first, days.last) | local.is_null()  # a row without a time counts for every day
        for content in contents:
            if theirs in content.rows:
                frame, bad = parse(content.rows[theirs].filter(here))
                frames.append(frame)
                rejected += [replace(reject, reason=f"{content.name}: {reject.reason}") for reject in bad]
            if theirs in content.unparsed:
                unparsed = content.unparsed[theirs].filter(here).select("line", "reason", "raw")
                rejected += [
                    Reject(line, f"{content.name}: {reason}", raw) for line, reason, raw in unparsed.iter_rows()
                ]
        return pl.concat(frames).unique("ts", keep="first", maintain_order=True).sort("ts"), tuple(rejected)

    def symbols(self) -> set[str]:
        """Every symbol that a file has a row of, as the file names it."""
        return {theirs for content in self.contents() for theirs in content.rows}

    def months(self, file: FileState) -> set[tuple[str, str]]:
        """The symbols of a file, as the file names them, each with the months (of the exchange) of its rows.

        A row without a time counts for the other months of its symbol.
        """
        raw = table(file.path) if file.size else None
        if raw is None:
            return set()
        names = self.names(file.path, raw.columns)
        rows = raw.select(symbol=names["symbol"], ts=names["ts"])
        local = times(rows["ts"], self.session).dt.convert_time_zone(self.session.timezone)
        pairs = rows.select(symbol=_symbols(), month=local.dt.strftime("%Y-%m")).drop_nulls().unique()
        return set(pairs.iter_rows())


def table(path: Path) -> pl.DataFrame | None:
    """The file without conversions; CSV as text, so that no type is guessed. None when it has no row."""
    try:
        if path.suffix.lower() == ".parquet":
            return pl.read_parquet(path)
        return pl.read_csv(path, infer_schema=False, encoding="utf8")
    except pl.exceptions.NoDataError:
        return None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadFile(str(path), f"cannot be read ({' '.join(str(error).split())[:200]})") from error


def by_names(path: Path, columns: Sequence[str], wanted: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The column of a file for each of `wanted`, which lists the names each may have; missing ones are left out."""
    names: dict[str, str] = {}
    for ours, theirs in wanted.items():
        matches = [column for column in columns if column.strip().lower() in theirs]
        if len(matches) > 1:
            raise BadFile(str(path), f"columns {' and '.join(matches)} both mean {ours}")
        if matches:
            names[ours] = matches[0]
    return names


def missing(path: Path, columns: Sequence[str], names: Sequence[str]) -> BadFile:
    """The error for a column that a file must have under one of `names`."""
    return BadFile(str(path), f"no column {' or '.join(names)}; it has {', '.join(columns)}")


def times(column: pl.Series, session: Session) -> pl.Expr:
    """The column `ts` in UTC; null where it cannot be parsed."""
    clock = pl.col("ts")
    if isinstance(column.dtype, pl.Datetime):
        if column.dtype.time_zone:
            return clock.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
        return to_utc(clock.dt.cast_time_unit("us"), session)
    text = clock.cast(pl.String).str.strip_chars()
    naive = pl.coalesce(text.str.to_datetime(form, strict=False, time_unit="us") for form in _TIMES)
    aware = text.str.to_datetime("%+", strict=False, time_unit="us", time_zone="UTC")
    return pl.when(text.str.contains(_OFFSET)).then(aware).otherwise(to_utc(naive, session))


def _symbols() -> pl.Expr:
    return pl.col("symbol").cast(pl.String).str.strip_chars().str.to_uppercase()


def _no_number(name: str) -> pl.Expr:
    text = pl.col(name).cast(pl.String).str.strip_chars()
    lost = text.is_not_null() & (text != "") & text.cast(pl.Float64, strict=False).is_null()
    return pl.when(lost).then(pl.lit(f"{name} is not a number"))


def _by_symbol(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {str(key[0]): rows for key, rows in frame.partition_by("symbol", as_dict=True).items()}
