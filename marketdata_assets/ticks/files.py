"""Minute bars from CSV and Parquet files that a person dropped into a folder.

Columns go by their names, see COLUMNS; others are not read. A time without an offset is the exchange's clock. Where
two files have the same minute of a symbol, the file with the newer modification time wins.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.ticks import records
from marketdata_assets.ticks.errors import BadFile
from marketdata_assets.ticks.providers_file import FilesProvider
from marketdata_assets.ticks.records import Days, Delivery, Label

NAME = "files"
SUFFIXES = (".csv", ".parquet")

COLUMNS: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "ts_code", "code"),
    "ts": ("ts", "timestamp", "trade_time", "time", "datetime"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "volume": ("volume", "vol"),
    "turnover": ("turnover", "amount"),
}
"""Our columns and the names they may have in a file, in any case. A symbol is 600000.SH, volume is in shares."""

_OPTIONAL = ("turnover",)
_NUMBERS = ("open", "high", "low", "close", "volume", "turnover")
_TIMES = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y-%m-%dT%H:%M:%S")
_OFFSET = r"(?:Z|[+-]\d{2}:?\d{2})$"
_Key = tuple[Path, int, int]


@dataclass(frozen=True)
class _Content:
    """One file, read: rows as `records.bars` takes them and a column `symbol`, and rows that cannot be read at all."""

    name: str
    modified: int
    rows: dict[str, pl.DataFrame]
    unread: dict[str, pl.DataFrame]


class Files:
    """The files below `folder`. Each is read once, and again when it changed.

    While one of them cannot be read, every call raises BadFile: any symbol may be in it.
    """

    name = NAME

    def __init__(self, folder: Path, config: FilesProvider, *, label: Label = "end") -> None:
        self.folder, self.config, self.label = folder, config, label
        self._read: dict[_Key, _Content] = {}

    async def bars(self, symbol: str, days: Days) -> Delivery:
        """The minute bars of `symbol` in `days` from all files; BadFile when one of them cannot be read."""
        theirs = self.config.symbol_mapping.theirs(symbol)
        without = Delivery.without
        if theirs is None:
            reason = f"the symbol mapping of {NAME} has no rule for {symbol}"
            return without(NAME, symbol, days, self.label, "unsupported", reason)
        contents = [content for content in self._contents() if theirs in content.rows or theirs in content.unread]
        frame, rejected = self._together(contents, symbol, theirs, days)
        if frame.is_empty() and not rejected:
            reason = f"no file in {self.folder} has a bar in these days"
            return without(NAME, symbol, days, self.label, "empty", reason)
        return Delivery(NAME, symbol, days, "ok", frame, self.label, rejected=rejected)

    def symbols(self) -> list[str]:
        """Every symbol that a file has a row of."""
        found = {theirs for content in self._contents() for theirs in content.rows}
        return sorted(filter(None, map(self.config.symbol_mapping.ours, found)))

    def _together(
        self, contents: list[_Content], symbol: str, theirs: str, days: Days
    ) -> tuple[pl.DataFrame, tuple[Reject, ...]]:
        frames = [records.BARS.to_frame()]
        rejected: list[Reject] = []
        local = pl.col("ts").dt.convert_time_zone(self.config.session.timezone).dt.date()
        here = local.is_between(days.first, days.last) | local.is_null()  # a row without a time is everybody's
        for content in sorted(contents, key=lambda content: content.modified, reverse=True):
            if theirs in content.rows:
                rows = content.rows[theirs].filter(here)
                frame, bad = records.bars(rows, NAME, symbol, self.config.quality, self.config.session)
                frames.append(frame)
                rejected += [replace(reject, reason=f"{content.name}: {reject.reason}") for reject in bad]
            if theirs in content.unread:
                unread = content.unread[theirs].filter(here).select("line", "reason", "raw")
                rejected += [Reject(line, f"{content.name}: {reason}", raw) for line, reason, raw in unread.iter_rows()]
        return pl.concat(frames).unique("ts", keep="first", maintain_order=True).sort("ts"), tuple(rejected)

    def _contents(self) -> list[_Content]:
        keys = []
        for path in sorted(self.folder.rglob("*")) if self.folder.is_dir() else []:
            if path.suffix.lower() in SUFFIXES and path.is_file():
                stat = path.stat()
                keys.append((path, stat.st_mtime_ns, stat.st_size))
        self._read = {key: self._read.get(key) or self._content(*key) for key in keys}
        return list(self._read.values())

    def _content(self, path: Path, modified: int, size: int) -> _Content:
        raw = _table(path) if size else None
        if raw is None:
            return _Content(path.name, modified, {}, {})
        names = _names(path, raw.columns)
        table = raw.select(
            (pl.col(names[name]) if name in names else pl.lit(None)).alias(name) for name in COLUMNS
        ).with_columns(pl.concat_str(pl.all().cast(pl.String).fill_null(""), separator=",").alias("raw"))
        table = table.with_row_index("line", 2 if path.suffix.lower() == ".csv" else 1)
        table = table.with_columns(
            pl.col("line").cast(pl.Int64),
            symbol=pl.col("symbol").cast(pl.String).str.strip_chars().str.to_uppercase(),
            ts=self._times(table["ts"]),
        )
        unnamed = table.filter(pl.col("symbol").is_null() | (pl.col("symbol") == ""))
        if not unnamed.is_empty():
            raise BadFile(f"{path}:{unnamed['line'][0]}", "a row without a symbol")
        odd = table.with_columns(reason=_odd())
        numbers = [pl.col(name).cast(pl.Float64, strict=False) for name in _NUMBERS]
        good = odd.filter(pl.col("reason").is_null()).with_columns(numbers).drop("reason")
        bad = odd.filter(pl.col("reason").is_not_null())
        return _Content(path.name, modified, _by_symbol(good), _by_symbol(bad))

    def _times(self, column: pl.Series) -> pl.Expr:
        """The column in UTC; null where it is no time."""
        if isinstance(column.dtype, pl.Datetime):
            if column.dtype.time_zone:
                return pl.lit(column.dt.convert_time_zone("UTC").cast(pl.Datetime("ms", "UTC")))
            return records.to_utc("ts", self.config.session)
        text = pl.col("ts").cast(pl.String).str.strip_chars()
        naive = pl.coalesce(text.str.to_datetime(form, strict=False, time_unit="ms") for form in _TIMES)
        zone = self.config.session.timezone
        local = naive.dt.replace_time_zone(zone, ambiguous="null", non_existent="null").dt.convert_time_zone("UTC")
        aware = text.str.to_datetime("%+", strict=False, time_unit="ms", time_zone="UTC")
        return pl.when(text.str.contains(_OFFSET)).then(aware).otherwise(local)


def _by_symbol(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {str(key[0]): rows for key, rows in frame.partition_by("symbol", as_dict=True).items()}


def _table(path: Path) -> pl.DataFrame | None:
    """The file as it is; CSV as text, so that nothing is guessed. None when it has no row."""
    try:
        if path.suffix.lower() == ".parquet":
            return pl.read_parquet(path)
        return pl.read_csv(path, infer_schema=False, encoding="utf8")
    except pl.exceptions.NoDataError:
        return None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadFile(str(path), f"cannot be read ({' '.join(str(error).split())[:200]})") from error


def _names(path: Path, columns: list[str]) -> dict[str, str]:
    """Which column of the file is which of ours."""
    names: dict[str, str] = {}
    for ours, theirs in COLUMNS.items():
        found = [column for column in columns if column.strip().lower() in theirs]
        if len(found) > 1:
            raise BadFile(str(path), f"columns {' and '.join(found)} both mean {ours}")
        if found:
            names[ours] = found[0]
        elif ours not in _OPTIONAL:
            raise BadFile(str(path), f"no column {' or '.join(theirs)}; it has {', '.join(columns)}")
    return names


def _odd() -> pl.Expr:
    """Why a row cannot be read; null when it can."""
    found: list[pl.Expr] = []
    for name in _NUMBERS:
        text = pl.col(name).cast(pl.String).str.strip_chars()
        lost = text.is_not_null() & (text != "") & text.cast(pl.Float64, strict=False).is_null()
        found.append(pl.when(lost).then(pl.lit(f"{name} is no number")))
    return pl.coalesce(found)
