"""Columns of numbers to rows of Postgres' binary COPY format, a whole block at a time.

Every row of a block has the same layout, so a block is one numpy record array: constants are written once by
broadcasting, values by one strided store each. Rows that differ in which cells are NULL, or in the byte length of a
text, have another layout and go into another block. Source of the wire formats: PostgreSQL documentation, COPY, "Binary
Format", and `numeric_send`, `timestamp_send`, `int8send` (big-endian, microseconds since 2000-01-01).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from marketdata_assets.stores.errors import UnencodableValue

Array = np.ndarray[Any, np.dtype[Any]]

POSTGRES_EPOCH_US = 946_684_800_000_000
BASE = 10_000
NEGATIVE = 0x4000


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
class Numeric:
    """`numeric` with four decimals: int64 in units of 0.0001."""

    scaled: Array
    null: Array | None = None


@dataclass(frozen=True)
class Text:
    """`text`: for each row an index into `values`; -1 is NULL. One index for all rows is a constant column."""

    index: Array | int
    values: tuple[bytes, ...]


Column = Timestamp | Bigint | Numeric | Text


def encode(columns: Sequence[Column], rows: int) -> Iterator[Array]:
    """Yield byte blocks that together hold `rows` rows, each row once; order is kept within a block."""
    for picked in _same_layout(columns, rows):
        count = rows if picked is None else len(picked)
        fields = [_plan(column, picked) for column in columns]
        record = np.dtype([("fields", ">i2"), *((f"c{i}", field.layout) for i, field in enumerate(fields))])
        template = np.zeros(1, record)
        template["fields"] = len(columns)
        for i, field in enumerate(fields):
            field.constants(template[f"c{i}"])
        block = np.repeat(template, count)
        for i, field in enumerate(fields):
            field.values(block[f"c{i}"])
        yield block.view(np.uint8)


@dataclass(frozen=True)
class _Field:
    """How one column looks in one block: a record layout, what is the same in every row, and what is not."""

    layout: np.dtype[Any]
    constants: Any
    values: Any


def _same_layout(columns: Sequence[Column], rows: int) -> Iterator[Array | None]:
    """Row numbers that share one layout; None stands for all rows."""
    keys = [key for key in map(_layout_key, columns) if key is not None]
    if not keys:
        if rows:
            yield None
        return
    _, group = np.unique(np.stack(keys, axis=1), axis=0, return_inverse=True)
    group = group.reshape(-1)
    for number in range(int(group.max()) + 1):
        yield np.flatnonzero(group == number)


def _layout_key(column: Column) -> Array | None:
    if isinstance(column, Text):
        if isinstance(column.index, int):
            return None
        lengths = np.array([*map(len, column.values), -1], dtype=np.int64)[column.index]
        return lengths if len(lengths) and (lengths != lengths[0]).any() else None
    if column.null is None or not column.null.any() or column.null.all():
        return None
    return column.null.astype(np.int64)


def _plan(column: Column, picked: Array | None) -> _Field:
    if isinstance(column, Text):
        return _text(column, picked)
    null = column.null
    if null is not None and (null if picked is None else null[picked]).any():
        return _NULL
    if isinstance(column, Timestamp):
        return _int64(_pick(column.microseconds, picked) - POSTGRES_EPOCH_US)
    if isinstance(column, Bigint):
        return _int64(_pick(column.values, picked))
    return _numeric(_pick(column.scaled, picked))


def _pick(values: Array, picked: Array | None) -> Array:
    return values if picked is None else values[picked]


def _set_null(cell: Array) -> None:
    cell["length"] = -1


def _nothing(cell: Array) -> None:
    pass


_NULL = _Field(np.dtype([("length", ">i4")]), _set_null, _nothing)


def _int64(values: Array) -> _Field:
    def constants(cell: Array) -> None:
        cell["length"] = 8

    def store(cell: Array) -> None:
        cell["value"] = values

    return _Field(np.dtype([("length", ">i4"), ("value", ">i8")]), constants, store)


def _text(column: Text, picked: Array | None) -> _Field:
    index = column.index if isinstance(column.index, int) else _pick(column.index, picked)
    first = index if isinstance(index, int) else int(index[0])
    if first < 0:
        return _NULL
    length = len(column.values[first])

    def constants(cell: Array) -> None:
        cell["length"] = length
        if isinstance(index, int):
            cell["value"] = np.frombuffer(column.values[index], np.uint8)

    def store(cell: Array) -> None:
        if length and not isinstance(index, int):
            table = np.array([v if len(v) == length else bytes(length) for v in column.values], dtype=f"S{length}")
            cell["value"] = table[index].view(np.uint8).reshape(-1, length)

    return _Field(np.dtype([("length", ">i4"), ("value", "u1", (length,))]), constants, store)


def _numeric(scaled: Array) -> _Field:
    """Sign, and base-10000 digits from the highest that the block needs to the one behind the decimal point."""
    low, high = int(scaled.min()), int(scaled.max())
    largest = max(-low, high)
    if largest >= 2**62:
        raise UnencodableValue(f"{largest} in units of 0.0001 does not fit an int64 numeric; reject the row before")
    digits = max(1, -(-len(str(largest)) // 4))
    layout = np.dtype(
        [("length", ">i4"), ("digits", ">i2"), ("weight", ">i2"), ("sign", ">u2"), ("scale", ">i2")]
        + [(f"d{i}", ">u2") for i in range(digits)]
    )

    def constants(cell: Array) -> None:
        cell["length"] = 8 + 2 * digits
        cell["digits"] = digits
        cell["weight"] = digits - 2
        cell["sign"] = NEGATIVE if high < 0 else 0
        cell["scale"] = 4

    def store(cell: Array) -> None:
        if low < 0 <= high:
            cell["sign"] = np.where(scaled < 0, np.uint16(NEGATIVE), np.uint16(0))
        rest = np.abs(scaled) if low < 0 else scaled
        if largest < 2**32:
            rest = rest.astype(np.uint32)
        for i in range(digits - 1, 0, -1):
            quotient = rest // BASE
            cell[f"d{i}"] = rest - quotient * BASE
            rest = quotient
        cell["d0"] = rest

    return _Field(layout, constants, store)
