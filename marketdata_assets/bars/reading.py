"""Bytes of a bar file to typed columns, a block of whole lines at a time.

Two lanes give the same columns. The fast lane lets polars parse the block as it is and stands back at the first
irregularity; the careful lane then takes that block line by line. What a typed value may be is in `rules`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from marketdata_assets.bars.layout import NUMBERS
from marketdata_assets.bars.sources import Lines
from marketdata_assets.input_limits import MAX_LINE_BYTES, LineTooLong
from marketdata_assets.stores.bookkeeping import Reject

BLOCK_BYTES = 4 * 1024 * 1024
TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
TIME_LENGTH = 19
TIME_FORMATS = (TIME_FORMAT, "%Y/%m/%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M")


@dataclass(frozen=True)
class Block:
    """Whole lines of a file, without the header; the first has number `first_line`."""

    text: bytes
    first_line: int


@dataclass(frozen=True)
class Typed:
    """A block's rows: `time` as datetime, `code` and `name` as text, numbers as float64, and where each row stood.

    `lines` holds row numbers in the file, `raw` gives the row as read; `rejects` are lines with no typed form, and
    `rows` counts both.
    """

    frame: pl.DataFrame
    names: tuple[str, ...]
    text: bytes
    first_line: int
    kept: list[int] | None
    rejects: tuple[Reject, ...] = ()

    @property
    def rows(self) -> int:
        return self.frame.height + len(self.rejects)

    @cached_property
    def _split(self) -> list[bytes]:
        return self.text.split(b"\n")

    def line(self, row: int) -> int:
        """The number of `row` in the file, 1 being the header."""
        return self.first_line + (row if self.kept is None else self.kept[row])

    def raw(self, row: int) -> str:
        """`row` as it was read."""
        return _shown(self._split[row if self.kept is None else self.kept[row]])

    def cell(self, row: int, column: str) -> str:
        """One value of `row` as it was read."""
        return self.raw(row).replace('"', "").split(",")[self.names.index(column)].strip()


def _shown(line: bytes) -> str:
    """A line as text that Postgres can keep: other bytes than UTF-8, and NUL, are written out."""
    return line.decode("utf-8", "backslashreplace").strip("\r").replace("\0", "\\0")


def blocks(stream: Lines, first_line: int, size: int = BLOCK_BYTES) -> Iterator[Block]:
    """Cut the rest of `stream` into blocks of about `size` bytes that end at a line's end. Raises LineTooLong."""
    rest = b""
    while chunk := stream.read(size):
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            rest += chunk
            if len(rest) > MAX_LINE_BYTES:
                raise LineTooLong(first_line)
            continue
        text = rest + chunk[:cut] if rest else chunk[:cut]
        rest = chunk[cut:]
        yield Block(text, first_line)
        first_line += _count(text, b"\n")
    if rest:
        yield Block(rest, first_line)


def _count(text: bytes, byte: bytes) -> int:
    """`text.count(byte)`, several times faster where the byte is frequent."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == byte[0]))


def typed(block: Block, names: tuple[str, ...]) -> Typed:
    """Parse a block whose columns are `names`."""
    return _fast(block, names) or _careful(block, names)


def _fast(block: Block, names: tuple[str, ...]) -> Typed | None:
    text = block.text
    rows = _count(text, b"\n") + (not text.endswith(b"\n"))
    if _count(text, b",") != (len(names) - 1) * rows or b'"' in text or b"\r" in text:
        return None
    schema: dict[str, Any] = {name: pl.Float64 if name in NUMBERS else pl.String for name in names}
    try:
        frame = pl.read_csv(text, schema=schema, has_header=False, quote_char=None)
        if (frame["time"].str.len_bytes() > TIME_LENGTH).any():
            return None
        frame = frame.with_columns(frame["time"].str.to_datetime(TIME_FORMAT, time_unit="us", strict=True))
    except PolarsError:
        return None
    if frame.height != rows or (frame[names[-1]].null_count() and not _even(text, rows)):
        return None
    return Typed(frame, names, text, block.first_line, None)


def _even(text: bytes, rows: int) -> bool:
    """Whether the commas are spread evenly over the lines; polars takes a long line after a short one as it comes."""
    characters = np.frombuffer(text if text.endswith(b"\n") else text + b"\n", np.uint8)
    marks = characters[(characters == ord(",")) | (characters == ord("\n"))]
    return bool((marks.reshape(rows, -1)[:, -1] == ord("\n")).all())


def _careful(block: Block, names: tuple[str, ...]) -> Typed:
    good: list[str] = []
    kept: list[int] = []
    rejects: list[Reject] = []
    for number, line in enumerate(block.text.split(b"\n")):
        if not line.strip():
            continue
        try:
            text = line.decode("utf-8").replace('"', "").rstrip("\r")
        except UnicodeDecodeError:
            rejects.append(Reject(block.first_line + number, "not UTF-8", _shown(line)))
            continue
        if text.count(",") != len(names) - 1:
            reason = f"{text.count(',') + 1} columns, expected {len(names)}"
            rejects.append(Reject(block.first_line + number, reason, _shown(line)))
            continue
        good.append(text)
        kept.append(number)
    columns = list(zip(*(line.split(",") for line in good), strict=True)) or [()] * len(names)
    frame = pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String), orient="col")
    frame = frame.with_columns(pl.all().str.strip_chars()).with_columns(
        pl.when(pl.all() == "").then(None).otherwise(pl.all()).name.keep()
    )
    return _parsed(Typed(frame, names, block.text, block.first_line, kept, tuple(rejects)))


def _parsed(strings: Typed) -> Typed:
    """Cast a frame of strings; a row with a cell that cannot be cast becomes a reject."""
    frame = strings.frame
    clock = pl.col("time").str.slice(0, TIME_LENGTH)
    cast = frame.with_columns(
        pl.coalesce(clock.str.to_datetime(form, time_unit="us", strict=False) for form in TIME_FORMATS).alias("time"),
        pl.col(*NUMBERS).cast(pl.Float64, strict=False),
    )
    kept = strings.kept or []
    bad = np.zeros(frame.height, bool)
    rejects = list(strings.rejects)
    for name, kind in [("time", "a time"), *((name, "a number") for name in NUMBERS)]:
        junk = (cast[name].is_null() & frame[name].is_not_null()).to_numpy() & ~bad
        for row in np.flatnonzero(junk).tolist():
            reason = f"{name} {frame[name][row]!r} is not {kind}"
            rejects.append(Reject(strings.line(row), reason, strings.raw(row)))
        bad |= junk
    return Typed(
        cast.filter(~pl.Series(bad, dtype=pl.Boolean)),
        strings.names,
        strings.text,
        strings.first_line,
        [number for number, is_bad in zip(kept, bad.tolist(), strict=True) if not is_bad],
        tuple(rejects),
    )
