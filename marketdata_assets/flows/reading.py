"""A unit to frames, whatever its format: the flow's columns, in their types, with the line of each row."""

import json
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any

import polars as pl
from polars import selectors

from marketdata_assets.flows import (
    casting,
    delimited,
    excel,
    file_columns,
    fixed_width,
    json_lines,
    own_reader,
    parquet,
)
from marketdata_assets.flows.definition import FlowDefinition, Loader
from marketdata_assets.flows.functions import function
from marketdata_assets.loading.files import HashedStream, Opener, Unit, naming_failures
from marketdata_assets.loading.rejects import LINE, Rejects
from marketdata_assets.loading.text import raw_lines

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
    if loader.function:
        return own_reader.read(stream, unit, loader, rejects, function(loader.function, flow.file))
    match loader.format:
        case "csv":
            return delimited.read(stream, unit, loader, rejects)
        case "fixed_width":
            return fixed_width.read(stream, unit, loader, rejects)
        case "json_lines":
            return json_lines.read_lines(stream, unit, loader, rejects)
        case "json":
            return json_lines.read_document(stream, unit, loader, rejects)
        case "parquet":
            return parquet.read(stream, unit, loader, rejects)
        case "excel":
            return excel.read(stream, unit, loader, rejects)


def raw_rows(opener: Opener, unit: Unit, flow: FlowDefinition, wanted: set[int]) -> dict[int, str]:
    """Some rows of the unit as they were read, by line: those of text as text, others as JSON objects."""
    loader = flow.loader
    if loader.format in LINES and not loader.function:
        return raw_lines(opener, unit, loader.encoding, wanted)
    with opener.open(unit) as raw:
        stream = HashedStream(raw)
        if loader.function:
            found = own_reader.slices(stream, unit, loader, Rejects(), function(loader.function, flow.file))
        elif loader.format == "parquet":
            found = parquet.slices(stream, unit, loader, Rejects())
        elif loader.format == "excel":
            found = iter([excel.sheet(stream, unit, loader, Rejects())])
        else:
            return {n: json.dumps(row, ensure_ascii=False) for n, row in json_lines.rows(stream, unit, loader, wanted)}
        return {
            row.pop(LINE): json.dumps(row, default=str, ensure_ascii=False)
            for frame in found
            for row in _written(frame.filter(pl.col(LINE).is_in(list(wanted)))).to_dicts()
        }


def _written(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its times as texts, since not all of them are those of Python."""
    return frame.with_columns(selectors.temporal().cast(pl.String, strict=False))


def empty(loader: Loader) -> pl.DataFrame:
    """The frame of a file without rows."""
    kinds: dict[str, Any] = dict.fromkeys([*loader.columns.values(), *loader.captures], pl.String)
    kinds |= {name: file_columns.TYPES[what] for name, what in loader.file_columns.items()}
    kinds |= {name: casting.frame_type(cell.type) for name, cell in loader.types.items()}
    return pl.DataFrame(schema={**kinds, LINE: pl.Int64})
