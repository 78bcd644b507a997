"""How the values of one column lie in a block of rows of Postgres' binary COPY format.

Source of the wire formats: PostgreSQL documentation, COPY, "Binary Format", and `numeric_send`, `timestamp_send`,
`int8send` (big-endian, microseconds since 2000-01-01).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from marketdata_assets.stores.errors import UnencodableValue
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
)
from marketdata_assets.stores.pgnumeric import BASE, NEGATIVE

POSTGRES_EPOCH_US = 946_684_800_000_000
POSTGRES_EPOCH_DAYS = 10_957


@dataclass(frozen=True)
class Field:
    """How one column looks in one block: a record layout, what is the same in every row, and what is not."""

    layout: np.dtype[Any]
    constants: Any
    values: Any


def plan(column: Column, picked: Array | None) -> Field:
    if isinstance(column, Text):
        return _text(column, picked)
    null = column.null
    if null is not None and (null if picked is None else null[picked]).any():
        return _NULL
    if isinstance(column, Bytes):
        return _even_bytes(column, picked)
    if isinstance(column, Numeric):
        return _numeric(_pick(column.scaled, picked), column.scale)
    return _fixed(*_wire(column, picked))


def _wire(column: Timestamp | Bigint | Integer | Double | Boolean | Date, picked: Array | None) -> tuple[str, Array]:
    """The numpy type that a value has on the wire, and the values."""
    if isinstance(column, Timestamp):
        return ">i8", _pick(column.microseconds, picked) - POSTGRES_EPOCH_US
    if isinstance(column, Date):
        return ">i4", _pick(column.days, picked) - POSTGRES_EPOCH_DAYS
    kind = {Bigint: ">i8", Integer: ">i4", Double: ">f8", Boolean: "u1"}[type(column)]
    return kind, _pick(column.values, picked)


def _pick(values: Array, picked: Array | None) -> Array:
    return values if picked is None else values[picked]


def _set_null(cell: Array) -> None:
    cell["length"] = -1


def _nothing(cell: Array) -> None:
    pass


_NULL = Field(np.dtype([("length", ">i4")]), _set_null, _nothing)


def _fixed(kind: str, values: Array) -> Field:
    size = np.dtype(kind).itemsize

    def constants(cell: Array) -> None:
        cell["length"] = size

    def store(cell: Array) -> None:
        cell["value"] = values

    return Field(np.dtype([("length", ">i4"), ("value", kind)]), constants, store)


def _text(column: Text, picked: Array | None) -> Field:
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

    return Field(np.dtype([("length", ">i4"), ("value", "u1", (length,))]), constants, store)


def _numeric(scaled: Array, scale: int) -> Field:
    """Sign, and base-10000 digits from the highest that the block needs to the last behind the decimal point."""
    low, high = int(scaled.min()), int(scaled.max())
    behind = -(-scale // 4)
    shift = 10 ** (4 * behind - scale)
    largest = max(-low, high) * shift
    if largest >= 2**62:
        raise UnencodableValue(f"{largest} in units of 1e-{4 * behind} does not fit an int64 numeric")
    digits = max(1, behind, -(-len(str(largest)) // 4))
    layout = np.dtype(
        [("length", ">i4"), ("digits", ">i2"), ("weight", ">i2"), ("sign", ">u2"), ("scale", ">i2")]
        + [(f"d{i}", ">u2") for i in range(digits)]
    )

    def constants(cell: Array) -> None:
        cell["length"] = 8 + 2 * digits
        cell["digits"] = digits
        cell["weight"] = digits - 1 - behind
        cell["sign"] = NEGATIVE if high < 0 else 0
        cell["scale"] = scale

    def store(cell: Array) -> None:
        if low < 0 <= high:
            cell["sign"] = np.where(scaled < 0, np.uint16(NEGATIVE), np.uint16(0))
        rest = np.abs(scaled) if low < 0 else scaled
        if shift > 1:
            rest = rest * shift
        if largest < 2**32:
            rest = rest.astype(np.uint32)
        for i in range(digits - 1, 0, -1):
            quotient = rest // BASE
            cell[f"d{i}"] = rest - quotient * BASE
            rest = quotient
        cell["d0"] = rest

    return Field(layout, constants, store)


def _even_bytes(column: Bytes, picked: Array | None) -> Field:
    """Values that are NULL or of one length."""
    size = int(column.lengths.max())
    values = column.data.reshape(-1, size) if size else np.zeros((len(column.lengths), 0), np.uint8)
    if column.null is not None and column.null.any() and picked is not None:
        picked = (np.cumsum(~column.null) - 1)[picked]

    def constants(cell: Array) -> None:
        cell["length"] = size

    def store(cell: Array) -> None:
        if size:
            cell["value"] = _pick(values, picked)

    return Field(np.dtype([("length", ">i4"), ("value", "u1", (size,))]), constants, store)
