"""Blocks of text to rows of cells: the careful lane, line by line, and what a fast lane asks before it parses a block.

What a cell may be is decided by the caller.
"""

import csv
import io
import re
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
    multiline: bool = True,
    missing: Sequence[str] = ("",),
) -> pl.DataFrame:
    """The rows of `block` as text, with the line of each in LINE; `names` are the columns, `missing` texts are NULL.

    Lines that are no text, have another number of cells or a quote without end go to `rejects`. Blank lines are none.
    Unless `multiline`, quotes have to close on their line: where no cell has several lines, others hide rows.
    """
    cells: list[list[str]] = []
    lines: list[int] = []
    rejects.rows += len(block.undecodable)
    rejects.add_all(block.undecodable, f"not {encoding}")
    for line, row in _rows(block, delimiter, len(names), strip, multiline):
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


def _rows(block: Block, delimiter: str, width: int, blanks: bool, multiline: bool) -> Iterator[tuple[int, list[str]]]:
    """Each row's line and cells; no cells for a line whose quotes do not close, or close within a cell.

    With `blanks`, a quote behind blanks at the beginning of a cell opens it too.
    """
    lines = block.text.decode().split("\n")
    number = 0
    while number < len(lines):
        first, text = number, lines[number].rstrip("\r")
        number += 1
        if not text.strip():
            continue
        if text.count(QUOTE) % 2:
            last = _closed_at(lines, first, delimiter, width, blanks) if multiline else None
            if last is None:
                yield block.first_line + first, []
                continue
            text, number = "\n".join(lines[first : last + 1]).rstrip("\r"), last + 1
        cells = next(iter(_parsed(text, delimiter, blanks)), []) if QUOTE in text else text.split(delimiter)
        yield block.first_line + first, cells


def _closed_at(lines: list[str], first: int, delimiter: str, width: int, blanks: bool) -> int | None:
    """The line on which the quotes close that the line `first` opens; None as well where they seem to hide rows."""
    quotes = 0
    for number in range(first, min(first + LONGEST_CELL_LINES, len(lines))):
        quotes += lines[number].count(QUOTE)
        if quotes % 2 == 0 and len(_parsed("\n".join(lines[first : number + 1]), delimiter, blanks)) == 1:
            ends = {_cuts(lines[first], delimiter), _cuts(lines[number][::-1], delimiter)}
            between = (next(iter(_parsed(line, delimiter, blanks)), []) for line in lines[first + 1 : number])
            rows = width > 1 and (ends == {width - 1} or any(len(cells) == width for cells in between))
            return None if rows else number
    return None


def _cuts(line: str, delimiter: str) -> int:
    """How many delimiters a line has outside of quotes that close on it, from its beginning on."""
    return re.sub(f"{QUOTE}[^{QUOTE}]*{QUOTE}", "", line).count(delimiter)


def _parsed(text: str, delimiter: str, blanks: bool) -> list[list[str]]:
    """The rows of a text; none when a quote does not end its cell, as in `"10"5`."""
    try:
        lines = io.StringIO(text, newline="")
        return list(csv.reader(lines, delimiter=delimiter, skipinitialspace=blanks, strict=True))
    except csv.Error:
        return []
