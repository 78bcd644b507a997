"""Whole columns into and out of frames without the query engine of polars, which costs more than a small file's rows.

What is computed of columns does not belong here.
"""

from collections.abc import Iterable

import polars as pl


def with_columns(frame: pl.DataFrame, columns: Iterable[pl.Series]) -> pl.DataFrame:
    """The frame with `columns`: each replaces the one of its name, new ones follow at the end, in their order."""
    changed = frame.clone()
    new: dict[str, pl.Series] = {}
    for column in columns:
        if column.name in frame.columns:
            changed.replace_column(frame.get_column_index(column.name), column)
        else:
            new[column.name] = column
    return changed.hstack(list(new.values())) if new else changed
