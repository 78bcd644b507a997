"""Columns of values to rows of Postgres' binary COPY format, a whole block at a time.

A block is one numpy record array: constants are written once by broadcasting, values by one strided store each. Where
rows differ in which cells are NULL, or in the byte length of a value, each is made as wide as the widest, and the bytes
not in use are taken out. A Spool keeps the rows until it is known whether they are copied.

Source of the wire formats: PostgreSQL documentation, COPY, "Binary Format", and `numeric_send`, `timestamp_send`,
`int8send` (big-endian, microseconds since 2000-01-01).
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any, Literal

import numpy as np

from marketdata_assets.errors import TerminalError

Array = np.ndarray[Any, np.dtype[Any]]

BLOCK_ROWS = 16_384
BLOCK_BYTES = 16 * 1024 * 1024
BASE = 10_000
NEGATIVE = 0x4000

Kind = Literal["timestamp", "date", "bigint", "integer", "double", "boolean"]
WIRE: Mapping[Kind, tuple[str, int]] = {
    "timestamp": (">i8", 946_684_800_000_000),
    "date": (">i4", 10_957),
    "bigint": (">i8", 0),
    "integer": (">i4", 0),
    "double": (">f8", 0),
    "boolean": ("u1", 0),
}
"""The numpy type that a value has on the wire, and the microseconds or days from 1970 to 2000, Postgres' epoch."""


@dataclass(frozen=True)
class Fixed:
    """Values of one width: `timestamp` (also with time zone) is int64 microseconds since 1970, `date` int32 days."""

    kind: Kind
    values: Array
    null: Array | None = None


@dataclass(frozen=True)
class Numeric:
    """`numeric`: int64 in units of the last decimal; `scale` decimals, at most 16."""

    values: Array
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


Column = Fixed | Numeric | Text | Bytes


def encode(columns: Sequence[Column], rows: int) -> Iterator[Array]:
    """Yield byte blocks that together hold `rows` rows, each row once and in order."""
    for start, stop in _slices(columns, rows):
        yield _block([_part(column, start, stop) for column in columns], stop - start)


def _block(columns: Sequence[Column], rows: int) -> Array:
    fields = [_plan_field(column) for column in columns]
    record = np.dtype([("fields", ">i2"), *((f"c{i}", field.layout) for i, field in enumerate(fields))])
    template = np.zeros(1, record)
    template["fields"] = len(columns)
    for i, field in enumerate(fields):
        for name, value in field.constants.items():
            template[f"c{i}"][name] = value
    block = np.repeat(template, rows)
    for i, field in enumerate(fields):
        if field.store:
            field.store(block[f"c{i}"])
    if all(field.lengths is None for field in fields):
        return block.view(np.uint8)
    used = np.ones((rows, record.itemsize), bool)
    for i, field in enumerate(fields):
        if field.lengths is not None:
            block[f"c{i}"]["length"] = field.lengths
            assert record.fields is not None
            start, width = record.fields[f"c{i}"][1] + 4, field.layout.itemsize - 4
            used[:, start : start + width] = np.arange(width) < field.lengths[:, None]
    return np.asarray(block.view(np.uint8).reshape(rows, -1)[used])


def _slices(columns: Sequence[Column], rows: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows that, each padded to its longest values, stay below BLOCK_BYTES."""
    start = 0
    while start < rows:
        stop = min(rows, start + BLOCK_ROWS)
        while stop - start > 1:
            width = sum(int(c.lengths[start:stop].max()) + 4 if isinstance(c, Bytes) else 32 for c in columns)
            if width * (stop - start) <= BLOCK_BYTES:
                break
            stop = start + (stop - start) // 2
        yield start, stop
        start = stop


def _part(column: Column, start: int, stop: int) -> Column:
    """The rows from `start` to `stop` of one column."""
    if isinstance(column, Text):
        return column if isinstance(column.index, int) else replace(column, index=column.index[start:stop])
    null = None if column.null is None else column.null[start:stop]
    if isinstance(column, Bytes):
        first = int(column.lengths[:start].sum())
        lengths = column.lengths[start:stop]
        return Bytes(column.data[first : first + int(lengths.sum())], lengths, null)
    return replace(column, values=column.values[start:stop], null=null)


@dataclass(frozen=True)
class _Field:
    """How one column lies in one block: a record layout, what is the same in every row, and what stores the rest.

    `lengths` of the values in bytes, -1 of NULL, where rows differ.
    """

    layout: np.dtype[Any]
    constants: Mapping[str, Any]
    store: Callable[[Array], None] | None = None
    lengths: Array | None = None


_NULL = _Field(np.dtype([("length", ">i4")]), {"length": -1})


def _plan_field(column: Column) -> _Field:
    if isinstance(column, Text):
        return _text(column)
    if column.null is None or not column.null.any():
        return _values(column)
    if column.null.all():
        return _NULL
    field = _values(column)
    lengths = field.layout.itemsize - 4 if field.lengths is None else field.lengths
    return replace(field, lengths=np.where(column.null, -1, lengths))


def _values(column: Fixed | Numeric | Bytes) -> _Field:
    if isinstance(column, Bytes):
        width = int(column.lengths.max())
        if (column.lengths == width).all():
            return _texts(column.data.reshape(len(column.lengths), width), None)
        values = np.zeros((len(column.lengths), width), np.uint8)
        values[np.arange(width) < column.lengths[:, None]] = column.data
        return _texts(values, column.lengths)
    return _numeric(column.values, column.scale) if isinstance(column, Numeric) else _fixed(column.kind, column.values)


def _fixed(kind: Kind, values: Array) -> _Field:
    wire, epoch = WIRE[kind]
    if epoch:
        values = values - epoch

    def store(cell: Array) -> None:
        cell["value"] = values

    return _Field(np.dtype([("length", ">i4"), ("value", wire)]), {"length": np.dtype(wire).itemsize}, store)


def _text(column: Text) -> _Field:
    if isinstance(column.index, int):
        if column.index < 0:
            return _NULL
        value = np.frombuffer(column.values[column.index], np.uint8)
        return _Field(_layout(len(value)), {"length": len(value), "value": value})
    lengths = np.array([*map(len, column.values), -1], np.int64)[column.index]
    width = int(lengths.max())
    if width < 0:
        return _NULL
    table = np.array([*column.values, b""], f"S{width}") if width else np.zeros((len(column.values) + 1, 0), np.uint8)
    values = table[column.index].view(np.uint8).reshape(len(lengths), width)
    return _texts(values, None if (lengths == width).all() else lengths)


def _texts(values: Array, lengths: Array | None) -> _Field:
    """A row of bytes for each value, of which `lengths` count."""

    def store(cell: Array) -> None:
        cell["value"] = values

    return _Field(_layout(values.shape[1]), {"length": values.shape[1]}, store, lengths)


def _layout(width: int) -> np.dtype[Any]:
    return np.dtype([("length", ">i4"), ("value", "u1", (width,))])


def _numeric(scaled: Array, scale: int) -> _Field:
    """Sign, and base-10000 digits from the highest that the block needs to the last behind the decimal point."""
    low, high = int(scaled.min()), int(scaled.max())
    behind = -(-scale // 4)
    shift = 10 ** (4 * behind - scale)
    largest = max(-low, high) * shift
    if largest >= 2**62:
        raise TerminalError(f"{largest} in units of 1e-{4 * behind} does not fit an int64 numeric")
    digits = max(1, behind, -(-len(str(largest)) // 4))
    layout = np.dtype(
        [("length", ">i4"), ("digits", ">i2"), ("weight", ">i2"), ("sign", ">u2"), ("scale", ">i2")]
        + [(f"d{i}", ">u2") for i in range(digits)]
    )

    constants = {
        "length": 8 + 2 * digits,
        "digits": digits,
        "weight": digits - 1 - behind,
        "sign": NEGATIVE if high < 0 else 0,
        "scale": scale,
    }

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

    return _Field(layout, constants, store)


def numeric_bytes(units: int, scale: int) -> bytes:
    """`units` of the last of `scale` decimals. Source of the format: `numeric_send` of PostgreSQL."""
    behind = -(-scale // 4)
    rest = abs(units) * 10 ** (4 * behind - scale)
    digits: list[int] = []
    while rest:
        rest, digit = divmod(rest, BASE)
        digits.append(digit)
    weight = len(digits) - 1 - behind
    sign = NEGATIVE if units < 0 else 0
    head = (len(digits), weight & 0xFFFF if digits else 0, sign, scale)
    return b"".join(number.to_bytes(2) for number in (*head, *reversed(digits)))


CHUNK_BYTES = 1024 * 1024
MEMORY_BYTES = 32 * 1024 * 1024


class Spool:
    """Pieces in the order they were added; at most `limit` bytes of them in memory."""

    def __init__(self, limit: int = MEMORY_BYTES) -> None:
        self._limit = limit
        self._size = 0
        self._pieces: list[memoryview] = []
        self._file: IO[bytes] | None = None

    def add(self, piece: memoryview) -> None:
        """Keep `piece` without copying it; the caller no longer changes it."""
        self._size += piece.nbytes
        if self._file is None and self._size > self._limit:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
            for kept in self._pieces:
                self._file.write(kept)
            self._pieces = []
        if self._file is None:
            self._pieces.append(piece)
        else:
            self._file.write(piece)

    def add_rows(self, columns: Sequence[Column], rows: int) -> None:
        """Encode `rows` and keep them."""
        for piece in encode(columns, rows):
            self.add(piece.data)

    def __iter__(self) -> Iterator[memoryview]:
        """All bytes again, from the first."""
        if self._file is None:
            yield from self._pieces
            return
        self._file.seek(0)
        while chunk := self._file.read(CHUNK_BYTES):
            yield memoryview(chunk)

    def close(self) -> None:
        """Release the memory and the temporary file."""
        self._pieces = []
        if self._file is not None:
            self._file.close()
