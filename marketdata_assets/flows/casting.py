"""Columns of files to typed columns of the flow, exactly: what is no such value, or loses digits, rejects its row."""

import re
from collections.abc import Mapping

import polars as pl

from marketdata_assets.flows import frames, numbers, times
from marketdata_assets.flows.definition import Loader
from marketdata_assets.flows.types import NUMBERS, Cell
from marketdata_assets.loading.rejects import LINE, Rejects
from marketdata_assets.loading.text_table import BLANKS

TRUE = ("true", "t", "1", "yes", "y")
LEADING_ZEROS = r"^\s*[+-]?0\d"
LOSES_ZEROS = "begins with 0, as a code does; declare text, or leading_zeros: true to drop the zeros"
FALSE = ("false", "f", "0", "no", "n")
HEADED = ("csv", "fixed_width", "excel")
"""Formats with a line of names, which a joined file has more than once."""
HEADER_AGAIN = "is the header again"


def lacking(name: str, cell: Cell | None, rows: int) -> pl.Series:
    """A column that a file lacks: NULLs in the type of `cell`, or as text."""
    return pl.Series(name, [None], frames.read_as(cell.type) if cell else pl.String).new_from_index(0, rows)


def parse(frame: pl.DataFrame, cells: Mapping[str, Cell], rejects: Rejects) -> pl.DataFrame:
    """Turn columns of text into the types of `cells`. A row with a cell that is none goes to `rejects`."""
    if not cells:
        return frame
    bad: list[pl.Series] = []
    typed: list[pl.Series] = []
    for name, cell in cells.items():
        column = frame[name]
        if column.dtype != pl.String:
            column = column.cast(pl.String)
        if cell.excel_text:  # within `="000001"` and behind `'000001`
            column = column.str.replace(r'^\s*="(.*)"\s*$', "$1").str.strip_prefix("'")
            column = column.set(column == "", None)
        values, cause = _typed(column, cell)
        coded = cell.type.kind in NUMBERS and not cell.leading_zeros
        if coded and (zeros := column.str.contains(LEADING_ZEROS).fill_null(False)).any():
            values = values.set(zeros, None)
        if values.null_count() > column.null_count():
            junk = column.is_not_null() & values.is_null()
            for line, text in zip(rejects.lines(frame).filter(junk), column.filter(junk), strict=True):
                lost = coded and re.match(LEADING_ZEROS, text)
                rejects.add(line, f"{name} {text!r} {LOSES_ZEROS if lost else cause}")
            bad.append(junk)
        if values.dtype == pl.Float64 and cell.type.kind == "numeric":
            lines = None
            for at, number in numbers.beyond_doubles(numbers.plain(column, cell), values, cell.type).items():
                lines = rejects.lines(frame) if lines is None else lines
                rejects.exact[lines[at], values[at]] = number
        typed.append(values.alias(name))
    frame = frames.with_columns(frame, typed)
    return frame.filter(~pl.select(pl.any_horizontal(bad)).to_series()) if bad else frame


def _typed(column: pl.Series, cell: Cell) -> tuple[pl.Series, str]:
    """The column in its type, NULL where a text is none; and what to say of such a text."""
    kind = cell.type
    match kind.kind:
        case "text":
            return column, ""
        case "numeric":
            return (
                numbers.numeric(numbers.plain(column, cell), kind),
                f"is no {kind}{numbers.written(cell)}, or has more digits than it keeps",
            )
        case "double":
            return numbers.double(numbers.plain(column, cell)), f"is no number{numbers.written(cell)}"
        case "bigint" | "integer":
            whole = numbers.integer(numbers.plain(column, cell), numbers.INTEGERS[kind.kind])
            return whole, f"is no {kind}{numbers.written(cell)}"
        case "boolean":
            low = column.str.to_lowercase()
            return (
                pl.select(pl.when(low.is_in(TRUE)).then(True).when(low.is_in(FALSE)).then(False)).to_series(),
                "is neither true nor false",
            )
        case "date" | "timestamp" | "timestamptz":
            return times.parse(column, cell), times.expected(cell)
        case "text[]":
            return column.str.split(","), ""


def takes_headers(loader: Loader) -> bool:
    """Whether a row that repeats the header would be one of the flow: any text is a value of each of its columns."""
    only_texts = all(cell.type.kind in ("text", "text[]") for cell in loader.cells.values())
    return only_texts and loader.header and loader.format in HEADED and not loader.function


def of_texts(frame: pl.DataFrame, loader: Loader, rejects: Rejects) -> pl.DataFrame:
    """The flow's columns of a frame of texts."""
    given, frame = frame, _renamed(frame, loader)
    frame = without_missing(
        frame.with_columns(pl.col(pl.String).str.strip_chars(BLANKS)) if loader.strip else frame, loader
    )
    rejects.rows += frame.height
    if takes_headers(loader):
        cells = (
            pl.col(name).str.strip_chars().str.to_lowercase() == name.lower() for name in given.columns if name != LINE
        )
        frame = rejects.take_out(
            frame, given.select(pl.all_horizontal(cells)).to_series().fill_null(False), HEADER_AGAIN
        )
    return parse(frame, loader.cells, rejects)


def without_missing(frame: pl.DataFrame, loader: Loader) -> pl.DataFrame:
    """The frame with NULL where a column of texts has one of those that mean it."""
    texts = [pl.col(column.name) for column in frame if column.dtype == pl.String]
    return frame.with_columns(
        pl.when(text.is_in(loader.missing_of(text.meta.output_name()))).then(None).otherwise(text).name.keep()
        for text in texts
    )


def of_values(frame: pl.DataFrame, loader: Loader, rejects: Rejects) -> pl.DataFrame:
    """The flow's columns of a frame of typed columns. Those without a type of the flow's keep their own."""
    picked = _renamed(frame, loader)
    ready = {name: _ready(picked[name], cell) for name, cell in loader.cells.items()}
    typed = picked.with_columns(column.alias(name) for name, column in ready.items() if column is not None)
    texts = {name: cell for name, cell in loader.cells.items() if ready[name] is None}
    typed = typed.with_columns(_as_text(typed[name]) for name in texts)
    rejects.rows += frame.height
    return parse(typed, texts, rejects)


def _renamed(frame: pl.DataFrame, loader: Loader) -> pl.DataFrame:
    """The flow's columns by our names; an optional one that the file lacks is NULL."""
    names = {ours: pl.col(source) for source, ours in loader.columns.items() if source in frame.columns}
    more = [lacking(ours, None, frame.height) for ours in loader.columns.values() if ours not in names]
    return frame.select(LINE, *(column.alias(ours) for ours, column in names.items())).hstack(more)


def _ready(column: pl.Series, cell: Cell) -> pl.Series | None:
    """The column in the type of `cell`, where it is so exactly and at once; None where its texts must be cast."""
    kind, dtype = cell.type, column.dtype
    if cell.epoch or cell.own_number:
        return None
    if kind.kind == "text" and dtype.is_float():
        return column  # conform rejects the file: a code would be 600000.0
    if dtype == frames.read_as(kind) and not (kind.kind == "numeric" or dtype == pl.Float64):
        return column
    if dtype == pl.Float64 and not column.is_infinite().any():
        column = column.fill_nan(None)
        if kind.kind == "double":
            return column
        return numbers.numeric_of_doubles(column, kind) if kind.kind == "numeric" else None
    if dtype.is_integer() and kind.kind in numbers.INTEGERS:
        whole = column.cast(numbers.INTEGERS[kind.kind], strict=False)
        return whole if whole.null_count() == column.null_count() else None
    if isinstance(dtype, pl.Datetime) and kind.kind == ("timestamptz" if dtype.time_zone else "timestamp"):
        fits = dtype.time_unit != "ns" or cell.truncate or not (column.to_physical() % 1000 != 0).any()
        return column.cast(frames.read_as(kind)) if fits else None
    return None


def _as_text(column: pl.Series) -> pl.Series:
    """The values as they would be written, NULL for NaN."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone:
        column = column.dt.convert_time_zone("UTC")
    return column.cast(pl.String)
