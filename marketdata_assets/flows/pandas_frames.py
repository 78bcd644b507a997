"""Frames to pandas and back, for handlers that were written for pandas.

Decimals are doubles to pandas, and whole numbers with a missing value too; what is missing there is NULL here.
"""

from typing import TYPE_CHECKING, Any

import polars as pl

from marketdata_assets.loading.rejects import LINE

if TYPE_CHECKING:
    import pandas as pd


def to_pandas(frame: pl.DataFrame) -> "pd.DataFrame":
    """The frame with rows numbered from 0, days as midnights."""
    import pandas as pd

    return pd.DataFrame({column.name: _values(column) for column in frame})


def _values(column: pl.Series) -> Any:
    import pandas as pd

    if isinstance(column.dtype, pl.Decimal):
        column = column.cast(pl.Float64)
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone:
        return pd.Series(column.to_numpy()).dt.tz_localize("UTC").dt.tz_convert(column.dtype.time_zone)
    known = column.dtype.is_numeric() or isinstance(column.dtype, pl.Date | pl.Datetime)
    return column.to_numpy() if known else pd.Series(column.to_list(), dtype=object)


def from_pandas(frame: "pd.DataFrame", before: pl.DataFrame) -> pl.DataFrame:
    """The frame that a handler gave for `before`; an index that has a name is a column."""
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    columns = [_column(str(name), frame[name], before.schema.get(str(name))) for name in frame.columns]
    return pl.DataFrame(columns)


def _column(name: str, values: "pd.Series[Any]", before: pl.DataType | None) -> pl.Series:
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        zone = getattr(values.dtype, "tz", None)
        plain = values.dt.tz_convert("UTC").dt.tz_localize(None) if zone else values
        times = pl.Series(name, plain.to_numpy().astype("datetime64[us]"))
        if zone:
            return times.dt.replace_time_zone("UTC")
        days = times.cast(pl.Date)
        return days if before == pl.Date and (days.cast(times.dtype) == times).all() else times
    found = pl.Series(name, [None if _is_missing(value) else value for value in values.tolist()], strict=False)
    if found.dtype == pl.Null and before is not None:
        return found.cast(before)
    return found.cast(pl.Int64) if name == LINE else found


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)
