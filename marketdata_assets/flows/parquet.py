"""Parquet files: typed columns, a slice of rows at a time. The line of a row is its number, from 1 on."""

from collections.abc import Generator, Iterator, Sequence

import polars as pl

from marketdata_assets.flows import columns, header
from marketdata_assets.flows.definition import Loader
from marketdata_assets.loading import parquet_slices
from marketdata_assets.loading.files import HashedStream, Unit
from marketdata_assets.loading.rejects import LINE, Rejects


def read(stream: HashedStream, unit: Unit, loader: Loader, rejects: Rejects) -> Generator[pl.DataFrame]:
    """The rows of the unit. Raises BadFile or BadHeader."""
    for frame in slices(stream, unit, loader, rejects):
        yield columns.of_values(frame, loader, rejects)


def slices(stream: HashedStream, unit: Unit, loader: Loader, rejects: Rejects) -> Iterator[pl.DataFrame]:
    """The file's columns that the flow takes, and the line of each row."""

    def taken(names: list[str]) -> Sequence[str]:
        header.check(names, loader, unit.place, rejects=rejects)
        return [*header.of_file(names, loader).columns]

    first = 1
    with parquet_slices.on_disk(stream) as (file, size):
        for part in parquet_slices.slices(file, size, unit.place, taken):
            yield part.with_row_index(LINE, first).cast({LINE: pl.Int64})
            first += part.height
