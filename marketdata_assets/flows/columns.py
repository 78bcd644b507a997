"""Frames of a file's own columns to frames of the flow's: by name, in their types, with the line of each row."""

import polars as pl

from marketdata_assets.flows import casting, frames, numbers
from marketdata_assets.flows.cell_formats import Cell
from marketdata_assets.flows.definition import Loader
from marketdata_assets.loading.csv_rows import BLANKS
from marketdata_assets.loading.rejects import LINE, Rejects


def of_texts(frame: pl.DataFrame, loader: Loader, rejects: Rejects) -> pl.DataFrame:
    """The flow's columns of a frame of texts."""
    frame = _renamed(frame, loader)
    frame = nulls(frame.with_columns(pl.col(pl.String).str.strip_chars(BLANKS)) if loader.strip else frame, loader)
    rejects.rows += frame.height
    return casting.parse(frame, loader.cells, rejects)


def nulls(frame: pl.DataFrame, loader: Loader) -> pl.DataFrame:
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
    return casting.parse(typed, texts, rejects)


def _renamed(frame: pl.DataFrame, loader: Loader) -> pl.DataFrame:
    """The flow's columns by our names; an optional one that the file lacks is NULL."""
    names = {ours: pl.col(source) for source, ours in loader.columns.items() if source in frame.columns}
    lacking = [casting.nulls(ours, None, frame.height) for ours in loader.columns.values() if ours not in names]
    return frame.select(LINE, *(column.alias(ours) for ours, column in names.items())).hstack(lacking)


def _ready(column: pl.Series, cell: Cell) -> pl.Series | None:
    """The column in the type of `cell`, where it is so exactly and at once; None where its texts must be cast."""
    kind, dtype = cell.type, column.dtype
    if cell.epoch or cell.own_number:
        return None
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
