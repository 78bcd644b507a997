"""Parquet files: typed columns, a slice of rows at a time. The line of a row is its number, from 1 on."""

import io
from collections.abc import Generator, Iterator

import polars as pl

from marketdata_assets.flows import columns, header
from marketdata_assets.flows.definition import Loader
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import HashedStream, Unit
from marketdata_assets.loading.rejects import LINE, Rejects

SLICE_ROWS = 262_144


def read(stream: HashedStream, unit: Unit, loader: Loader, rejects: Rejects) -> Generator[pl.DataFrame]:
    """The rows of the unit. Raises BadFile or BadHeader."""
    for frame in slices(stream, unit, loader, rejects):
        yield columns.of_values(frame, loader, rejects)


def slices(stream: HashedStream, unit: Unit, loader: Loader, rejects: Rejects) -> Iterator[pl.DataFrame]:
    """The file's columns that the flow takes, and the line of each row."""
    data = stream.read()
    try:
        lazy = pl.scan_parquet(io.BytesIO(data))
        names = lazy.collect_schema().names()
        header.check(names, loader, unit.place, rejects=rejects)
        taken = header.of_file(names, loader).columns
        rows, first = lazy.select(pl.len()).collect().item(), 0
        while first < rows or first == 0:
            part = lazy.select(*taken).slice(first, SLICE_ROWS).collect()
            yield part.with_row_index(LINE, first + 1).cast({LINE: pl.Int64})
            first += SLICE_ROWS
    except pl.exceptions.PolarsError as error:
        raise BadFile(unit.place, f"not a Parquet file that can be read: {error}") from error
