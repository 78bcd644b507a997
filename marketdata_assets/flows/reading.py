"""A unit to frames, whatever its format: the flow's columns, in their types, with the line of each row.

Formats with rules of their own have a module each: `delimited`, `json_lines`, `excel`.
"""

import io
import json
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from itertools import accumulate, pairwise
from typing import Any

import polars as pl
from polars import selectors

from marketdata_assets.flows import casting, delimited, dialect, excel, file_columns, header, json_lines
from marketdata_assets.flows.code import function
from marketdata_assets.flows.definition import FlowDefinition, Loader
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.frames import read_as
from marketdata_assets.loading import parquet_slices
from marketdata_assets.loading.files import HashedStream, Opener, Unit, naming_failures
from marketdata_assets.loading.rejects import LINE, Rejects
from marketdata_assets.loading.run import describe, is_interrupt
from marketdata_assets.loading.text import Block, raw_lines

Frames = Iterator[pl.DataFrame]

LINES = ("csv", "fixed_width", "json_lines")
"""Formats whose rows are lines of text."""


@contextmanager
def frames(opener: Opener, unit: Unit, flow: FlowDefinition, rejects: Rejects) -> Iterator[tuple[Frames, HashedStream]]:
    """The rows of `unit` that are rows of the flow, and the stream, which hashes the bytes that are read.

    Raises LoadError, also while the frames are read; rows that are none go to `rejects`.
    """
    with opener.open(unit) as raw:
        stream = HashedStream(raw)
        with closing(_read(stream, unit, flow, rejects)) as read:
            added = flow.loader.file_columns or flow.loader.file_name
            yield _named(file_columns.added(read, unit, flow.loader) if added else read, unit.place), stream


def _named(read: Frames, place: str) -> Frames:
    with naming_failures(place):
        yield from read


def _read(stream: HashedStream, unit: Unit, flow: FlowDefinition, rejects: Rejects) -> Generator[pl.DataFrame]:
    loader = flow.loader
    if loader.format == "csv" and not loader.function:
        return delimited.read(stream, unit, loader, rejects)
    typed = loader.function or loader.format == "parquet"
    take = casting.of_values if typed else casting.of_texts
    return (take(frame, loader, rejects) for frame in _slices(stream, unit, flow, rejects))


def _slices(stream: HashedStream, unit: Unit, flow: FlowDefinition, rejects: Rejects) -> Frames:
    """The columns that the flow takes, by their names in the file, and the line of each row. Raises LoadError."""
    loader = flow.loader
    if loader.function:
        given = _of_function(stream, unit, flow)
        return _numbered(one.select(header.taken(one.columns, loader, unit.place, rejects=rejects)) for one in given)
    match loader.format:
        case "fixed_width":
            return _fixed_width(stream, unit, loader, rejects)
        case "json_lines":
            return json_lines.lines(stream, unit, loader, rejects)
        case "json":
            return json_lines.document(stream, unit, loader, rejects)
        case "parquet":
            return _numbered(_of_parquet(stream, unit, loader, rejects))
        case _:
            return iter([excel.sheet(stream, unit, loader, rejects)])


def raw_rows(opener: Opener, unit: Unit, flow: FlowDefinition, wanted: set[int]) -> dict[int, str]:
    """Some rows of the unit as they were read, by line: those of text as text, others as JSON objects."""
    loader = flow.loader
    if loader.format in LINES and not loader.function:
        return raw_lines(opener, unit, loader.encoding, wanted)
    with opener.open(unit) as raw:
        stream = HashedStream(raw)
        if loader.format == "json" and not loader.function:
            return {n: json.dumps(row, ensure_ascii=False) for n, row in json_lines.rows(stream, unit, loader, wanted)}
        return {
            row.pop(LINE): json.dumps(row, default=str, ensure_ascii=False)
            for frame in _slices(stream, unit, flow, Rejects())
            for row in _written(frame.filter(pl.col(LINE).is_in(list(wanted)))).to_dicts()
        }


def _written(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its times as texts, since not all of them are those of Python."""
    return frame.with_columns(selectors.temporal().cast(pl.String, strict=False))


def empty(loader: Loader) -> pl.DataFrame:
    """The frame of a file without rows."""
    kinds: dict[str, Any] = dict.fromkeys([*loader.columns.values(), *loader.captures], pl.String)
    kinds |= {name: file_columns.TYPES[what] for name, what in loader.file_columns.items()}
    kinds |= {name: read_as(cell.type) for name, cell in loader.types.items()}
    return pl.DataFrame(schema={**kinds, LINE: pl.Int64})


def _numbered(typed: Frames) -> Frames:
    """The frames with the line of each row, which is its number from 1 on."""
    first = 1
    for frame in typed:
        yield frame.with_row_index(LINE, first).cast({LINE: pl.Int64})
        first += frame.height


def _of_parquet(stream: HashedStream, unit: Unit, loader: Loader, rejects: Rejects) -> Frames:
    with parquet_slices.on_disk(stream) as (file, size):
        yield from parquet_slices.slices(
            file, size, unit.place, lambda names: header.taken(names, loader, unit.place, rejects=rejects)
        )


def _of_function(stream: HashedStream, unit: Unit, flow: FlowDefinition) -> Frames:
    """What the user's `function(file, **arguments)` gives: a frame, or several in turn. `file` has the unit's bytes."""
    loader = flow.loader
    read = function(str(loader.function), flow.file)
    try:
        result = read(io.BytesIO(stream.read()), **loader.arguments)
        for frame in [result] if isinstance(result, pl.DataFrame) else result:
            if not isinstance(frame, pl.DataFrame):
                raise TypeError(f"it gave {type(frame).__name__}, not a polars DataFrame")
            yield frame
    except GeneratorExit:
        raise
    except BaseException as error:  # of a user's function, such as SystemExit
        if is_interrupt(error):
            raise
        raise FlowError(
            f"{unit.place}: loader.function {loader.function}: {describe(error)}. Nothing of the file is loaded;"
            " correct the function or the file and run the flow again."
        ) from error


def _fixed_width(stream: HashedStream, unit: Unit, loader: Loader, rejects: Rejects) -> Frames:
    """Lines whose columns have fixed widths, in characters: `000001 20240102   12.50`."""
    text = header.opened(stream, unit, loader, quote="")
    starts = [0, *accumulate(loader.widths)]
    names = [str(number) for number in range(1, len(starts))]
    if loader.header:
        first = text.header(header.required(loader))
        names = header.numbered([first[start:end].strip() for start, end in pairwise(starts)], loader)
    header.taken(names, loader, unit.place, text.line_number - loader.header, rejects=rejects)
    for block in dialect.rows(text.blocks(), loader, rejects):
        yield _cut(block, names, starts, loader.encoding, rejects)


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
