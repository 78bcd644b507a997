"""Columns of values to rows of Postgres' binary COPY format, a whole block at a time.

Every row of a block has the same layout, so a block is one numpy record array: constants are written once by
broadcasting, values by one strided store each. Rows that differ in which cells are NULL, or in the byte length of a
text, have another layout and go into another block; where layouts are many, each row is made as wide as the widest and
the bytes not in use are taken out.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from marketdata_assets.stores.pgcolumns import (
    Array,
    Bigint,
    Boolean,
    Bytes,
    Column,
    Date,
    Double,
    Integer,
    Numeric,
    Text,
    Timestamp,
    as_bytes,
    padded,
    part,
    uneven,
    without_null,
)
from marketdata_assets.stores.pgfields import plan

__all__ = [
    "Bigint",
    "Boolean",
    "Bytes",
    "Column",
    "Date",
    "Double",
    "Integer",
    "Numeric",
    "Text",
    "Timestamp",
    "encode",
]

FEW_LAYOUTS = 16
ROWS_OF_LAYOUT = 256
RAGGED_ROWS = 16_384
RAGGED_BYTES = 16 * 1024 * 1024


def encode(columns: Sequence[Column], rows: int) -> Iterator[Array]:
    """Yield byte blocks that together hold `rows` rows, each row once; order is kept within a block."""
    layouts = None if any(uneven(column) for column in columns) else list(_same_layout(columns, rows))
    if layouts is not None and (len(layouts) <= FEW_LAYOUTS or rows >= ROWS_OF_LAYOUT * len(layouts)):
        for picked in layouts:
            yield _block(columns, rows, picked).view(np.uint8)
        return
    columns = [as_bytes(c) if isinstance(c, Text) and not isinstance(c.index, int) else c for c in columns]
    for start, stop in _slices(columns, rows):
        yield _ragged([part(column, start, stop) for column in columns], stop - start)


def _block(columns: Sequence[Column], rows: int, picked: Array | None) -> Array:
    """The `picked` rows, which share one layout, as records."""
    fields = [plan(column, picked) for column in columns]
    record = np.dtype([("fields", ">i2"), *((f"c{i}", field.layout) for i, field in enumerate(fields))])
    template = np.zeros(1, record)
    template["fields"] = len(columns)
    for i, field in enumerate(fields):
        field.constants(template[f"c{i}"])
    block = np.repeat(template, rows if picked is None else len(picked))
    for i, field in enumerate(fields):
        field.values(block[f"c{i}"])
    return block


def _same_layout(columns: Sequence[Column], rows: int) -> Iterator[Array | None]:
    """Row numbers that share one layout; None stands for all rows."""
    keys = [key for key in map(_layout_key, columns) if key is not None]
    if not keys:
        if rows:
            yield None
        return
    group = np.zeros(rows, np.int64)
    for key in keys:
        _, rank = np.unique(key, return_inverse=True)
        _, group = np.unique(group * (int(rank.max()) + 1) + rank, return_inverse=True)
    for number in range(int(group.max()) + 1):
        yield np.flatnonzero(group == number)


def _layout_key(column: Column) -> Array | None:
    if isinstance(column, Bytes):
        return np.where(column.null, -1, column.lengths) if column.null is not None and column.null.any() else None
    if isinstance(column, Text):
        if isinstance(column.index, int):
            return None
        lengths = np.array([*map(len, column.values), -1], dtype=np.int64)[column.index]
        return lengths if len(lengths) and (lengths != lengths[0]).any() else None
    if column.null is None or not column.null.any() or column.null.all():
        return None
    return column.null.astype(np.int64)


def _slices(columns: Sequence[Column], rows: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows that, each padded to its longest values, stay below RAGGED_BYTES."""
    start = 0
    while start < rows:
        stop = min(rows, start + RAGGED_ROWS)
        while stop - start > 1 and _padded_width(columns, start, stop) * (stop - start) > RAGGED_BYTES:
            stop = start + (stop - start) // 2
        yield start, stop
        start = stop


def _padded_width(columns: Sequence[Column], start: int, stop: int) -> int:
    return sum(int(c.lengths[start:stop].max()) + 4 if isinstance(c, Bytes) else 32 for c in columns)


def _ragged(columns: Sequence[Column], rows: int) -> Array:
    """Rows of any layouts, in order: each column as wide as its longest value, and then only the bytes in use."""
    widest = [padded(column) if isinstance(column, Bytes) else without_null(column) for column in columns]
    block = _block(widest, rows, None)
    used = np.ones((rows, block.dtype.itemsize), bool)
    fields = block.dtype.fields
    assert fields is not None
    for i, column in enumerate(columns):
        cell, start = fields[f"c{i}"][:2]
        inside = slice(start + 4, start + cell.itemsize)
        if isinstance(column, Bytes):
            block[f"c{i}"]["length"] = column.lengths
            used[:, inside] = np.arange(cell.itemsize - 4) < column.lengths[:, None]
        if not isinstance(column, Text) and column.null is not None:
            block[f"c{i}"]["length"][column.null] = -1
            used[column.null, inside] = False
    return np.asarray(block.view(np.uint8).reshape(rows, -1)[used])
