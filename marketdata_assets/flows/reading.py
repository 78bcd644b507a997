"""Blocks of lines to frames: the flow's columns, in their types, with the line of each row.

Two lanes give the same frame. The fast lane lets polars parse the block as it is and stands back at the first
irregularity; the careful lane takes that block line by line, and refuses what is no row.
"""

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from marketdata_assets.flows import casting
from marketdata_assets.flows.definition import Loader
from marketdata_assets.flows.loader import Block, count
from marketdata_assets.flows.rejects import LINE, Rejects
from marketdata_assets.flows.types import ColumnType

Array = np.ndarray[Any, np.dtype[Any]]

LONGEST_CELL_LINES = 100
QUOTE = '"'
BLANKS = " \t\r\n"
NUMBERS = ("numeric", "double", "bigint", "integer")


class Reader:
    """Frames of one unit's blocks; `names` is its header."""

    def __init__(self, loader: Loader, names: list[str], rejects: Rejects) -> None:
        self._loader = loader
        self._rejects = rejects
        self._width = len(names)
        self._at = [names.index(source) for source in loader.columns]
        self._names = list(loader.columns.values())
        self._types = loader.types
        self._delimiter = loader.delimiter.encode()
        self._numbers = [name for name, kind in self._types.items() if kind.kind in NUMBERS]
        self._header = self._delimiter.join(str(at).encode() for at in range(len(names))) + b"\n"

    def frame(self, block: Block) -> pl.DataFrame:
        """The rows of `block` that are rows of the flow."""
        frame = self._fast(block)
        return self._careful(block) if frame is None else frame

    def _fast(self, block: Block) -> pl.DataFrame | None:
        text = block.text.rstrip(b"\r\n") + b"\n"
        lines = self._lines(text, block.first_line) if not block.undecodable else None
        if lines is None:
            return None
        frame = self._read(text, self._names, self._numbers)
        checked: dict[str, pl.Series] = {}
        if frame is None or frame.height != len(lines):
            frame = self._read(text, self._names, ())
        else:
            checked = self._checked(frame)
            if again := [name for name in self._numbers if name not in checked]:
                texts = self._read(text, again, ())
                frame = None if texts is None or texts.height != frame.height else frame.with_columns(texts)
        if frame is None or frame.height != len(lines):
            return None
        rest = {name: kind for name, kind in self._types.items() if name not in checked}
        self._rejects.rows += frame.height
        frame = self._stripped(frame, text).with_columns(*checked.values(), lines)
        return casting.parse(frame, rest, self._rejects)

    def _read(self, text: bytes, names: Sequence[str], doubles: Collection[str]) -> pl.DataFrame | None:
        """These columns of the flow, `doubles` as such and the others as text."""
        picked = [str(self._at[self._names.index(name)]) for name in names]
        kinds: dict[str, Any] = {
            source: pl.Float64 if name in doubles else pl.String for source, name in zip(picked, names, strict=True)
        }
        try:
            frame = pl.read_csv(
                self._header + text,
                columns=picked,
                schema_overrides=kinds,
                infer_schema=False,
                separator=self._loader.delimiter,
                quote_char=QUOTE if QUOTE.encode() in text else None,
                null_values=self._loader.missing,
            )
        except PolarsError:
            return None
        return frame[picked].rename(dict(zip(picked, names, strict=True)))

    def _checked(self, frame: pl.DataFrame) -> dict[str, pl.Series]:
        """Numbers that were read as doubles, in their types; not those of which one must be read from its text."""
        checked: dict[str, pl.Series] = {}
        for name in self._numbers:
            kind, column = self._types[name], frame[name]
            if int(np.count_nonzero(np.isfinite(column.to_numpy()))) != len(column) - column.null_count():
                continue
            values = _of_doubles(column, kind)
            if values is not None:
                checked[name] = values.alias(name)
        return checked

    def _stripped(self, frame: pl.DataFrame, text: bytes) -> pl.DataFrame:
        if not self._loader.strip or not any(mark in text for mark in (b" ", b"\t", b'"')):
            return frame
        stripped = pl.col(pl.String).str.strip_chars(BLANKS)
        return frame.with_columns(stripped).with_columns(
            pl.when(pl.col(pl.String).is_in(self._loader.missing)).then(None).otherwise(pl.col(pl.String)).name.keep()
        )

    def _lines(self, text: bytes, first: int) -> pl.Series | None:
        """The line each row begins on; None when not every row has as many cells as the header."""
        if b'"' not in text:
            rows = count(text, b"\n")
            if not _even(text, self._delimiter, rows, self._width):
                return None
            return pl.int_range(first, first + rows, dtype=pl.Int64, eager=True).alias(LINE)
        characters = np.frombuffer(text, np.uint8)
        if not _quoted_whole(characters, self._delimiter[0]):
            return None
        outside = (np.cumsum(characters == ord(QUOTE), dtype=np.int32) & 1) == 0
        ends = characters == ord("\n")
        marks = characters[((characters == self._delimiter[0]) | ends) & outside]
        rows = int(np.count_nonzero(marks == ord("\n")))
        if len(marks) != rows * self._width or not _ends_evenly(marks, self._width):
            return None
        before = np.cumsum(ends)[np.flatnonzero(ends & outside)]
        return pl.Series(LINE, first + np.concatenate([[0], before[:-1]]), dtype=pl.Int64)

    def _careful(self, block: Block) -> pl.DataFrame:
        cells: list[list[str]] = []
        lines: list[int] = []
        self._rejects.add_all(block.undecodable, f"not {self._loader.encoding}")
        self._rejects.rows += len(block.undecodable)
        for line, row in _rows(block, self._loader.delimiter):
            if len(row) == self._width:
                cells.append([row[at] for at in self._at])
                lines.append(line)
            else:
                self._rejects.rows += 1
                self._rejects.add(line, f"{len(row)} columns, expected {self._width}" if row else "a quote without end")
        schema = dict.fromkeys(self._names, pl.String)
        frame = pl.DataFrame(cells, schema=schema, orient="row").with_columns(pl.Series(LINE, lines, dtype=pl.Int64))
        self._rejects.rows += frame.height
        if self._loader.strip:
            frame = frame.with_columns(pl.col(*self._names).str.strip_chars(BLANKS))
        texts = pl.col(*self._names)
        frame = frame.with_columns(pl.when(texts.is_in(self._loader.missing)).then(None).otherwise(texts).name.keep())
        return casting.parse(frame, self._types, self._rejects)


def empty(loader: Loader) -> pl.DataFrame:
    """The frame of a file without rows."""
    types = loader.types
    kinds = {n: casting.frame_type(types[n]) if n in types else pl.String for n in loader.columns.values()}
    return pl.DataFrame(schema={**kinds, LINE: pl.Int64})


def _of_doubles(column: pl.Series, kind: ColumnType) -> pl.Series | None:
    """Doubles in their type; None where the text itself must be asked."""
    match kind.kind:
        case "numeric":
            return casting.numeric_of_doubles(column, kind)
        case "bigint" | "integer":
            return casting.integer_of_doubles(column, kind)
    return column


def _even(text: bytes, delimiter: bytes, rows: int, width: int) -> bool:
    """Whether each line has `width` cells."""
    if count(text, delimiter) != (width - 1) * rows:
        return False
    characters = np.frombuffer(text, np.uint8)
    marks = characters[(characters == delimiter[0]) | (characters == ord("\n"))]
    return _ends_evenly(marks, width)


def _quoted_whole(characters: Array, delimiter: int) -> bool:
    """Whether quotes stand only around whole cells, or doubled within such."""
    quotes = np.flatnonzero(characters == ord(QUOTE))
    if len(quotes) % 2:
        return False
    before = characters[quotes[0::2] - 1]  # of a quote that is the text's first character, the last: a line's end
    after = characters[quotes[1::2] + 1]
    opens = (before == delimiter) | (before == ord("\n")) | (before == ord(QUOTE))
    closes = (after == delimiter) | (after == ord("\n")) | (after == ord("\r")) | (after == ord(QUOTE))
    return bool(opens.all() and closes.all())


def _ends_evenly(marks: Array, width: int) -> bool:
    return bool((marks.reshape(-1, width)[:, -1] == ord("\n")).all())


def _rows(block: Block, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each row's line and cells; no cells for a line whose quotes do not close."""
    lines = block.text.decode().split("\n")
    number = 0
    while number < len(lines):
        first, text = number, lines[number].rstrip("\r")
        number += 1
        if not text.strip():
            continue
        if text.count(QUOTE) % 2:
            last = _closed_at(lines, first, delimiter)
            if last is None:
                yield block.first_line + first, []
                continue
            text, number = "\n".join(lines[first : last + 1]).rstrip("\r"), last + 1
        yield block.first_line + first, _cells(text, delimiter)


def _closed_at(lines: list[str], first: int, delimiter: str) -> int | None:
    """The line on which the quotes close that the line `first` opens."""
    quotes = 0
    for number in range(first, min(first + LONGEST_CELL_LINES, len(lines))):
        quotes += lines[number].count(QUOTE)
        if quotes % 2 == 0 and len(_parsed("\n".join(lines[first : number + 1]), delimiter)) == 1:
            return number
    return None


def _cells(text: str, delimiter: str) -> list[str]:
    return _parsed(text, delimiter)[0] if QUOTE in text else text.split(delimiter)


def _parsed(text: str, delimiter: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
