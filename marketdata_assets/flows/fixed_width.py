"""Lines whose columns have fixed widths, in characters: `000001 20240102   12.50`."""

from collections.abc import Generator
from itertools import accumulate, pairwise

import polars as pl

from marketdata_assets.flows import columns, dialect, header
from marketdata_assets.flows.definition import Loader
from marketdata_assets.loading.files import HashedStream, Unit
from marketdata_assets.loading.rejects import LINE, Rejects
from marketdata_assets.loading.text import Block, Text


def read(stream: HashedStream, unit: Unit, loader: Loader, rejects: Rejects) -> Generator[pl.DataFrame]:
    """The rows of the unit, a block at a time. Raises BadFile, BadHeader or WrongEncoding."""
    text = Text(unit.place, stream, loader.encoding, header.ENCODING_REMEDY, quote="")
    for _ in range(loader.skip_lines):
        text.line()
    starts = [0, *accumulate(loader.widths)]
    names = [str(number) for number in range(1, len(starts))]
    if loader.header:
        first = text.header(header.required(loader))
        names = header.numbered([first[start:end].strip() for start, end in pairwise(starts)], loader)
    header.check(names, loader, unit.place, text.line_number - loader.header, rejects)
    for block in dialect.rows(text.blocks(), loader, rejects):
        yield columns.of_texts(_cut(block, names, starts, loader.encoding, rejects), loader, rejects)


def _cut(block: Block, names: list[str], starts: list[int], encoding: str, rejects: Rejects) -> pl.DataFrame:
    """The cells of each line. One that ends before its last column, or continues behind it, is rejected."""
    rejects.rows += len(block.undecodable)
    rejects.add_all(block.undecodable, f"not {encoding}")
    lines = pl.Series("text", block.text.decode().split("\n"), dtype=pl.String).str.strip_chars_end(" \t\r")
    frame = lines.to_frame().with_row_index(LINE, block.first_line).cast({LINE: pl.Int64}).filter(pl.col("text") != "")
    length = frame["text"].str.len_chars()
    wrong = (length <= starts[-2]) | (length > starts[-1])
    reasons = pl.select(pl.format("{} characters, expected {} to {}", length, starts[-2] + 1, starts[-1])).to_series()
    rejects.rows += int(wrong.sum())
    frame = rejects.take_out(frame, wrong, reasons)
    cells = [
        pl.col("text").str.slice(start, end - start).alias(name)
        for name, start, end in zip(names, starts, starts[1:], strict=False)
    ]
    return frame.select(LINE, *cells)
