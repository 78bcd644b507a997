"""Columns of values on their way into Postgres' binary COPY format. How rows are made of them is in `pgcopy`."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Timestamp:
    """`timestamp` or `timestamptz`: int64 microseconds since 1970."""

    microseconds: Array
    null: Array | None = None


@dataclass(frozen=True)
class Bigint:
    """`bigint`: int64."""

    values: Array
    null: Array | None = None


@dataclass(frozen=True)
class Integer:
    """`integer`: int32."""

    values: Array
    null: Array | None = None


@dataclass(frozen=True)
class Double:
    """`double precision`: float64."""

    values: Array
    null: Array | None = None


@dataclass(frozen=True)
class Boolean:
    """`boolean`: bool."""

    values: Array
    null: Array | None = None


@dataclass(frozen=True)
class Date:
    """`date`: int32 days since 1970."""

    days: Array
    null: Array | None = None


@dataclass(frozen=True)
class Numeric:
    """`numeric`: int64 in units of the last decimal; `scale` decimals, at most 16."""

    scaled: Array
    null: Array | None = None
    scale: int = 4


@dataclass(frozen=True)
class Text:
    """`text`: for each row an index into `values`; -1 is NULL. One index for all rows is a constant column."""

    index: Array | int
    values: tuple[bytes, ...]


@dataclass(frozen=True)
class Bytes:
    """Any type, each value in its wire format: the values' bytes one after the other, and how many each row has.

    A row that is NULL has none.
    """

    data: Array
    lengths: Array
    null: Array | None = None


Column = Timestamp | Bigint | Integer | Double | Boolean | Date | Numeric | Text | Bytes


def uneven(column: Column) -> bool:
    """Whether its values that are not NULL differ in length."""
    if not isinstance(column, Bytes):
        return False
    lengths = column.lengths if column.null is None else column.lengths[~column.null]
    return len(lengths) > 0 and bool((lengths != lengths[0]).any())


def part(column: Column, start: int, stop: int) -> Column:
    """The rows from `start` to `stop` of one column."""
    if isinstance(column, Text):
        return column if isinstance(column.index, int) else replace(column, index=column.index[start:stop])
    null = None if column.null is None else column.null[start:stop]
    if isinstance(column, Bytes):
        first = int(column.lengths[:start].sum())
        lengths = column.lengths[start:stop]
        return Bytes(column.data[first : first + int(lengths.sum())], lengths, null)
    name = next(iter(column.__dataclass_fields__))
    return replace(column, **{name: getattr(column, name)[start:stop], "null": null})


def as_bytes(column: Text) -> Bytes:
    assert not isinstance(column.index, int)
    null = column.index < 0
    values = [b"" if row < 0 else column.values[row] for row in column.index.tolist()]
    lengths = np.array([len(value) for value in values], np.int64)
    return Bytes(np.frombuffer(b"".join(values), np.uint8), lengths, null if null.any() else None)


def padded(column: Bytes) -> Bytes:
    width = int(column.lengths.max())
    values = np.zeros((len(column.lengths), width), np.uint8)
    values[np.arange(width) < column.lengths[:, None]] = column.data
    return Bytes(values.reshape(-1), np.full(len(column.lengths), width))


def without_null(column: Column) -> Column:
    return column if isinstance(column, Text) or column.null is None else replace(column, null=None)
