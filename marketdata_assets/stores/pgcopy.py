"""Columns of values to rows of Postgres' binary COPY format, a whole block at a time.

Every row of a block has the same layout, so a block is one numpy record array: constants are written once by
broadcasting, values by one strided store each. Rows that differ in which cells are NULL, or in the byte length of a
text, have another layout and go into another block; where layouts are many, each row is made as wide as the widest and
the bytes not in use are taken out. A Spool keeps the rows until it is known whether they are copied.

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

FEW_LAYOUTS = 16
ROWS_OF_LAYOUT = 256
RAGGED_ROWS = 16_384
RAGGED_BYTES = 16 * 1024 * 1024
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
    """Yield byte blocks that together hold `rows` rows, each row once; order is kept within a block."""
    layouts = None if any(_uneven(column) for column in columns) else list(_same_layout(columns, rows))
    if layouts is not None and (len(layouts) <= FEW_LAYOUTS or rows >= ROWS_OF_LAYOUT * len(layouts)):
        for picked in layouts:
            yield _block(columns, rows, picked).view(np.uint8)
        return
    columns = [_as_bytes(c) if isinstance(c, Text) and not isinstance(c.index, int) else c for c in columns]
    for start, stop in _slices(columns, rows):
        yield _ragged([_part(column, start, stop) for column in columns], stop - start)


def _block(columns: Sequence[Column], rows: int, picked: Array | None) -> Array:
    """The `picked` rows, which share one layout, as records."""
    fields = [_plan_field(column, picked) for column in columns]
    record = np.dtype([("fields", ">i2"), *((f"c{i}", field.layout) for i, field in enumerate(fields))])
    template = np.zeros(1, record)
    template["fields"] = len(columns)
    for i, field in enumerate(fields):
        for name, value in field.constants.items():
            template[f"c{i}"][name] = value
    block = np.repeat(template, rows if picked is None else len(picked))
    for i, field in enumerate(fields):
        if field.store:
            field.store(block[f"c{i}"])
    return block


def _same_layout(columns: Sequence[Column], rows: int) -> Iterator[Array | None]:
    """Row numbers that share one layout; None means all rows."""
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
        while stop - start > 1:
            width = sum(int(c.lengths[start:stop].max()) + 4 if isinstance(c, Bytes) else 32 for c in columns)
            if width * (stop - start) <= RAGGED_BYTES:
                break
            stop = start + (stop - start) // 2
        yield start, stop
        start = stop


def _ragged(columns: Sequence[Column], rows: int) -> Array:
    """Rows of any layouts, in order: each column as wide as its longest value, and then only the bytes in use."""
    widest: list[Column] = []
    for column in columns:
        if isinstance(column, Bytes):
            widest.append(_padded(column))
        else:
            widest.append(column if isinstance(column, Text) else replace(column, null=None))
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


def _uneven(column: Column) -> bool:
    """Whether its values that are not NULL differ in length."""
    if not isinstance(column, Bytes):
        return False
    lengths = column.lengths if column.null is None else column.lengths[~column.null]
    return len(lengths) > 0 and bool((lengths != lengths[0]).any())


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


def _as_bytes(column: Text) -> Bytes:
    assert not isinstance(column.index, int)
    null = column.index < 0
    values = [b"" if row < 0 else column.values[row] for row in column.index.tolist()]
    lengths = np.array([len(value) for value in values], np.int64)
    return Bytes(np.frombuffer(b"".join(values), np.uint8), lengths, null if null.any() else None)


def _padded(column: Bytes) -> Bytes:
    width = int(column.lengths.max())
    values = np.zeros((len(column.lengths), width), np.uint8)
    values[np.arange(width) < column.lengths[:, None]] = column.data
    return Bytes(values.reshape(-1), np.full(len(column.lengths), width))


@dataclass(frozen=True)
class _Field:
    """How one column lies in one block: a record layout, what is the same in every row, and what stores the rest."""

    layout: np.dtype[Any]
    constants: Mapping[str, Any]
    store: Callable[[Array], None] | None = None


_NULL = _Field(np.dtype([("length", ">i4")]), {"length": -1})


def _plan_field(column: Column, picked: Array | None) -> _Field:
    if isinstance(column, Text):
        return _text(column, picked)
    null = column.null
    if null is not None and (null if picked is None else null[picked]).any():
        return _NULL
    if isinstance(column, Bytes):
        return _even_bytes(column, picked)
    if isinstance(column, Numeric):
        return _numeric(_pick(column.values, picked), column.scale)
    return _fixed(column.kind, _pick(column.values, picked))


def _pick(values: Array, picked: Array | None) -> Array:
    return values if picked is None else values[picked]


def _fixed(kind: Kind, values: Array) -> _Field:
    wire, epoch = WIRE[kind]
    if epoch:
        values = values - epoch

    def store(cell: Array) -> None:
        cell["value"] = values

    return _Field(np.dtype([("length", ">i4"), ("value", wire)]), {"length": np.dtype(wire).itemsize}, store)


def _text(column: Text, picked: Array | None) -> _Field:
    index = column.index if isinstance(column.index, int) else _pick(column.index, picked)
    first = index if isinstance(index, int) else int(index[0])
    if first < 0:
        return _NULL
    length = len(column.values[first])
    layout = np.dtype([("length", ">i4"), ("value", "u1", (length,))])
    if isinstance(index, int):
        return _Field(layout, {"length": length, "value": np.frombuffer(column.values[index], np.uint8)})

    def store(cell: Array) -> None:
        if length:
            table = np.array([v if len(v) == length else bytes(length) for v in column.values], dtype=f"S{length}")
            cell["value"] = table[index].view(np.uint8).reshape(-1, length)

    return _Field(layout, {"length": length}, store)


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


def _even_bytes(column: Bytes, picked: Array | None) -> _Field:
    """Values that are NULL or of one length."""
    size = int(column.lengths.max())
    values = column.data.reshape(-1, size) if size else np.zeros((len(column.lengths), 0), np.uint8)
    if column.null is not None and column.null.any() and picked is not None:
        picked = (np.cumsum(~column.null) - 1)[picked]

    def store(cell: Array) -> None:
        if size:
            cell["value"] = _pick(values, picked)

    return _Field(np.dtype([("length", ">i4"), ("value", "u1", (size,))]), {"length": size}, store)


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
