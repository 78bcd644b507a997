"""Handlers of columns: rename, select, parse, derive."""

import polars as pl

from marketdata_assets.flows import casting, steps
from marketdata_assets.flows.handlers.given import Given, doubles, kept_columns


def rename(config: steps.Rename, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    return frame.rename(config.columns)


def select(config: steps.Select, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    return frame.select(*config.columns, *kept_columns(frame))


def parse(config: steps.Parse, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    frame.select(*config.types)  # a column that is not there is named by polars
    return casting.parse(frame, config.types, given.rejects)


def derive(config: steps.Derive, frame: pl.DataFrame, given: Given) -> pl.DataFrame:
    """What has no value, such as a division by zero, is NULL."""
    for name, text in config.columns.items():
        values = doubles(frame).select(pl.sql_expr(text).alias(name))[name]
        if values.dtype.is_float():
            values = values.set(values.is_nan() | values.is_infinite(), None)
        frame = frame.with_columns(values)
    return frame
