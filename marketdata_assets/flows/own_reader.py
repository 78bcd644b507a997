"""Files that a function of the user's reads: `function(file, **arguments)` gives one polars frame, or several in turn.

`file` has the unit's bytes, unpacked. The line of a row is its number, from 1 on.
"""

import io
from collections.abc import Generator, Iterator

import polars as pl

from marketdata_assets.flows import columns, header
from marketdata_assets.flows.definition import Loader
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.functions import Function
from marketdata_assets.loading.files import HashedStream, Unit
from marketdata_assets.loading.rejects import LINE, Rejects
from marketdata_assets.loading.run import describe, is_interrupt


def read(
    stream: HashedStream, unit: Unit, loader: Loader, rejects: Rejects, function: Function
) -> Generator[pl.DataFrame]:
    """The rows of the unit. Raises FlowError for whatever the function raises, or BadHeader."""
    for frame in slices(stream, unit, loader, rejects, function):
        yield columns.of_values(frame, loader, rejects)


def slices(
    stream: HashedStream, unit: Unit, loader: Loader, rejects: Rejects, function: Function
) -> Iterator[pl.DataFrame]:
    """The columns that the flow takes of what the function gives, and the line of each row."""
    first = 1
    for frame in _given(io.BytesIO(stream.read()), unit.place, loader, function):
        header.check(frame.columns, loader, unit.place, rejects=rejects)
        yield (
            frame.select(*header.of_file(frame.columns, loader).columns)
            .with_row_index(LINE, first)
            .cast({LINE: pl.Int64})
        )
        first += frame.height


def _given(file: io.BytesIO, place: str, loader: Loader, function: Function) -> Iterator[pl.DataFrame]:
    try:
        result = function(file, **loader.arguments)
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
            f"{place}: loader.function {loader.function}: {describe(error)}. Nothing of the file is loaded; correct the"
            " function or the file and run the flow again."
        ) from error
