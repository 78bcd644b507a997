"""Parquet and Feather files in slices of rows, so that a small file of many equal rows is never in memory as a whole.

Which columns are taken, and what they mean, is decided by the caller.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from marketdata_assets.input_limits import MAX_DOCUMENT_BYTES, MOST_TIMES, TooLarge, check_unpacked
from marketdata_assets.loading.archives import COPY_BYTES, Stream
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import naming_failures

SLICE_ROWS = 262_144
VALUE_BYTES = 8


@contextmanager
def on_disk(stream: Stream) -> Iterator[tuple[Path, int]]:
    """A temporary file with the bytes of a stream, and how many they are."""
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        while piece := stream.read(COPY_BYTES):
            file.write(piece)
        file.flush()
        yield Path(file.name), file.tell()


def slices(
    source: Path | bytes,
    size: int,
    place: str,
    pick: Callable[[list[str]], Sequence[str]] = list,
    times: int = MOST_TIMES,
    scan: Callable[..., pl.LazyFrame] = pl.scan_parquet,
) -> Iterator[pl.DataFrame]:
    """The columns that `pick` takes of those in the file, at least one slice. Raises BadFile and what `pick` raises.

    `scan` is polars' function for the format. A file of `size` bytes is a BadFile when its rows would be a
    decompression bomb.
    """
    with naming_failures(place):
        try:
            lazy = scan(source, glob=False)
            taken = pick(lazy.collect_schema().names())
            rows, first = lazy.select(pl.len()).collect().item(), 0
            check_unpacked(rows * max(len(taken), 1) * VALUE_BYTES, size, times)
            while first < rows or first == 0:
                part = lazy.select(*taken).slice(first, SLICE_ROWS).collect()
                texts = part.select(pl.col(pl.String, pl.Binary).cast(pl.Binary).bin.size().sum())
                if (bytes_ := sum(texts.row(0)) if texts.width else 0) > MAX_DOCUMENT_BYTES:
                    mb = MAX_DOCUMENT_BYTES // 1024 // 1024
                    raise TooLarge(f"{part.height} rows have {bytes_ // 1024 // 1024} MB of text; the limit is {mb} MB")
                yield part
                first += SLICE_ROWS
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            cause = " ".join(str(error).split())[:300]
            raise BadFile(place, f"not a {scan.__name__[5:].title()} file that can be read: {cause}") from error
