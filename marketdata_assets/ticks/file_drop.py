"""CSV and Parquet files dropped into a folder, and their rows by symbol.

Columns are matched by name, other columns are not read; a time without an offset is on the exchange's clock. The
columns, and the rules for a row, are those of `files` for bars and of `order_book` for order books.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from marketdata_assets.errors import MarketDataError
from marketdata_assets.input_limits import MOST_TIMES_WHOLE
from marketdata_assets.loading import parquet_slices, text_table
from marketdata_assets.loading.errors import LoadError, TooManyRejects
from marketdata_assets.loading.files import Delivered, Unit, below, walk
from marketdata_assets.loading.overwrites import unchanged
from marketdata_assets.loading.rejects import DEFAULT_LIMIT, LINE
from marketdata_assets.loading.text_table import TextTable
from marketdata_assets.reference import codes, exchanges
from marketdata_assets.reference.exchanges import exchange_of
from marketdata_assets.reference.records import Days, Label
from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.ticks.errors import BadFile
from marketdata_assets.ticks.providers_file import DroppedFiles, Session
from marketdata_assets.ticks.records import OTHERS, Delivery, Dropped, day_of, on_each_clock, rejects, to_utc
from marketdata_assets.ticks.reports import Unit as SymbolMonth

NAME = "files"
SUFFIXES = (".csv", ".csv.gz", ".parquet")
MISSING = ("NAN", "NAT", "NONE", "NULL", "NA", "N/A", "<NA>")  # what programs write for no value, in any case
ORDER_BOOKS = "order_book"  # the folder of order books below the one of bars

SYMBOL = ("symbol", "ts_code", "code")
TIME = ("ts", "timestamp", "trade_time", "time", "datetime")

_TIMES = tuple(
    f"%Y{dash}%m{dash}%d{between}{clock}" for dash in "-/" for between in " T" for clock in ("%H:%M:%S%.f", "%H:%M")
)
_COMPACT = r"^(19|20)\d{10}(\d{2}(\d{3})?)?$"  # 20261120093000, with milliseconds or without seconds
_EPOCHS = {10: 1_000_000, 13: 1_000, 16: 1}  # digits, and microseconds of one: seconds, ms, us since 1970
_EPOCH_SPAN = (631_152_000_000_000, 2_000_000_000_000_000)  # 1990 to May 2033: what else has ten digits is no epoch
_SECOND_60 = r":60(\D|$)|^\d{12}60"  # polars reads it as the next minute
_OFFSET = r"^(?<clock>.*?)(?: ?(?:(?<utc>Z)|(?<sign>[+-])(?<hours>0\d|1[0-4]):?(?<minutes>[0-5]\d)))?$"

Names = Callable[[Path, Sequence[str]], Mapping[str, str]]
"""The file's column for each canonical column; BadFile when one is missing or duplicated."""

Judged = tuple[pl.DataFrame, pl.DataFrame]
"""Rows to load, and the others with the columns of OTHERS."""

Judge = Callable[[pl.DataFrame], Judged]
"""Judges rows that have line, raw, symbol, ts in UTC, numbers, and a `reason` where a number cannot be parsed."""

Spans = Mapping[SymbolMonth, Days]
"""The first and last day that a file has of a symbol in a month."""


@dataclass(frozen=True)
class Content:
    """One file: `read` rows are the `rows` of each symbol, and the `others`, which are rejected or duplicates."""

    file: Delivered
    read: int
    rows: Mapping[str, pl.DataFrame]
    others: Mapping[str, pl.DataFrame]
    spans: Spans
    rejected: int
    undated: tuple[Reject, ...]
    """Rejected rows without a time or a symbol, which belong to no symbol-month."""
    flaw: TooManyRejects | None
    """Why nothing of the file is loaded: the limit of rejected rows is that of the whole file."""

    @property
    def skipped(self) -> int:
        """Duplicates."""
        return sum(others["reason"].null_count() for others in self.others.values())

    @property
    def loaded(self) -> int:
        """Rows that are loaded: none where the file has a flaw."""
        return 0 if self.flaw else self.read - self.rejected - self.skipped

    def rejects(self) -> tuple[Reject, ...]:
        """All rejected rows, by line."""
        return rejects(pl.concat([OTHERS.to_frame(), *self.others.values()]).sort("line"))


@dataclass(frozen=True)
class Chosen:
    """What to read of a symbol in a month: files, and the names of those that are forgotten."""

    files: set[Delivered] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)


@dataclass
class Folder:
    """The files of one kind below a folder. Each is read once, and again when it has changed.

    `columns` are those of the rows of a delivery.
    """

    path: Path
    leave_out: str | None
    columns: pl.Schema
    names: Names
    judge: Judge
    config: DroppedFiles
    _contents: dict[Delivered, Content | BadFile] = field(default_factory=dict)
    _paths: dict[str, str] = field(default_factory=dict)
    _chosen: Mapping[SymbolMonth, Chosen] | None = None
    _ages: Mapping[str, int] = field(default_factory=dict)

    def select(self, chosen: Mapping[SymbolMonth, Chosen], ages: Mapping[str, int]) -> None:
        """From now on, `delivery` reads only the files that are chosen of a symbol-month. `ages` are those of
        `Dropped`."""
        self._chosen, self._ages = chosen, ages

    def files(self) -> list[Delivered]:
        """The files now, by name."""
        return walk(self.path, keep=self._is_ours)

    def listing(self) -> pl.DataFrame:
        """The same in columns, for many files: file, size, modified and changed; `delivered` makes one of a row."""
        names, sizes, times, changes, self._paths = list[str](), list[int](), list[int](), list[int](), {}
        for name, path, size, modified, *_, changed in below(self.path, self._is_ours):
            names.append(name)
            sizes.append(size)
            times.append(modified)
            changes.append(changed)
            if path != f"{self.path}/{name}":  # a name that is not that of the file system
                self._paths[name] = path
        columns = {"file": names, "size": sizes, "modified": times, "changed": changes}
        numbers = dict.fromkeys(("size", "modified", "changed"), pl.Int64)
        return pl.DataFrame(columns, {"file": pl.String, **numbers}).sort("file")

    def delivered(self, file: str, size: int, modified: int, changed: int) -> Delivered:
        """The file of a row of the last `listing`, which has to be made before."""
        place = self._paths.get(file) or f"{self.path}/{file}"
        return Delivered(file, place, size, modified, changed_ns=changed)

    def _is_ours(self, name: str) -> bool:
        return name.lower().endswith(SUFFIXES) and name.split("/")[0] != self.leave_out

    def contents(self) -> list[Content]:
        """All files that can be read, the newest first; `broken` has the others."""
        self._contents = {file: self._contents.get(file) or self._read(file) for file in self.files()}
        return sorted(self.read(), key=_age, reverse=True)

    def broken(self) -> dict[str, str]:
        """The files that could not be read so far, by name, and why."""
        return {file.name: str(error) for file, error in self._contents.items() if isinstance(error, BadFile)}

    def _of(self, symbol: str, days: Days) -> tuple[list[Content], list[MarketDataError], frozenset[str]]:
        """The files with rows of a symbol, the newest first; why others are not loaded; and the withdrawn ones."""
        if self._chosen is None:
            chosen = Chosen({content.file for content in self.contents()})
        else:
            units = {SymbolMonth(symbol, f"{day:%Y-%m}") for day in days}
            found = [self._chosen.get(unit, Chosen()) for unit in units]
            chosen = Chosen(set().union(*(one.files for one in found)), set().union(*(one.withdrawn for one in found)))
        good, flaws = list[Content](), list[MarketDataError]()
        for file in sorted(chosen.files, key=lambda file: file.name):
            content = self.kept(file)
            if isinstance(content, BadFile):
                flaws.append(content)
            elif symbol in {*content.rows, *content.others}:
                if content.flaw is None:
                    good.append(content)
                else:
                    flaws.append(content.flaw)
        return sorted(good, key=_age, reverse=True), flaws, frozenset(chosen.withdrawn)

    def kept(self, file: Delivered) -> Content | BadFile:
        """The content of a file, read once."""
        if file not in self._contents:
            self._contents[file] = self._read(file)
        return self._contents[file]

    def is_good(self, file: Delivered) -> bool:
        """Whether something of a file can be loaded."""
        content = self.kept(file)
        return isinstance(content, Content) and content.flaw is None

    def read(self) -> list[Content]:
        """The files that were read so far."""
        return [content for content in self._contents.values() if isinstance(content, Content)]

    def _read(self, file: Delivered) -> Content | BadFile:
        try:
            return self.content(file)
        except BadFile as error:
            return error

    def content(self, file: Delivered) -> Content:
        """Read one file."""
        found = table(file)
        names = self.names(file.path, found.names)
        columns = [pl.nth(found.names.index(theirs) + 1).alias(ours) for ours, theirs in names.items()]
        rows = found.rows.select(*columns, line=LINE)
        rows = rows.with_columns(
            pl.concat_str(pl.col(*names).cast(pl.String).fill_null(""), separator=",").alias("raw")
        )
        symbols, unknown = self._symbols(rows["symbol"])
        given, numbers = rows["ts"].cast(pl.String), [name for name in names if name not in ("symbol", "ts")]
        rows = rows.with_columns(symbol=symbols, ts=self._times(rows["ts"], symbols))
        latest = pl.lit(_latest(file))
        reason = pl.coalesce(unknown, _no_time(given, latest), *map(_no_number, numbers))
        rows = rows.with_columns(reason=reason, ts=pl.when(pl.col("ts") <= latest).then("ts"))
        rows = rows.with_columns(pl.col(name).cast(pl.Float64, strict=False) for name in numbers)
        try:
            good, others = self.judge(rows)
        except LoadError as error:  # of the file as a whole
            raise BadFile(str(file.path), str(error)) from error
        if found.bad:
            bad = [{"line": one.line, "reason": one.reason, "raw": one.raw} for one in found.bad]
            others = pl.concat([others, pl.DataFrame(bad, OTHERS)]).sort("line")
        named = pl.concat_str(pl.lit(f"{file.path.name}: "), "reason")  # stays null without a reason
        read = rows.height + len(found.bad)
        return _content(file, read, good, others.with_columns(reason=named), _spans(rows))

    def delivery(self, symbol: str, days: Days, label: Label | None) -> Delivery:
        """The rows of one symbol from all files; of equal instants the row of the newest file counts.

        Raises why a file with rows of the symbol is not loaded, if no other has any.
        """
        contents, flaws, withdrawn = self._of(symbol, days)
        if flaws and not contents and not withdrawn:
            raise flaws[0].with_traceback(None)
        frames, others = [self.columns.to_frame()], [OTHERS.to_frame()]
        timezone = self.config.session.of(exchange_of(symbol)).timezone
        here = pl.col("ts").dt.convert_time_zone(timezone).dt.date().is_between(days.first, days.last)
        for content in contents:
            if symbol in content.rows:
                frames.append(content.rows[symbol].filter(here).with_columns(file=pl.lit(content.file.name)))
            if symbol in content.others:
                others.append(content.others[symbol].filter(here))
        every, left = pl.concat(frames), pl.concat(others)
        frame, rejected = every.unique("ts", keep="first", maintain_order=True).sort("ts"), rejects(left)
        if frame.is_empty() and not rejected and not withdrawn:
            reason = f"no file in {self.path} has a row in these days"
            return Delivery.without(NAME, symbol, days, label, "empty", reason)
        return Delivery(
            *(NAME, symbol, days, "ok", frame, label, None, rejected),
            skipped=left["reason"].null_count() + every.height - frame.height,
            dropped=Dropped(
                tuple(content.file for content in contents),
                every.select("ts", "file"),
                withdrawn,
                self._ages,
                str(flaws[0]) if flaws else "",
            ),
        )

    def spans(self, file: Delivered) -> Spans:
        """The days of a file, by symbol and month of the exchange; a row without a time is left out. Raises BadFile."""
        for content in self.read():
            if content.file == file:
                return content.spans
        found = table(file)
        names = self.names(file.path, found.names)
        rows = found.rows.select(pl.nth(found.names.index(names[ours]) + 1).alias(ours) for ours in ("symbol", "ts"))
        known = self._symbols(rows["symbol"])[0]
        rows = rows.with_columns(symbol=known, ts=self._times(rows["ts"], known))
        return _spans(rows.filter(pl.col("ts") <= _latest(file)))

    def _times(self, column: pl.Series, symbols: pl.Series) -> pl.Expr:
        """See `times`; times without a zone are of the clock of the symbol's exchange."""
        return on_each_clock(symbols, lambda exchange: times(column, self.config.session.of(exchange)))

    def _symbols(self, column: pl.Series) -> tuple[pl.Series, pl.Series]:
        """The symbol that each text means, null where none is known, and then why."""
        texts = column.cast(pl.String).fill_null("")
        symbols = {text: self._symbol(text) for text in texts.unique()}
        reasons = {text: self._no_symbol(text) for text, symbol in symbols.items() if symbol is None}
        known = texts.replace_strict(symbols, return_dtype=pl.String)
        return known, texts.replace_strict(reasons, default=None, return_dtype=pl.String)

    def _symbol(self, text: str) -> str | None:
        """What the symbol mapping makes of a name, or of another spelling of it."""
        name, mapping = text.strip().upper(), self.config.symbol_mapping
        ours = mapping.ours(name)
        if ours in mapping.symbols:
            return ours
        symbol = exchanges.canonical(ours or name) if ours or name not in MISSING else None
        return symbol if symbol and mapping.theirs(symbol) and not codes.contradiction(symbol) else None

    def _no_symbol(self, text: str) -> str:
        if not text.strip():
            return "a row without a symbol"
        if (name := text.strip().upper()) in MISSING:
            return f"symbol {text!r} may be a missing value; if it is a symbol, write it with its exchange: {name}.US"
        exchange = text.strip().rpartition(".")[2]
        if codes.misspelt(text.strip().upper()):
            return f"symbol {text!r} has no six digits; {codes.advice(text)}"
        if meant := exchanges.canonical(text):
            if wrong := codes.contradiction(meant):
                return f"symbol {text!r}: {wrong}"
            return f"symbol {text!r}: no exchange {exchange!r} in symbol_mapping of files in the providers file"
        if "." in text and not exchange.isdigit() and not exchanges.is_known(text.upper()):
            return f"symbol {text!r}: {exchanges.not_known(exchange)}"
        return f"symbol {text!r} {exchanges.advice(text)}"


def _age(content: Content) -> tuple[int, str]:
    """Of two files with the same instant, the row of the greater one counts."""
    return content.file.modified_ns, content.file.name


def _spans(rows: pl.DataFrame) -> Spans:
    days = rows.select("symbol", day=day_of(rows["symbol"])).drop_nulls()
    found = days.group_by("symbol", month=pl.col("day").dt.strftime("%Y-%m"))
    spans = found.agg(first=pl.col("day").min(), last=pl.col("day").max())
    return {SymbolMonth(symbol, month): Days(first, last) for symbol, month, first, last in spans.iter_rows()}


def _content(file: Delivered, read: int, rows: pl.DataFrame, others: pl.DataFrame, spans: Spans) -> Content:
    bad = others.filter(pl.col("reason").is_not_null())
    flaw = None
    if DEFAULT_LIMIT.exceeded(bad.height, read):
        examples = [f"line {line}: {reason}" for line, reason in bad.head(3).select("line", "reason").iter_rows()]
        flaw = TooManyRejects(str(file.path), bad.height, read, DEFAULT_LIMIT, examples)
    undated = rejects(bad.filter(pl.col("ts").is_null() | pl.col("symbol").is_null()))
    return Content(file, read, _by_symbol(rows), _by_symbol(others), spans, bad.height, undated, flaw)


def table(file: Delivered) -> TextTable:
    """The file without conversions, a CSV as text. Raises BadFile."""
    if file.path.suffix.lower() != ".parquet":
        try:
            return text_table.read(Unit(file))
        except LoadError as error:
            raise BadFile(str(file.path), error.cause or str(error)) from error
    try:
        with unchanged(str(file.path), file.path, BadFile):
            source, size = _source(file.path), file.path.stat().st_size
            found = parquet_slices.slices(source, size, str(file.path), times=MOST_TIMES_WHOLE)
            rows = pl.concat(found)
    except (LoadError, OSError) as error:
        raise BadFile(str(file.path), getattr(error, "cause", str(error))) from error
    return TextTable(rows.columns, rows.with_row_index(LINE, 1).cast({LINE: pl.Int64}))


def _source(path: Path) -> Path | bytes:
    """What polars reads: it opens no file whose name is not UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return path.read_bytes()
    return path


def by_names(
    path: Path, columns: Sequence[str], wanted: Mapping[str, tuple[str, ...]], optional: Sequence[str] = ()
) -> dict[str, str]:
    """The column of a file for each of `wanted`, which lists the names each may have. Raises BadFile when two have
    such a name, or when one that is not `optional` is missing."""
    names: dict[str, str] = {}
    for ours, theirs in wanted.items():
        matches = [column for column in columns if column.strip().lower() in theirs]
        if len(matches) > 1:
            raise BadFile(str(path), f"columns {' and '.join(matches)} both mean {ours}")
        if matches:
            names[ours] = matches[0]
        elif ours not in optional:
            raise missing(path, columns, theirs)
    return names


def missing(path: Path, columns: Sequence[str], names: Sequence[str]) -> BadFile:
    """The error for a column that a file must have under one of `names`."""
    return BadFile(str(path), f"no column {' or '.join(names)}; it has {', '.join(columns)}")


def times(column: pl.Series, session: Session) -> pl.Expr:
    """The column `ts` in UTC; null where it cannot be parsed, or is of a year that ClickHouse does not have."""
    found = _instants(column, session)
    return pl.when(found.dt.year().is_between(1900, 2299)).then(found)


def _instants(column: pl.Series, session: Session) -> pl.Expr:
    clock = pl.col("ts")
    if isinstance(column.dtype, pl.Datetime):
        if column.dtype.time_zone:
            return clock.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
        return to_utc(clock.dt.cast_time_unit("us"), session)
    text = clock.cast(pl.String).str.strip_chars()
    text = pl.when(~text.str.contains(_SECOND_60)).then(text)
    compact = pl.when(text.str.contains(_COMPACT)).then(text.str.pad_end(17, "0"))
    digits = compact.str.to_datetime("%Y%m%d%H%M%S%3f", strict=False, time_unit="us")
    part = text.str.extract_groups(_OFFSET)
    local = part.struct["clock"]
    naive = pl.coalesce(digits, *(local.str.to_datetime(form, strict=False, time_unit="us") for form in _TIMES))
    minutes = part.struct["hours"].cast(pl.Int64) * 60 + part.struct["minutes"].cast(pl.Int64)
    ahead = pl.when(part.struct["sign"] == "-").then(-minutes).otherwise(minutes).fill_null(0)
    aware = (naive - pl.duration(minutes=ahead)).dt.replace_time_zone("UTC")
    has_offset = part.struct["sign"].is_not_null() | part.struct["utc"].is_not_null()
    return pl.when(has_offset).then(aware).otherwise(pl.coalesce(to_utc(naive, session), *_epochs(text)))


def _epochs(text: pl.Expr) -> Iterator[pl.Expr]:
    """Instants counted from 1970; the number of digits is that of their unit."""
    for digits, unit in _EPOCHS.items():
        number = pl.when(text.str.contains(rf"^\d{{{digits}}}$")).then(text).cast(pl.Int64, strict=False) * unit
        inside = number.is_between(*_EPOCH_SPAN)
        yield pl.when(inside).then(number).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _no_number(name: str) -> pl.Expr:
    text = pl.col(name).cast(pl.String).str.strip_chars()
    lost = text.is_not_null() & (text != "") & text.cast(pl.Float64, strict=False).is_null()
    return pl.when(lost).then(pl.format(f"{name} is not a number: '{{}}'", text.str.head(40)))


def _latest(file: Delivered) -> dt.datetime:
    """The last time that a row of a file can have, with a day for clocks that differ: it would wait for its day."""
    return dt.datetime.fromtimestamp(max(file.modified_ns, file.changed_ns) // 10**9, dt.UTC) + dt.timedelta(days=1)


def _no_time(given: pl.Series, latest: pl.Expr) -> pl.Expr:
    """Where `ts` could not be read, or is after `latest`, why."""
    text, ts = given.str.strip_chars().str.head(40).fill_null(""), pl.col("ts")
    unread = pl.format("time '{}' cannot be read, unlike 2026-03-02 09:31:00", text)
    late = pl.format("time '{}' is after the file was written", text)
    return pl.when(ts.is_null()).then(unread).when(ts > latest).then(late)


def _by_symbol(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    parts = frame.with_columns(pl.col("symbol").fill_null("")).partition_by("symbol", as_dict=True)
    return {str(key[0]): rows for key, rows in parts.items()}
