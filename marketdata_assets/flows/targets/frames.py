"""A unit's rows as frames with the types of the target, kept until it is known whether they are stored."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from marketdata_assets.flows.definition import Target
from marketdata_assets.flows.types import ColumnType

MEMORY_BYTES = 64 * 1024 * 1024
MOST_DIGITS = 38
_TYPES: dict[str, pl.DataType] = {
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
    """What a frame holds a column as."""
    return pl.Decimal(kind.precision, kind.scale) if kind.kind == "numeric" else _TYPES[kind.kind]


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
