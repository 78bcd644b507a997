"""Reference data that a person dropped as CSV files into one folder.

A file is named after its table, as in `instruments.csv`, and has a header with the names of the table's columns. The
name of a file of a daily table may say which trading days it has in full: `suspensions_2026-03.csv` or
`suspensions_2026-03-02.csv`. Otherwise it has those days in full that occur in it. What of them is loaded is recorded
in `file_states`.
"""

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from marketdata_assets.loading import text_table
from marketdata_assets.loading.errors import LoadError, TooManyRejects
from marketdata_assets.loading.file_ledger import other_suffix
from marketdata_assets.loading.files import Delivered, Unit, everything
from marketdata_assets.loading.rejects import LINE, RejectLimit, Rejects
from marketdata_assets.loading.reports import and_more
from marketdata_assets.months import FIRST_BAR_MONTH
from marketdata_assets.reference import codes
from marketdata_assets.reference.calendar import Calendar
from marketdata_assets.reference.codes import board_of, lot_of
from marketdata_assets.reference.errors import BadReferenceFile
from marketdata_assets.reference.exchanges import misspelt
from marketdata_assets.reference.records import Days
from marketdata_assets.reference.tables import DAILY, INSTRUMENTS, NAME_HISTORY, SUSPENSIONS, TABLES, Table
from marketdata_assets.stores.bookkeeping import Reject

NAME = "files"
NONE = RejectLimit(share=0.0, rows=2**31)
"""Of a file with a wrong row nothing is loaded."""
SYMBOL = r"[A-Z0-9]+\.[A-Z]+"

_DATE = r"^ *(1[89]|2[0-2])[0-9]{2}(-[0-9]{1,2}-[0-9]{1,2}|/[0-9]{1,2}/[0-9]{1,2}|[0-9]{4}) *$"
_PERIOD = re.compile(r"[_.](\d{4}-\d{2})(-\d{2})?\.csv", re.IGNORECASE)
_OPTIONAL = {
    INSTRUMENTS.name: ("name", "listed", "delisted", "status", "board", "lot"),
    NAME_HISTORY.name: ("last", "reason"),
    SUSPENSIONS.name: ("timing",),
}
"""Columns that a file may leave out; other columns than the table's are ignored."""


@dataclass(frozen=True)
class FileRows:
    """The rows of one file: copies within it, those that a later file replaces, and those `outside` any trading day.

    `months` are those of its other rows; none where the table is loaded as a whole.
    """

    file: Delivered
    read: int
    duplicates: int
    outside: tuple[Reject, ...]
    replaced: Mapping[str, int]
    months: frozenset[str]


@dataclass(frozen=True)
class Dropped:
    """The rows of a table that files have. `days` are those of which they have all rows.

    Files that have `failed` have none; rows that were loaded from them before stay, unless another file has them.
    """

    frame: pl.DataFrame
    days: frozenset[dt.date] = frozenset()
    files: tuple[FileRows, ...] = field(default=())
    failed: Mapping[Delivered, BadReferenceFile] = field(default_factory=dict)

    @property
    def error(self) -> str | None:
        """Why files have failed, if any has."""
        return and_more([str(error) for error in self.failed.values()], 3, " ") or None

    def over(self, loaded: pl.DataFrame, table: Table) -> pl.DataFrame:
        """The rows, with `loaded` ones of files that may be of those that failed; the source is a column of both."""
        fresh = self.frame.with_columns(source=pl.lit(NAME))
        if not self.failed:
            return fresh
        before = loaded.filter(pl.col("source") == NAME).select(fresh.columns)
        return pl.concat([fresh, before.join(fresh, on=table.keys, how="anti")])


@dataclass(frozen=True)
class ReferenceFiles:
    """The CSV files in one folder, which need not exist."""

    folder: Path

    def of(self, table: str) -> list[Delivered]:
        """The files of a table, by name."""
        return [file for file in everything(self.folder) if table_of(file.name) == table]

    def read(self, table: Table, calendar: Calendar) -> Dropped:
        """The rows of all files of a table that can be read; a later file replaces rows of an earlier one."""
        frames, days = dict[Delivered, pl.DataFrame](), set[dt.date]()
        failed: dict[Delivered, BadReferenceFile] = {}
        for file in self.of(table.name):
            try:
                if file.problem:
                    raise BadReferenceFile(file.location, file.problem)
                frame = _read(file.path, table)
                if table.name in DAILY:
                    days |= _days(file.path, frame, calendar)
                frames[file] = frame
            except BadReferenceFile as error:
                failed[file] = error
        nothing = table.values.to_frame().with_columns(line=pl.lit(0, pl.Int64), file=pl.lit(""))
        tagged = [frame.select(*table.values, line=LINE, file=pl.lit(file.name)) for file, frame in frames.items()]
        every = pl.concat([nothing, *tagged])
        rows = every.unique(list(table.keys), keep="last", maintain_order=True)
        fates = _fates(frames, every, rows, table, calendar)
        return Dropped(rows.drop("file", "line").sort(table.keys), frozenset(days), fates, failed)


def _fates(
    files: Iterable[Delivered], every: pl.DataFrame, kept: pl.DataFrame, table: Table, calendar: Calendar
) -> tuple[FileRows, ...]:
    keys = list(table.keys)
    own = every.unique([*keys, "file"])
    pairs = own.join(kept.select(*keys, by="file"), on=keys).group_by("file", "by").len().iter_rows()
    replaced: dict[str, dict[str, int]] = {}
    for name, by, count in pairs:
        if by != name:
            replaced.setdefault(name, {})[by] = count
    read, distinct = (Counter(frame["file"].to_list()) for frame in (every, own))
    outside, months = dict[str, list[Reject]](), dict[str, set[str]]()
    for name, day, lines in kept.group_by("file", "date").agg("line").iter_rows() if table.name in DAILY else ():
        if f"{day:%Y-%m}" < FIRST_BAR_MONTH or not calendar.trading_days(Days(day, day)):
            found = [Reject(line, f"{day} is no trading day since 2000", "", str(day)) for line in lines]
            outside.setdefault(name, []).extend(found)
        else:
            months.setdefault(name, set()).add(f"{day:%Y-%m}")
    return tuple(
        FileRows(
            file,
            read[file.name],
            read[file.name] - distinct[file.name],
            tuple(sorted(outside.get(file.name, ()), key=lambda reject: reject.line)),
            replaced.get(file.name, {}),
            frozenset(months.get(file.name, ())),
        )
        for file in files
    )


def table_of(name: str) -> str:
    """The table of a file, by its name; empty when it is of none."""
    return next((table for table in TABLES if re.fullmatch(rf"{table}([_.][^/]*)?\.csv", name, re.IGNORECASE)), "")


def not_taken(name: str) -> str:
    """Why no load reads a file of this name; empty when one does."""
    if "/" in name:
        return "files of reference data are read from the folder itself, not from those below it: move the file up"
    if table_of(name):
        return ""
    return (
        other_suffix(name, (".csv",), "reference data") or f"no table has this name: begin it with {', '.join(TABLES)}"
    )


def _days(path: Path, frame: pl.DataFrame, calendar: Calendar) -> set[dt.date]:
    found = _PERIOD.search(path.name)
    if found is None:
        return set(frame["date"])
    month, day = found.groups()
    try:
        span = Days(*[dt.date.fromisoformat(f"{month}{day}")] * 2) if day else Days.month(month)
    except ValueError as error:
        raise BadReferenceFile(str(path), f"its name has no day or month such as 2026-03 ({error})") from error
    rejects = Rejects(NONE, rows=frame.height)
    for line, date in frame.filter(~pl.col("date").is_between(span.first, span.last)).select(LINE, "date").iter_rows():
        rejects.add(line, f"it is named after {span} and has a row of {date}")
    _check(path, rejects, frame)
    return set(calendar.trading_days(span))


def _read(path: Path, table: Table) -> pl.DataFrame:
    """The rows of a file with their line, with defaults for the columns that it leaves out."""
    try:
        found = text_table.read(Unit(Delivered(str(path), str(path))))
    except LoadError as error:
        raise BadReferenceFile(str(path), f"cannot be read ({error.cause or error})") from error
    optional, names = _OPTIONAL.get(table.name, ()), list(found.names)
    if missing := [name for name in table.values if name not in names and name not in optional]:
        raise BadReferenceFile(f"{path}:1", f"columns {', '.join(missing)} are missing; it has {names}")
    if twice := [name for name in table.values if names.count(name) > 1]:
        raise BadReferenceFile(f"{path}:1", f"column {twice[0]} is there twice")
    taken = [pl.nth(names.index(name) + 1).alias(name) for name in table.values if name in names]
    text = found.rows.select(LINE, *taken)
    rejects = Rejects(NONE, {one.line: one.reason for one in found.bad}, rows=text.height + len(found.bad))
    frame = text.select(LINE).hstack(
        [_column(rejects, text, name, kind) for name, kind in table.values.items() if name in names]
    )
    for name in {*table.keys} - {"timing"}:
        _object(rejects, name, text, frame[name].is_null())
    for name in {"symbol", "old", "new"} & {*frame.columns}:
        known = {one: codes.canonical(one) or one for one in frame[name].drop_nulls().unique()}
        frame = frame.with_columns(pl.col(name).replace(known))
        wrong = {one for one, symbol in known.items() if codes.misspelt(symbol) or misspelt(symbol)}
        bad = wrong | {one for one, symbol in known.items() if not re.fullmatch(SYMBOL, symbol)}
        for line, one in text.filter(pl.col(name).is_in(list(bad))).select(LINE, name).iter_rows():
            rejects.add(line, f"column {name!r} must not be {one!r}: {codes.advice(one)}")
    complete = _completed(frame, table)
    keys = complete.select(table.values.names()).unique().select(table.keys)
    for line in complete.join(keys.filter(keys.is_duplicated()), on=table.keys, how="semi", nulls_equal=True)[LINE]:
        rejects.add(line, f"another row has the same {', '.join(table.keys)} and other values")
    _check(path, rejects, text, found.bad)
    return complete.select(LINE, *table.values)


def _column(rejects: Rejects, text: pl.DataFrame, name: str, kind: pl.DataType) -> pl.Series:
    values = text[name]
    if isinstance(kind, pl.Boolean):
        known = {"1": True, "true": True, "0": False, "false": False}
        parsed = values.str.to_lowercase().replace_strict(known, default=None, return_dtype=pl.Boolean)
    elif isinstance(kind, pl.Date):
        whole = values.set(~values.str.contains(_DATE).fill_null(True), None)
        days = [whole.str.to_date(form, strict=False) for form in ("%Y-%m-%d", "%Y/%m/%d", "%Y%m%d")]
        parsed = text.select(pl.coalesce(days)).to_series()
    else:
        parsed = values.cast(kind, strict=False)
        if isinstance(kind, pl.Float64):
            parsed = parsed.set(~parsed.is_finite(), None)
    _object(rejects, name, text, parsed.is_null() & values.is_not_null())
    return parsed.alias(name)


def _object(rejects: Rejects, name: str, text: pl.DataFrame, wrong: pl.Series) -> None:
    for line, value in text.filter(wrong).select(LINE, name).iter_rows():
        rejects.add(line, f"column {name!r} must not be {value!r}")


def _check(path: Path, rejects: Rejects, text: pl.DataFrame, bad: Sequence[Reject] = ()) -> None:
    """Raise BadReferenceFile, which names the first wrong line, where there is any."""

    def raw(lines: set[int]) -> dict[int, str]:
        rows = text.filter(pl.col(LINE).is_in(list(lines))).iter_rows()
        return {one.line: one.raw for one in bad} | {line: ",".join(str(v or "") for v in row) for line, *row in rows}

    try:
        rejects.check_limit(str(path), raw=raw)
    except TooManyRejects as error:
        first = error.first
        raise BadReferenceFile(f"{path}:{first[0].line}", rejects.reasons[first[0].line], first) from error


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
