"""Handlers of columns: rename, select, parse, derive."""

import numpy as np
import polars as pl

from marketdata_assets.flows import casting, steps
from marketdata_assets.flows.handlers.given import Given, computed, expression, kept_columns


def rename(config: steps.Rename, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    return frame.rename(config.columns)


def select(config: steps.Select, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    return frame.select(*config.columns, *kept_columns(frame))


def parse(config: steps.Parse, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    frame.select(*config.types)  # polars names a missing column
    return casting.parse(frame, config.types, given.rejects)


def derive(config: steps.Derive, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    """What has no value, such as a division by zero, is NULL."""
    for name, text in config.columns.items():
        values = computed(frame, {name: expression(text)})[name]
        if values.dtype.is_float():
            finite = np.isfinite(values.to_numpy())  # NULL is nan here
            if np.count_nonzero(finite) != len(values) - values.null_count():
                values = values.set(pl.Series(~finite), None)
        frame = frame.with_columns(values)
    return frame
