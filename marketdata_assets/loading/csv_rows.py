"""Blocks of text to rows of cells: the careful lane, line by line, and what a fast lane asks before it parses a block.

What a cell may be is decided by the caller.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from marketdata_assets.loading.rejects import LINE, Rejects
from marketdata_assets.loading.text import Block, count

Array = np.ndarray[Any, np.dtype[Any]]

LONGEST_CELL_LINES = 100
QUOTE = '"'
BLANKS = " \t\r\n"


def joined_lines(rows: pl.DataFrame) -> str:
    """Why the rows that polars read of a CSV file, as text, are not its lines; empty when they are."""
    if any("\r" in name or "\n" in name for name in rows.columns):
        return "its header continues over several lines: lines end with LF or CRLF, not with CR alone"
    joined = rows.select(pl.any_horizontal(pl.all().str.contains("\n", literal=True))).to_series().arg_true()
    return f"row {joined[0] + 1}: a quote is opened, and closed some lines later" if len(joined) else ""


def is_even(text: bytes, delimiter: bytes, rows: int, width: int) -> bool:
    """Whether each line of a text without quotes has `width` cells. `text` ends with a newline."""
    if count(text, delimiter) != (width - 1) * rows:
        return False
    characters = np.frombuffer(text, np.uint8)
    return ends_evenly(characters[(characters == delimiter[0]) | (characters == ord("\n"))], width)


def ends_evenly(marks: Array, width: int) -> bool:
    """Whether of the delimiters and newlines of a text each `width`-th is a newline."""
    return bool((marks.reshape(-1, width)[:, -1] == ord("\n")).all())


def read_rows(
    block: Block,
    names: Sequence[str],
    rejects: Rejects,
    *,
    delimiter: str = ",",
    encoding: str = "UTF-8",
    strip: bool = True,
    missing: Sequence[str] = ("",),
    cell_lines: int = LONGEST_CELL_LINES,
) -> pl.DataFrame:
    """The rows of `block` as text, with the line of each in LINE; `names` are the columns, `missing` texts are NULL.

    A cell in quotes may continue over `cell_lines`: where none does, two stray quotes must not swallow what is between.
    Lines that are no text, have another number of cells or a quote without end go to `rejects`. Blank lines are none.
    """
    cells: list[list[str]] = []
    lines: list[int] = []
    rejects.rows += len(block.undecodable)
    rejects.add_all(block.undecodable, f"not {encoding}")
    for line, row in _rows(block, delimiter, cell_lines):
        rejects.rows += 1
        if len(row) == len(names):
            cells.append(row)
            lines.append(line)
        else:
            rejects.add(line, f"{len(row)} columns, expected {len(names)}" if row else "a quote without end")
    columns = list(zip(*cells, strict=True)) or [()] * len(names)
    frame = pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String), orient="col")
    if strip:
        frame = frame.with_columns(pl.all().str.strip_chars(BLANKS))
    texts = pl.all()
    frame = frame.with_columns(pl.when(texts.is_in(missing)).then(None).otherwise(texts).name.keep())
    return frame.with_columns(pl.Series(LINE, lines, dtype=pl.Int64))


def _rows(block: Block, delimiter: str, cell_lines: int) -> Iterator[tuple[int, list[str]]]:
    """Each row's line and cells; no cells for a line whose quotes do not close, or close within a cell."""
    lines = block.text.decode().split("\n")
    number = 0
    while number < len(lines):
        first, text = number, lines[number].rstrip("\r")
        number += 1
        if not text.strip():
            continue
        if text.count(QUOTE) % 2:
            more = _closed_at(lines[first : first + cell_lines], delimiter)
            if more is None:
                yield block.first_line + first, []
                continue
            text, number = "\n".join(lines[first : number + more]).rstrip("\r"), number + more
        cells = next(iter(_parsed(text, delimiter)), []) if QUOTE in text else text.split(delimiter)
        yield block.first_line + first, cells


def _closed_at(lines: list[str], delimiter: str) -> int | None:
    """The one of `lines` on which the quotes close that the first opens."""
    quotes = 0
    for number, line in enumerate(lines):
        quotes += line.count(QUOTE)
        if quotes % 2 == 0 and len(_parsed("\n".join(lines[: number + 1]), delimiter)) == 1:
            return number
    return None


def _parsed(text: str, delimiter: str) -> list[list[str]]:
    """The rows of a text; none when a quote does not end its cell, as in `"10"5`."""
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        return []
