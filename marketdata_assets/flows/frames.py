"""Types of frames, whole columns into frames, and a unit's rows as frames until it is known whether they are stored.

What is computed of columns does not belong here.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from marketdata_assets.flows.definition import Target
from marketdata_assets.flows.types import ColumnType

MEMORY_BYTES = 64 * 1024 * 1024
MOST_DIGITS = 38
TYPES: dict[str, pl.DataType] = {
    "bigint": pl.Int64(),
    "integer": pl.Int32(),
    "text": pl.String(),
    "date": pl.Date(),
    "timestamp": pl.Datetime("us"),
    "timestamptz": pl.Datetime("us", "UTC"),
    "boolean": pl.Boolean(),
    "double": pl.Float64(),
    "text[]": pl.List(pl.String()),
}


def dtype(kind: ColumnType) -> pl.DataType:
    """What a frame of the target's rows holds a column as."""
    return pl.Decimal(kind.precision, kind.scale) if kind.kind == "numeric" else TYPES[kind.kind]


def read_as(kind: ColumnType) -> pl.DataType:
    """What a frame that is read of a file holds a column as."""
    if kind.kind == "numeric":
        return pl.Decimal(38, kind.scale) if kind.decimal else pl.Float64()
    return TYPES[kind.kind]


def schema(target: Target) -> pl.Schema:
    """The columns of a target's rows."""
    return pl.Schema({name: dtype(kind) for name, kind in target.columns.items()})


def typed(target: Target, conformed: pl.DataFrame) -> pl.DataFrame:
    """A conformed frame, whose numerics are whole units of their last decimal, with the types of `schema`."""
    return conformed.select(_typed(name, kind) for name, kind in target.columns.items())


def _typed(name: str, kind: ColumnType) -> pl.Expr:
    if kind.kind != "numeric":
        return pl.col(name).cast(dtype(kind))
    unit = pl.lit(Decimal(1).scaleb(-kind.scale), pl.Decimal(MOST_DIGITS, kind.scale))
    return (pl.col(name).cast(pl.Int128).cast(pl.Decimal(MOST_DIGITS, 0)) * unit).cast(dtype(kind))


def with_columns(frame: pl.DataFrame, columns: Iterable[pl.Series]) -> pl.DataFrame:
    """The frame with `columns`: each replaces the one of its name, new ones follow at the end, in their order.

    The query engine of polars would cost more than a small file's rows.
    """
    changed = frame.clone()
    new: dict[str, pl.Series] = {}
    for column in columns:
        if column.name in frame.columns:
            changed.replace_column(frame.get_column_index(column.name), column)
        else:
            new[column.name] = column
    return changed.hstack(list(new.values())) if new else changed


class FrameSpool:
    """Frames of one schema in the order they were added: in memory while they are small, then in temporary files."""

    def __init__(self, schema: pl.Schema, limit: int = MEMORY_BYTES) -> None:
        self._schema = schema
        self._limit = limit
        self._size = 0
        self._frames: list[pl.DataFrame] = []
        self._files: list[Path] = []
        self._folder: TemporaryDirectory[str] | None = None

    def add(self, frame: pl.DataFrame) -> None:
        """Keep `frame`."""
        self._frames.append(frame)
        self._size += int(frame.estimated_size())
        if self._size > self._limit:
            self._folder = self._folder or TemporaryDirectory(prefix="marketdata-rows-")
            file = Path(self._folder.name) / f"{len(self._files):08}.arrow"
            pl.concat(self._frames).write_ipc(file)
            self._files.append(file)
            self._frames, self._size = [], 0

    def rows(self) -> pl.LazyFrame:
        """All rows, from the first."""
        kept = pl.concat([self._schema.to_frame(), *self._frames]).lazy()
        return pl.concat([*map(pl.scan_ipc, self._files), kept])

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """All rows, from the first, some at a time."""
        for file in self._files:
            yield pl.read_ipc(file)
        yield from self._frames

    def close(self) -> None:
        """Release the memory and the temporary files."""
        self._frames, self._files = [], []
        if self._folder is not None:
            self._folder.cleanup()
