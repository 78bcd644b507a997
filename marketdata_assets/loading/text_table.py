"""Blocks of delimited text to rows of texts, by a fast lane for what is regular, or by the careful one, line by line.

A CSV file is a table of them: every line after the header is a row with its line, or is bad for a reason; no cell has
several lines. What a text means is decided by the caller.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import Opener, Unit
from marketdata_assets.loading.rejects import LINE, Rejects
from marketdata_assets.loading.text import Block, Text, count, raw_lines
from marketdata_assets.stores.bookkeeping import Reject

Array = np.ndarray[Any, np.dtype[Any]]

ENCODING_REMEDY = "Convert it: iconv -f {} -t UTF-8 OLD > NEW"
EMPTY = "the file is empty, without even a header"
NO_LINES = "its lines end with CR alone; save it with LF or CRLF at the end of lines"
LONGEST_CELL_LINES = 100
QUOTE = '"'
BLANKS = " \t\r\n\u3000\xa0"
"""What is no part of a cell around it; wide and unbreakable ones come with copies of pages and sheets."""


@dataclass(frozen=True)
class TextTable:
    """`names` in the header's order; `rows` have LINE and the texts of the columns, named by number from 0 on.

    Texts are without blanks around them, NULL where nothing is left. `bad` are lines that are no rows.
    """

    names: Sequence[str]
    rows: pl.DataFrame
    bad: Sequence[Reject] = ()


def read(unit: Unit) -> TextTable:
    """The table of a file in UTF-8, with commas. Raises LoadError, also for one without a header."""
    with Opener() as opener:
        with opener.open(unit) as stream:
            text = Text(unit.place, stream, remedy=ENCODING_REMEDY, quote="")
            header = text.header()
            if "\r" in header:
                raise BadFile(unit.place, NO_LINES)
            if not header.strip() and not text.peek():
                raise BadFile(unit.place, EMPTY)
            names, rejects = cells(header), Rejects()
            columns = [str(number) for number in range(len(names))]
            empty = pl.DataFrame(schema={LINE: pl.Int64, **dict.fromkeys(columns, pl.String)})
            frames = [frame(block, columns, rejects).select(LINE, *columns) for block in text.blocks()]
        texts = raw_lines(opener, unit, "utf-8", set(rejects.reasons)) if rejects.reasons else {}
    rows = pl.concat([empty, *frames])
    check_headers(unit.place, rows, names)
    return TextTable(names, rows, rejects.for_quarantine(texts))


def cells(line: str, delimiter: str = ",", *, blanks: bool = True) -> list[str]:
    """The cells of a line, without blanks and quotes around them; without `blanks`, none are before a quote."""
    texts = line.split(delimiter)
    if QUOTE in line:
        with suppress(csv.Error):  # such as of a carriage return within the line
            texts = next(csv.reader([line], delimiter=delimiter, skipinitialspace=not blanks))
    return [text.strip().strip(QUOTE).strip() for text in texts]


def check_headers(place: str, rows: pl.DataFrame, names: Sequence[str]) -> None:
    """Raise BadFile for a row of texts that is a header of other columns than `names`; LINE has the lines."""
    likely = rows.filter(pl.col(LINE).is_in(likely_headers(rows, names)))
    for line, *found in likely.select(LINE, pl.exclude(LINE)).rows():
        is_header(place, line, found, names)


def likely_headers(rows: pl.DataFrame, names: Sequence[str]) -> list[int]:
    """The lines of rows of texts that may be a header, of these columns or of others: half of the cells are names."""
    known = [form for name in names for form in (name, name.lower(), name.upper(), name.title())]
    if rows.width == 1:
        return []
    return rows.filter(2 * pl.sum_horizontal(pl.exclude(LINE).is_in(known)) >= rows.width - 1)[LINE].to_list()


def is_header(place: str, line: int, found: Sequence[str | None], names: Sequence[str]) -> bool:
    """Whether a row has `names` as its cells; raises BadFile for a header of other columns, as in files joined to one.

    Rows below it have as many cells, of which some mean something else.
    """
    theirs, ours = ([(name or "").casefold() for name in one] for one in (found, names))
    if len(theirs) == len(ours) and theirs != ours and 2 * len({*theirs} & {*ours}) > len(ours):
        cause = (
            f"line {line} is a header of other columns or another order ({', '.join(theirs)}), for the rows below it"
        )
        raise BadFile(place, cause, "divide the file there")
    return theirs == ours


def frame(block: Block, columns: Sequence[str], rejects: Rejects, delimiter: str = ",") -> pl.DataFrame:
    """The rows of a block as texts, with LINE; lines that are no rows go to `rejects`."""
    rows = _fast(block, columns, delimiter)
    return read_rows(block, columns, rejects, delimiter=delimiter, multiline=False) if rows is None else rows


def _fast(block: Block, columns: Sequence[str], delimiter: str) -> pl.DataFrame | None:
    """The rows of a block of which every line has as many cells as the header, and no quotes."""
    text = block.text.replace(b"\r\n", b"\n")
    text = text if text.endswith(b"\n") else text + b"\n"
    if block.undecodable or (len(columns) == 1 and b"\n\n" in text):
        return None
    frame = read_even(text, dict.fromkeys(columns, pl.String), delimiter)
    if frame is None:
        return None
    texts, last = pl.all().str.strip_chars(BLANKS), block.first_line + frame.height
    frame = frame.with_columns(pl.when(texts != "").then(texts).name.keep())
    return frame.with_columns(pl.int_range(block.first_line, last, dtype=pl.Int64).alias(LINE))


def read_even(text: bytes, schema: Mapping[str, Any], delimiter: str = ",") -> pl.DataFrame | None:
    """The fast lane: lines without quotes, which end with a newline, by polars.

    None when one has another number of cells than `schema`, or one that is no such value.
    """
    rows, width, mark = count(text, b"\n"), len(schema), delimiter.encode()
    if count(text, mark) != (width - 1) * rows or b'"' in text or b"\r" in text:
        return None
    try:
        frame = pl.read_csv(text, schema=dict(schema), has_header=False, quote_char=None, separator=delimiter)
    except PolarsError:
        return None
    if frame.height == rows and frame.to_series(-1).null_count():  # polars takes a long line after a short one
        characters = np.frombuffer(text, np.uint8)
        even = ends_evenly(characters[(characters == mark[0]) | (characters == ord("\n"))], width)
        return frame if even else None
    return frame if frame.height == rows else None


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
) -> pl.DataFrame:
    """The rows of `block` as text, with the line of each in LINE; `names` are the columns, an empty text is NULL.

    Lines that are no text, have another number of cells or a quote without end go to `rejects`. Blank lines are none.
    Unless `multiline`, quotes have to close on their line: where no cell has several lines, others hide rows.
    """
    cells: list[list[str]] = []
    lines: list[int] = []
    rejects.add_undecodable(block.undecodable, encoding)
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
    frame = frame.with_columns(pl.when(pl.all() != "").then(pl.all()).name.keep())
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
