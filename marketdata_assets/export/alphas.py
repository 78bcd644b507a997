"""Alphas, or one of their record sets, as one CSV or Parquet file that is replaced atomically."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import polars as pl

from marketdata_assets import read
from marketdata_assets.alphas.filters import Filters
from marketdata_assets.alphas.layout import Kind
from marketdata_assets.alphas.record_sets import RecordSet
from marketdata_assets.errors import TerminalError
from marketdata_assets.export.folder import Report
from marketdata_assets.state_files import replacing

CSV, PARQUET = ".csv", ".parquet"


class UnknownFormat(TerminalError):
    """The suffix of a file is no format."""


def export(
    file: Path,
    kind: Kind = "regular",
    accounts: str | Sequence[str] | None = None,
    *,
    filters: Filters | None = None,
    columns: Sequence[str] | None = None,
    record_set: RecordSet | None = None,
) -> Report:
    """Write the alphas that match, or one of their record sets, a row per record.

    The suffix of `file`, .csv or .parquet, is the format; in CSV, lists are JSON text. `columns` are those of
    `read.alphas`. Raises UnknownFormat and the errors of `read`.
    """
    if file.suffix not in (CSV, PARQUET):
        raise UnknownFormat(f"{file}: a file of alphas ends in {CSV} or {PARQUET}, which is its format")
    condition = filters.condition() if filters else None
    frame = read.alphas(kind, accounts, where=condition, columns=["id"] if record_set else columns)
    if record_set:
        frame = read.alpha_records(record_set, frame["id"].to_list(), accounts, kind=kind)
    with replacing(file) as partial:
        if file.suffix == CSV:
            frame.with_columns(map(_as_text, frame.iter_columns())).write_csv(partial)
        else:
            frame.write_parquet(partial)
    return Report(written=1, rows=frame.height, bytes=file.stat().st_size)


def _as_text(column: pl.Series) -> pl.Series:
    if not isinstance(column.dtype, pl.List):
        return column
    texts = [None if value is None else msgspec.json.encode(value.to_list()).decode() for value in column]
    return pl.Series(column.name, texts, dtype=pl.String)
