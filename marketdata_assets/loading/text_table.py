"""A CSV file as a table of texts: every line after the header is a row with its line, or is bad for a reason.

No cell has several lines. What a text means is decided by the caller.
"""

import csv
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import polars as pl
from polars.exceptions import PolarsError

from marketdata_assets.loading.csv_rows import BLANKS, QUOTE, is_even, read_rows
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import Opener, Unit
from marketdata_assets.loading.rejects import LINE, Rejects
from marketdata_assets.loading.text import Block, Text, count, raw_lines
from marketdata_assets.stores.bookkeeping import Reject

ENCODING_REMEDY = "Convert it: iconv -f {} -t UTF-8 OLD > NEW"
EMPTY = "the file is empty, without even a header"
NO_LINES = "its header has several lines: lines end with LF or CRLF, not with CR alone; save it so"


@dataclass(frozen=True)
class TextTable:
    """`names` in the header's order; `rows` have LINE and the texts of the columns, named by number from 0 on.

    Texts are without blanks around them, NULL where nothing is left. `bad` are lines that are no rows.
    """

    names: Sequence[str]
    rows: pl.DataFrame
    bad: Sequence[Reject] = ()


def read(unit: Unit) -> TextTable:
    """The table of a file in UTF-8, with commas. Raises BadFile, also for one without a header, and WrongEncoding."""
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
    return TextTable(names, pl.concat([empty, *frames]), rejects.for_quarantine(texts))


def cells(line: str, delimiter: str = ",", *, blanks: bool = True) -> list[str]:
    """The cells of a line, without blanks and quotes around them; without `blanks`, none are before a quote."""
    texts = line.split(delimiter)
    if QUOTE in line:
        with suppress(csv.Error):  # such as of a carriage return within the line
            texts = next(csv.reader([line], delimiter=delimiter, skipinitialspace=not blanks))
    return [text.strip().strip(QUOTE).strip() for text in texts]


def frame(block: Block, columns: Sequence[str], rejects: Rejects, delimiter: str = ",") -> pl.DataFrame:
    """The rows of a block as texts, with LINE; lines that are no rows go to `rejects`."""
    rows = _fast(block, columns, delimiter)
    return read_rows(block, columns, rejects, delimiter=delimiter, multiline=False) if rows is None else rows


def _fast(block: Block, columns: Sequence[str], delimiter: str) -> pl.DataFrame | None:
    """The rows of a block of which every line has as many cells as the header, and no quotes."""
    text = block.text.replace(b"\r\n", b"\n")
    text = text if text.endswith(b"\n") else text + b"\n"
    rows = count(text, b"\n")
    if block.undecodable or b'"' in text or b"\r" in text or not is_even(text, delimiter.encode(), rows, len(columns)):
        return None
    try:
        schema = dict.fromkeys(columns, pl.String)
        frame = pl.read_csv(text, schema=schema, has_header=False, quote_char=None, separator=delimiter)
    except PolarsError:
        return None
    if frame.height != rows or (len(columns) == 1 and b"\n\n" in text):
        return None
    texts = pl.all().str.strip_chars(BLANKS)
    frame = frame.with_columns(pl.when(texts != "").then(texts).name.keep())
    return frame.with_columns(pl.int_range(block.first_line, block.first_line + rows, dtype=pl.Int64).alias(LINE))
